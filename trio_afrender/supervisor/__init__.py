"""The process that outlives the agent: it forks the parents of tasks, which hold, read and end them.

It runs for as long as there are tasks, over crashes and upgrades of the agent. So it changes rarely,
needs the standard library and `output`'s writer of logs alone, decides all in one thread, and loads all that it
will ever need at its start. Linux only; `child` decides whether it is used.

    agent --(store/supervisor-1.sock)--> supervisor --fork--> parent of one task --fork--> leader of its tree
    agent <--(a socket a task)---------------------> parent

A parent adopts whatever loses its parent below it (`PR_SET_CHILD_SUBREAPER`), so the whole tree hangs
below it at every moment, and "no child left" (`ECHILD`) proves that the tree is empty.
"""

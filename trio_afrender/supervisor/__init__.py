"""The process beside the agent that forks task supervisors, which hold, read and end process trees.

    agent --(a socket in the store)--> supervisor --fork--> task supervisor --posix_spawn--> leader
    agent <--(a socket for each task)---------------------> task supervisor

The supervisor outlives its agent: it runs while there is an agent or a task, through crashes and
upgrades of the agent. So this package changes rarely, imports nothing but the standard library,
`message_framing` and the log writer of `tasklog`, loads all of its code at the start, and decides
everything in one thread. Linux only; `process.supervisor_client` starts it and connects to it.

A task supervisor is a subreaper (`PR_SET_CHILD_SUBREAPER`): a process below it whose parent ends
becomes its child. So the whole tree is below it at every moment, and "no child left" (`ECHILD`)
proves that the tree is empty.
"""

"""Who belongs to a tree: a decision over facts, without the kernel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from trio_afrender.process.procfs import ProcessFacts

__all__ = ("find_members",)


def find_members(
    table: Mapping[int, ProcessFacts],
    roots: Iterable[int],
    sessions: Collection[int],
    *,
    outside: int = 0,
) -> tuple[ProcessFacts, ...]:
    """Return the processes of `table` that belong to the tree, in order of their pids.

    These are the roots, whatever is in one of the `sessions`, and all that descends from either.
    The leader of a tree starts a session of its own, and a session never takes in a process
    from outside. So each session that a member is found in, but did not start with, was made by
    another member, and belongs to the tree as a whole.

    `outside` is the process that asks: neither it nor its session is ever part of the tree, so
    that a wrong root can never turn the search against ourselves.
    """
    children: defaultdict[int, list[int]] = defaultdict(list)
    in_session: defaultdict[int, list[int]] = defaultdict(list)
    for facts in table.values():
        children[facts.parent].append(facts.pid)
        in_session[facts.session].append(facts.pid)
    asking = table.get(outside)
    found: set[int] = {outside}
    seen = {asking.session, *sessions} if asking else set(sessions)
    waiting = [pid for pid in roots if pid in table]
    for session in sessions:
        waiting += in_session[session]
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        found.add(pid)
        waiting += children[pid]
        session = table[pid].session
        if session not in seen:
            seen.add(session)
            waiting += in_session[session]
    return tuple(table[pid] for pid in sorted(found - {outside}))

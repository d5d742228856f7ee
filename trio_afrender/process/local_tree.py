"""One process tree on Linux, and on macOS as far as its kernel allows.

Which processes belong to the tree, and how they are found:

- The leader has a session and group of its own. As long as it is an unreaped child, its number
  passes to no other process, so its group can be signalled; the kernel does that atomically.
- A process that descends from a member, or shares a session with one, is a member. To find these, all
  processes are read in a thread, only when the tree is to be stopped or a member is known to be left.
- A subreaper adopts each process below it that loses its parent, so a living tree always hangs on its
  leader or on an adopted child. Adopted children have their task's token in their environment. So
  the end of a tree can be proven from the list of this process's children.
- In a process that is no subreaper (an embedded agent) orphans become children of one of its
  ancestors. There they are found by their token as well, unless the host hides processes.
- A daemon (a session of its own, its parent ended before it was seen) that also cleared its
  environment belongs to the tree whose output pipe it holds, or else to the only tree that can have
  started it. While several can, it lives until the last of them ends.

Not covered: in a process that is no subreaper such a daemon cannot be distinguished from an unrelated
process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import final

import trio

from trio_afrender.process.exit_status import has_ended, is_number_used, is_pinned, take_status
from trio_afrender.process.exit_watch import ExitWatch, wait_gone
from trio_afrender.process.interfaces import ExitStatus, FinalUsage, TreeSignal
from trio_afrender.process.orphans import (
    ADOPTED_ORPHANS,
    OTHER_ORPHANS,
    Orphan,
    claim,
    clear,
    is_sole_suspect,
    release,
    suspect,
)
from trio_afrender.process.pipe import Pipe
from trio_afrender.process.process_snapshot import Facts, ProcessTable
from trio_afrender.process.procfs import (
    ProcessFacts,
    holds_pipe,
    is_alive,
    kill_group,
    read_facts,
    scan,
    send_signal,
)
from trio_afrender.process.tree_members import find_members

__all__ = ("LocalTree",)

SIGNAL_NUMBERS = {
    TreeSignal.TERM: (signal.SIGTERM, signal.SIGCONT),
    TreeSignal.KILL: (signal.SIGKILL,),
    TreeSignal.SUSPEND: (signal.SIGSTOP,),
    TreeSignal.RESUME: (signal.SIGCONT,),
}

ZOMBIE_SCAN_INTERVAL = 30.0
"""Seconds between looks for zombies that a long task leaves to us."""

RETRY_DELAY = 0.05
"""Seconds until another look when there was no descriptor left to look with."""


@final
class LocalTree:
    """A `Child` whose leader is an unreaped child of this process. Methods take turns: one caller.

    Only `exited` may be waited for by several tasks at once, and `members` asked for at any time.
    """

    def __init__(
        self,
        process: trio.Process,
        *,
        watch: ExitWatch,
        output: Pipe,
        token: str,
        subreaper: bool,
        threads: trio.CapacityLimiter,
        table: ProcessTable,
    ) -> None:
        self._process = process
        self._pid = process.pid
        self._watch = watch
        self._output = output
        self._token = token
        self._subreaper = subreaper
        self._orphans = ADOPTED_ORPHANS if subreaper else OTHER_ORPHANS
        self._threads = threads
        self._table = table
        self._ended = False
        self._empty = False
        self._ending = False
        self._status: ExitStatus | None = None
        self._others: dict[int, ProcessFacts] = {}  # members beside the leader, once seen
        self._sessions = {self._pid}
        claim(self._pid)
        facts = read_facts(self._pid)
        self._started = facts.started if facts is not None else float("inf")
        if subreaper:
            suspect(token, self._started)

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def output(self) -> Pipe:
        return self._output

    async def exited(self) -> None:
        """Wait until all threads of the leader have ended. Any number of tasks may wait."""
        if self._ended:
            await trio.lowlevel.checkpoint()
        while not self._ended:
            with trio.move_on_after(ZOMBIE_SCAN_INTERVAL if self._subreaper else float("inf")):
                # `reap` closed it while this task waited: then it has ended as well.
                with suppress(trio.ClosedResourceError):
                    await self._watch.wait()
                self._ended = True
            if not self._ended:
                with suppress(OSError):  # no descriptor left to look with: next time
                    ADOPTED_ORPHANS.reap_unclaimed()

    def _has_ended(self) -> bool:
        self._ended = self._ended or has_ended(self._pid)
        return self._ended

    def _is_pinned(self) -> bool:
        return self._status is None and is_pinned(self._pid)

    async def wait_empty(self) -> None:
        await self.exited()
        while True:
            try:
                if await self._is_empty():
                    return
                members = await self._find()
                for facts in members:
                    await wait_gone(facts)
            except OSError:
                await trio.sleep(RETRY_DELAY)
            else:
                if not members:
                    return

    async def members(self) -> tuple[int, ...]:
        # Nothing is remembered: a session number noted hours ago may belong to another process now.
        table = await self._table.read()
        if self._empty:
            return ()
        orphans, _ = await self._orphans.look()
        adopted = [each.facts for each in orphans if each.facts.alive and self._owns(each)]
        found = self._select(table, adopted)
        # The table may show who has ended since, and whose number is another's now.
        pids = {facts.pid for facts in (*found, *adopted) if is_alive(facts)} - {self._pid}
        leader = () if self._has_ended() else (self._pid,)
        return (*leader, *sorted(pids))

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        """Signal all members; return their pids, the leader's first.

        TERM is followed by CONT, so that a stopped member can obey it. KILL to a tree whose leader
        has ended may collect the leader: from then on only `reap` knows its status. Cancelled there,
        members may be left stopped; `empty` ends them.
        """
        if signal is TreeSignal.KILL:
            self._end()
            self._freeze()
        try:
            if await self._is_empty():
                await trio.lowlevel.checkpoint()
                return ()
            members = await self._find()
            self._send(members, signal)
        except OSError:
            self._send((), signal)  # no descriptor to look with: the group can still be reached
            return () if self._has_ended() else (self._pid,)
        return tuple(sorted((facts.pid for facts in members), key=lambda pid: pid != self._pid))

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        """Kill what is left until nothing lives; at most `deadline` seconds.

        The proof is the list of adopted children for a subreaper. Else it is that the leader's number
        names neither group nor session any more, or two looks at all processes without a member.
        """
        clean = 0
        self._end()
        with trio.move_on_after(deadline):
            while clean < 2:
                self._freeze()
                try:
                    if await self._is_empty(kill=True):
                        break
                    members = await self._find(kill=True)
                    sure = not (members or self._subreaper) and self._has_ended()
                    clean = clean + 1 if sure else 0
                    self._send(members, TreeSignal.KILL)
                    for facts in members:
                        await wait_gone(facts)
                except OSError:
                    self._send((), TreeSignal.KILL)
                    await trio.sleep(RETRY_DELAY)
            await trio.lowlevel.checkpoint()
            return ()
        try:
            return tuple(facts.pid for facts in await self._find())
        except OSError:
            return (self._pid, *self._others)  # unproven, so it counts as not empty

    async def reap(self) -> ExitStatus:
        """Collect the leader's status, waiting for its end if need be. May be called again."""
        await self.exited()
        status = self._collect()
        clear(self._token)
        self._watch.close()
        return status

    @property
    def started(self) -> float | None:
        return None

    @property
    def suspended(self) -> bool:
        return False

    @property
    def external_stop_reason(self) -> str:
        return ""

    @property
    def final_usage(self) -> FinalUsage | None:
        return None

    async def detach(self) -> bool:
        """Nothing but this process holds the tree."""
        await trio.lowlevel.checkpoint()
        return False

    def _collect(self) -> ExitStatus:
        if self._status is None:
            self._status = take_status(self._process)
            release(self._pid)
        return self._status

    def _end(self) -> None:
        """From here on all that can only be ours dies, and no other tree waits for us."""
        self._ending = True
        clear(self._token)

    def _freeze(self) -> None:
        """Prepare the cheap proof for a tree that is to be killed and whose leader has ended.

        Without a subreaper the leader must be reaped for it, which releases the number of its group.
        So the group is stopped before: stopped members cannot fork until the scan of all processes
        has found and killed them.
        """
        if not self._subreaper and self._status is None and self._has_ended():
            if self._is_pinned():
                with suppress(OSError):
                    os.killpg(self._pid, signal.SIGSTOP)
            self._collect()

    async def _is_empty(self, *, kill: bool = False) -> bool:
        """As `_is_proven_empty`; remembers a proof, for nothing is born of an empty tree."""
        if self._empty:
            return True
        proven = await self._is_proven_empty(kill=kill)
        # Before its end others may have been suspected of an orphan that is ours after all.
        self._empty = proven and self._ending
        return proven

    async def _is_proven_empty(self, *, kill: bool) -> bool:
        """Prove in microseconds that nothing is left; False when there may be something."""
        if not self._has_ended():
            return False
        if self._subreaper:
            return not await self._has_orphans(kill=kill)
        if self._others or self._status is None:
            return False
        if is_number_used(self._watch.descriptor, self._pid):
            return False
        return not await self._has_orphans(kill=kill)

    async def _has_orphans(self, *, kill: bool) -> bool:
        """Whether a member lives that lost its parent; note living ones, reap zombies.

        With `kill` their groups are killed at once. Even a zombie reserves the number of its group
        until it is reaped, and a group is killed as a whole. So a chain of daemons that each fork
        and end does not escape.
        """
        while True:
            orphans, final = await self._orphans.look()
            mine = [each.facts for each in orphans if self._owns(each)]
            self._sessions |= {facts.session for facts in mine}
            living = {facts.pid: facts for facts in mine if facts.alive}
            self._others |= living
            if kill:
                for facts in mine if self._subreaper else living.values():
                    kill_group(facts)
            reaped = [self._orphans.collect(facts) for facts in mine]
            if living or (final and not any(reaped)):
                return bool(living)
            await trio.lowlevel.checkpoint()

    def _owns(self, orphan: Orphan) -> bool:
        if orphan.token:
            return orphan.token == self._token
        known = self._others.get(orphan.facts.pid)
        if orphan.facts.session in self._sessions or (
            known is not None and known.started == orphan.facts.started
        ):
            return True
        # A daemon that has dropped its environment. Dead ones tell nothing: a dead helper of ours
        # looks the same, and its status is not ours to take.
        return (
            self._subreaper
            and orphan.facts.alive
            and (
                holds_pipe(orphan.facts.pid, self._output.inode)
                or (
                    self._started <= orphan.facts.started
                    and is_sole_suspect(self._token, orphan.facts)
                )
            )
        )

    async def _find(self, *, kill: bool = False) -> tuple[ProcessFacts, ...]:
        """Look at all processes and return the living members."""
        await self._has_orphans(kill=kill)
        table = await trio.to_thread.run_sync(scan, limiter=self._threads)
        members = [facts for facts in self._select(table) if facts.alive]
        self._others = {facts.pid: facts for facts in members if facts.pid != self._pid}
        self._sessions |= {facts.session for facts in members}
        return tuple(members)

    def _select(self, table: Facts, known: Iterable[ProcessFacts] = ()) -> tuple[ProcessFacts, ...]:
        """Return who of `table` belongs to the tree, zombies too, given who is known to."""
        roots = [
            facts.pid
            for facts in (*known, *self._others.values())
            if facts.pid in table and table[facts.pid].started == facts.started
        ]
        sessions = set(self._sessions)
        if self._is_pinned():
            roots.append(self._pid)
        elif self._pid in table:
            # The number could be given away only after group and session were empty.
            sessions.discard(self._pid)
        return find_members(table, roots, sessions, outside=os.getpid())

    def _send(self, members: tuple[ProcessFacts, ...], what: TreeSignal) -> None:
        pinned = self._is_pinned()
        rest = [facts for facts in members if not (pinned and facts.group == self._pid)]
        if what is TreeSignal.KILL:
            for facts in rest:
                kill_group(facts)
        for number in SIGNAL_NUMBERS[what]:
            if pinned:
                with suppress(OSError):
                    os.killpg(self._pid, number)
            for facts in rest:
                send_signal(facts, number)

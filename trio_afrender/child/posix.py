"""One process tree on Linux, and on macOS as far as its kernel allows.

Who belongs to the tree, and how that is known:

- The leader has a session and group of its own. As long as it is an unreaped child its number
  cannot pass to a stranger, so its group can be signalled, and atomically so: no fork slips by.
- Whoever descends from a member, or shares a session with one, is a member. Looking for them
  reads the facts of all processes, in a thread, and happens only when the tree is to be stopped
  or something is known to be left.
- As a subreaper this process adopts whoever lost its parent, so a living tree always hangs on
  its leader or on an adopted child. Adopted children carry their task's token in their
  environment. That makes the end of a tree provable from the list of our own children.

Without a subreaper a process that started a session of its own *and* lost its parent before
anybody looked (the double fork of a daemon) cannot be told from a stranger and stays. So does, in
any case, one that did this with the token removed from its environment.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import final

import trio

from trio_afrender.child.base import ExitStatus, TreeSignal
from trio_afrender.child.members import find_members
from trio_afrender.child.orphans import ORPHANS, Orphan
from trio_afrender.child.pipe import Pipe
from trio_afrender.child.processes import (
    ProcessFacts,
    kill_group,
    scan,
    send_signal,
)
from trio_afrender.child.status import has_ended, is_number_used, is_pinned, take_status
from trio_afrender.child.watch import Watch, wait_gone

__all__ = ("PosixChild",)

BURIAL = 30.0
"""Seconds between looks for zombies that a long task leaves to us."""


@final
class PosixChild:
    """A `Child` whose leader is an unreaped child of this process. Methods take turns: one caller.

    Only `exited` may be waited for by several tasks at once.
    """

    def __init__(
        self,
        process: trio.Process,
        *,
        watch: Watch,
        output: Pipe,
        token: str,
        subreaper: bool,
        threads: trio.CapacityLimiter,
    ) -> None:
        self._process = process
        self._pid = process.pid
        self._watch = watch
        self._output = output
        self._token = token
        self._subreaper = subreaper
        self._threads = threads
        self._ended = False
        self._status: ExitStatus | None = None
        self._others: dict[int, ProcessFacts] = {}  # members beside the leader, once seen
        self._adopted: list[ProcessFacts] = []  # those of the last look, not collected since
        self._sessions = {self._pid}
        ORPHANS.claim(self._pid)

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
            with trio.move_on_after(BURIAL if self._subreaper else float("inf")):
                # Closed by `reap` while somebody waits: then it has ended as well.
                with suppress(trio.ClosedResourceError):
                    await self._watch.wait()
                self._ended = True
            if not self._ended:
                ORPHANS.bury()

    def _has_ended(self) -> bool:
        self._ended = self._ended or has_ended(self._pid)
        return self._ended

    def _is_pinned(self) -> bool:
        return self._status is None and is_pinned(self._pid)

    async def vacated(self) -> None:
        await self.exited()
        while not await self._is_proven_empty():
            members = await self._find()
            if not members:
                return
            for facts in members:
                await wait_gone(facts)

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        """Signal all members; return their pids, the leader's first.

        TERM is followed by CONT, so that a stopped member can obey it. KILL to a tree whose leader
        has ended may collect the leader: from then on only `reap` knows its status.
        """
        if await self._is_proven_empty(kill=signal is TreeSignal.KILL):
            await trio.lowlevel.checkpoint()
            return ()
        members = await self._find()
        self._send(members, signal)
        return tuple(sorted((facts.pid for facts in members), key=lambda pid: pid != self._pid))

    async def empty(self, deadline: float) -> tuple[int, ...]:
        """Kill what is left until nothing lives; at most `deadline` seconds.

        The proof is the list of adopted children for a subreaper. Else it is that the leader's number
        names neither group nor session any more, or two looks at all processes without a member.
        """
        clean = 0
        with trio.move_on_after(deadline):
            while not await self._is_proven_empty(kill=True):
                members = await self._find()
                clean = 0 if members or self._subreaper or not self._has_ended() else clean + 1
                if clean == 2:
                    break
                self._send(members, TreeSignal.KILL)
                for facts in members:
                    await wait_gone(facts)
            await trio.lowlevel.checkpoint()
            return ()
        return tuple(facts.pid for facts in await self._find())

    async def reap(self) -> ExitStatus:
        """Collect the leader's status, waiting for its end if need be. May be called again."""
        await self.exited()
        status = self._collect()
        self._watch.close()
        return status

    def _collect(self) -> ExitStatus:
        if self._status is None:
            self._status = take_status(self._process)
            ORPHANS.release(self._pid)
        return self._status

    def _freeze(self) -> None:
        """Prepare the cheap proof for a tree that is to be killed and whose leader has ended.

        Without a subreaper the leader has to be collected for it, which gives up the group. So
        stop whoever is in there while it is surely ours: stopped members cannot fork until the
        look at all processes has found, named and killed them.
        """
        if not self._subreaper and self._status is None and self._has_ended():
            if self._is_pinned():
                with suppress(OSError):
                    os.killpg(self._pid, signal.SIGSTOP)
            self._collect()

    async def _is_proven_empty(self, *, kill: bool = False) -> bool:
        """Prove in microseconds that nothing is left; False when there may be something.

        With `kill`, when KILL is to follow anyway, group and leader may be given up for the proof.
        """
        if not self._has_ended():
            return False
        if kill:
            self._freeze()
        if self._subreaper:
            return not await self._has_adopted()
        if self._others or self._status is None:
            return False
        return not is_number_used(self._watch.descriptor, self._pid)

    async def _has_adopted(self) -> bool:
        """Tell whether an adopted member lives; note the living, bury the dead."""
        while True:
            mine = [each.facts for each in await ORPHANS.look() if self._owns(each)]
            for facts in mine:
                self._sessions.add(facts.session)
                ORPHANS.collect(facts)
            self._adopted = [facts for facts in mine if facts.alive]
            self._others |= {facts.pid: facts for facts in self._adopted}
            if self._adopted or not mine:
                return bool(self._adopted)
            await trio.lowlevel.checkpoint()

    def _owns(self, orphan: Orphan) -> bool:
        if orphan.token:
            return orphan.token == self._token
        known = self._others.get(orphan.facts.pid)
        return orphan.facts.session in self._sessions or (
            known is not None and known.started == orphan.facts.started
        )

    async def _find(self) -> tuple[ProcessFacts, ...]:
        """Look at all processes and return the living members."""
        if self._subreaper:
            await self._has_adopted()
        table = await trio.to_thread.run_sync(scan, limiter=self._threads)
        roots = [
            pid
            for pid, facts in self._others.items()
            if pid in table and table[pid].started == facts.started
        ]
        sessions = set(self._sessions)
        if self._is_pinned():
            roots.append(self._pid)
        elif self._pid in table:
            # The number could be given away only after group and session were empty.
            sessions.discard(self._pid)
        found = find_members(table, roots, sessions, outside=os.getpid())
        members = [facts for facts in found if facts.alive]
        self._others = {facts.pid: facts for facts in members if facts.pid != self._pid}
        self._sessions |= {facts.session for facts in members}
        return tuple(members)

    def _send(self, members: tuple[ProcessFacts, ...], what: TreeSignal) -> None:
        pinned = self._is_pinned()
        rest = [facts for facts in members if not (pinned and facts.group == self._pid)]
        if what is TreeSignal.KILL:
            numbers: tuple[signal.Signals, ...] = (signal.SIGKILL,)
            # Adopted children that died meanwhile too: uncollected, they keep the number of their
            # group from strangers, so not even a chain of daemons that fork and exit gets away.
            for facts in (*rest, *self._adopted):
                kill_group(facts)
        else:
            numbers = (signal.SIGTERM, signal.SIGCONT)
        for number in numbers:
            if pinned:
                with suppress(OSError):
                    os.killpg(self._pid, number)
            for facts in rest:
                send_signal(facts, number)

"""Runs the processes of a run: its own one, then each post command, with what stands beside them.

`ProcessRunner.run` opens a nursery around `supervise` for each process, with two tasks in it:

- the parser, which reads the log behind the process. It returns by itself after `over` is set,
  because a parser call under way must finish before the last call of all can be made.
- the monitors. They end with the process, by cancellation.
"""

from __future__ import annotations

import math
from functools import partial

import trio

from trio_afrender.errors import SpawnError, StoreError, is_device_failure, is_exhausted
from trio_afrender.plugins.interfaces import PluginTask
from trio_afrender.protocol.messages import TaskStatus
from trio_afrender.task.events import UnkillableTree
from trio_afrender.task.monitors import ProcessMonitors
from trio_afrender.task.process_lifecycle import ProcessEnd, supervise
from trio_afrender.task.progress import ProgressReader
from trio_afrender.task.run_folder import OWN_SLOT, RunFolder
from trio_afrender.task.run_state import RunState
from trio_afrender.task.thumbnails import Thumbnails
from trio_afrender.tasklog.io_threads import wait_out

__all__ = ("ProcessRunner",)


class ProcessRunner:
    """The processes of one run, one after another."""

    def __init__(
        self, state: RunState, run_folder: RunFolder, plugins: PluginTask, thumbnails: Thumbnails
    ) -> None:
        self.monitors: ProcessMonitors = ProcessMonitors(state, run_folder.log, plugins.facts)
        self._state = state
        self._run_folder = run_folder
        self._progress = ProgressReader(state, run_folder, plugins, thumbnails)

    async def run_own(self, command: str) -> ProcessEnd | TaskStatus:
        """Run the task's own process; return its end, or the status of a run that got no process."""
        try:
            end = await self.run(command, OWN_SLOT)
        except (SpawnError, StoreError) as error:
            if is_exhausted(error):
                return self._state.give_back(error)
            if isinstance(error, SpawnError) and not is_device_failure(error):
                return self._state.refuse(TaskStatus.FailedToStart, str(error))
            # A full or broken disk is this host's fault: another host can try.
            return self._state.refuse(TaskStatus.GiveBack, str(error))
        return end if end is not None else self._state.stopped_early()

    async def run(self, command: str, slot: str, *, limit: float = math.inf) -> ProcessEnd | None:
        """Run one command to its end and parse all its output; None when a stop came first.

        `slot` names the process within the run: a later agent finds its tree by that name. `limit` is
        in seconds. Raises `SpawnError`, `StoreError`.
        """
        state, control, own = self._state, self._state.control, slot == OWN_SLOT
        # A tree without a record would not be taken over by the next agent, but ended
        # (test_a_task_is_recorded_before_its_tree_is_started).
        await state.dependencies.recorder.wait_written()
        # A stop makes starting pointless, but a tree that an earlier agent started must be taken
        # over to be ended (test_a_stop_before_a_tree_was_taken_over_ends_that_tree).
        if control.cause is not None and not (state.inherited and own):
            return None
        tree = await state.dependencies.spawn(
            state.make_launch(command, slot, attach=state.inherited)
        )
        # No checkpoint from here to `supervise`, which is what terminates and reaps: a cancellation
        # in between would leave the tree to nothing.
        state.started(tree, own=own)
        self.monitors.usage.begin(tree)
        self._progress.begin()
        companions = trio.CancelScope()
        async with trio.open_nursery() as beside:
            if state.has_parser:
                follow = partial(self._progress.follow, tree.pid)
                beside.start_soon(wait_out, "the parser", follow)
            try:
                # The start is reported at once, but never waited for: see the rule above.
                state.send_nowait(state.update())
            except trio.WouldBlock:
                beside.start_soon(state.publish)
            beside.start_soon(partial(self.monitors.run, tree, companions, own=own))
            try:
                end = await supervise(
                    tree,
                    self._run_folder.log,
                    control,
                    state.why,
                    timing=state.config.timing,
                    grace=state.grace,
                    limit=limit,
                    before_term=self._before_term,
                    at_exit=partial(self.monitors.usage.close, tree),
                )
            finally:
                self._progress.end()
                companions.cancel()
        state.ended(end, own=own)
        if end.leftovers:
            # Of the leader or of others: the host takes no task before they are gone.
            await state.send(UnkillableTree(run=state.task.run, tree=tree, pids=end.leftovers))
        raw = end.status.raw if end.status else 0
        # Afanasy's parsers get the raw wait status and the time of the stop as the last mode. The
        # output of a post command is parsed for what it shows, its errors do not count as the
        # task's.
        await self._progress.finish(f"{raw}:{state.stopped_at}", verdict=own)
        return end

    async def _before_term(self) -> None:
        """Note why the tree is stopped, in the reasons and in ``AF_STOP_FILE``."""
        state = self._state
        await self.monitors.usage.freeze()
        text, deadline = state.stopping(), state.dependencies.wall() + state.grace
        try:
            await self._run_folder.write_stop(text, state.grace, deadline)
        except OSError as error:
            # A full disk is a usual reason for a stop; it must not prevent it
            # (test_a_full_store_keeps_no_task_from_being_stopped).
            state.why.add("note", f"AF_STOP_FILE could not be written: {error.strerror or error}")

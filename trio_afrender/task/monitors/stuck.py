"""Detection of process trees that no longer do anything: the rules, and the monitor that warns or stops.

One quiet value means nothing: a renderer may print nothing for hours, a download uses no processor, a
simulation reads no file. A tree is stuck only if output, processor time, input and output, its list of
processes and its GPUs are all quiet at once. Then it waits for something: a licence, a dialog, a
mount that hangs. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import enum

import attrs
import trio

from trio_afrender.config import Stuck
from trio_afrender.hostinfo.process_inspection import ProcessReport
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.tasklog.interfaces import RunLog

__all__ = (
    "ActivitySample",
    "InactivityTimer",
    "StuckAction",
    "StuckMonitor",
    "averaging_time",
    "decide",
    "stop_kind",
)

MAX_AVERAGING = 30.0
"""Seconds over which processor time and bytes are averaged: a wake-up now and then is no work."""
IDLE_BYTE_RATE = 1024.0
"""Bytes a second; a program that only polls something moves less."""


@attrs.frozen(slots=True, kw_only=True)
class ActivitySample:
    """One measurement of a tree. All values but those of the GPUs are totals since its start."""

    time: float
    printed: int = 0
    cpu: float = 0.0
    moved: int = 0
    """Bytes through files, devices and pipes."""
    processes: frozenset[tuple[int, float]] = frozenset()
    """Pid and start time of each."""
    gpu_percent: float = 0.0
    gpu_memory: int = 0


class StuckAction(enum.Enum):
    """What to do about a time of inactivity."""

    NOTHING = "nothing"
    WARN = "warn"
    STOP = "stop"
    ACTIVE_AGAIN = "active again"
    """There has been a warning that no longer holds."""


class InactivityTimer:
    """Measures for how long a tree has been inactive, from one sample to the next.

    Some changes count at once, because no waiting program makes them. Processor time and bytes
    count only if their average over `averaging_time` is above a threshold.
    """

    def __init__(self, rules: Stuck, first: ActivitySample) -> None:
        self._rules = rules
        self._averaging = averaging_time(rules)
        # The last activity, the start of the average, the last sample.
        self._since = self._base = self._last = first

    def look(self, now: ActivitySample) -> float:
        """Add a sample; return for how many seconds there has been no activity."""
        old, base = self._last, self._base
        seconds = now.time - base.time
        changed = now.printed != old.printed or now.processes != old.processes
        if changed or now.gpu_percent > 0 or now.gpu_memory != old.gpu_memory:
            self._since = self._base = now
        elif seconds >= self._averaging:
            # When in this interval it worked is unknown, so inactivity begins at its end.
            busy = now.cpu - base.cpu > self._rules.cpu * seconds
            if busy or now.moved - base.moved > IDLE_BYTE_RATE * seconds:
                self._since = now
            self._base = now
        self._last = now
        return now.time - self._since.time

    def figures(self) -> str:
        """Return what the tree did during the inactivity, as text."""
        old, new = self._since, self._last
        seconds = max(new.time - old.time, 1e-9)  # never a division by zero
        many = len(new.processes)
        processes = "the same process" if many == 1 else f"the same {many} processes"
        return (
            f"no output, {new.cpu - old.cpu:.2f} s of CPU"
            f" ({(new.cpu - old.cpu) * 100 / seconds:.2g} % of a core),"
            f" {new.moved - old.moved} bytes read and written, {processes}, no GPU in use"
        )


def averaging_time(rules: Stuck) -> float:
    """Return over how many seconds to average: a fraction of the shortest inactivity that matters."""
    return min(MAX_AVERAGING, rules.warn_after / 4, rules.stop_after / 4)


def decide(rules: Stuck, inactive: float, *, warned: bool) -> StuckAction:
    """Return what to do after `inactive` seconds; `warned`: there has been a warning for them."""
    # First the stop: with `stop_after` below `warn_after` there is no warning.
    if rules.policy == "stop" and inactive >= rules.stop_after:
        return StuckAction.STOP
    if rules.policy != "off" and inactive >= rules.warn_after:
        return StuckAction.NOTHING if warned else StuckAction.WARN
    return StuckAction.ACTIVE_AGAIN if warned else StuckAction.NOTHING


def stop_kind(states: str) -> StopKind | None:
    """Return how a stuck tree is stopped, by the kernel's state letters of its living processes.

    None: do not stop it.
    """
    if states and not states.strip("Tt"):
        # All are stopped by a signal or a debugger, so a person is at work on them.
        return None
    # D: waits for a disk, a mount or a driver. That is this host's fault, another host can try.
    return StopKind.STUCK_HOST if "D" in states else StopKind.STUCK


class StuckMonitor:
    """Warns of a tree without activity, or stops it. A tree that is not measured is never stuck."""

    def __init__(self, state: RunState, log: RunLog, rules: Stuck) -> None:
        self._state = state
        self._log = log
        self._rules = rules

    async def run(self, process: ProcessTree) -> None:
        """Apply the rules to each measurement until the run is stopped or until cancelled."""
        state, rules = self._state, self._rules
        suspension = state.control.suspension
        # Waiting for measurements, not for a time: without any (no /proc, an overloaded host) nothing
        # is known of the tree and nothing may be concluded.
        await state.measurement()
        timer = InactivityTimer(rules, self._sample())
        warned, longest = False, 0.0
        while True:
            await state.measurement()
            if state.control.cause is not None:
                return  # what it does while it is being stopped decides nothing
            if suspension:
                # A suspended tree is inactive by request; the time starts anew when it is resumed.
                await suspension.over()
                timer = InactivityTimer(rules, self._sample())
                continue
            inactive = timer.look(self._sample())
            match decide(rules, inactive, warned=warned):
                case StuckAction.WARN:
                    warned = True
                    report = await self._examine(process)
                    text = f"no sign of life for {inactive:.0f} s: {timer.figures()}"
                    state.why.add("stuck", _join(text, report))
                    await state.send_log(f"{text}\n{report.lines()}".rstrip() + "\n")
                    await state.show_notice(f"STUCK? No sign of life for {inactive:.0f} s")
                case StuckAction.STOP:
                    report = await self._examine(process)
                    # None: a person is at work on the tree.
                    # A stop, too, may have come while the tree was looked at.
                    if (kind := stop_kind(report.states)) is not None and not state.control.cause:
                        text = f"no sign of life for {inactive:.0f} s"
                        text += f", stuck.stop_after is {rules.stop_after:g} s"
                        result = "the task is stopped as an error"
                        if kind is StopKind.STUCK_HOST:
                            result = "it waits for a device of this host, so the task is given back"
                        figures = _join(f"{text}: {timer.figures()}", report)
                        state.why.add("rule", f"{figures}: {result}")
                        await state.send_log(f"{text}: {result}\n{report.lines()}".rstrip() + "\n")
                        state.control.stop(StopCause(kind=kind, text=text))
                        return
                case StuckAction.ACTIVE_AGAIN:
                    warned = False
                    state.why.add("stuck", text := f"it is active again after {longest:.0f} s")
                    await state.send_log(f"{text}\n")
                    await state.show_notice("")
                case StuckAction.NOTHING:
                    pass
            longest = inactive  # `look` returns 0 with the first activity

    def _sample(self) -> ActivitySample:
        state, now = self._state, trio.current_time()
        usage = state.usage
        if usage is None:
            return ActivitySample(time=now, printed=self._log.size)
        return ActivitySample(
            time=now,
            printed=self._log.size,
            cpu=usage.cpu_seconds,
            moved=usage.read_bytes + usage.written_bytes + state.io_bytes,
            processes=state.members,
            # A GPU in use by a process that the driver does not name may work for this tree: it
            # counts as activity (test_an_unclaimed_gpu_counts_as_activity_of_every_task).
            gpu_percent=usage.gpu_percent or float(state.dependencies.gpus_unclaimed()),
            gpu_memory=usage.gpu_memory,
        )

    async def _examine(self, process: ProcessTree) -> ProcessReport:
        try:
            return await self._state.dependencies.examine(await process.members())
        except OSError:
            # The agent has no descriptor left to list members with: judge without a report.
            return ProcessReport()


def _join(text: str, report: ProcessReport) -> str:
    return f"{text}; {report.words()}" if report.looks else text

"""One run in virtual time: its events, their order, and what it does to its process."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.config import Config, Timing
from trio_afrender.process.interfaces import ProcessTree, TreeSignal
from trio_afrender.protocol.messages import (
    BlockFlags,
    TaskExec,
    TaskFile,
    TaskStatus,
    TaskUpdate,
)
from trio_afrender.task.collected_files import FileBatch, SentFiles
from trio_afrender.task.dependencies import RunRecorder
from trio_afrender.task.events import FilesFound, Listened, LogLine, TaskEvent, UnkillableTree
from trio_afrender.task.live_output import LiveOutput
from trio_afrender.task.monitors import START_DELAY
from trio_afrender.task.monitors.usage import UsageMonitor
from trio_afrender.task.reasons import MAX_TEXT
from trio_afrender.task.run import run_task
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.task_environment import AgentEnvironment
from trio_afrender.tasklog.interfaces import Chunk
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.testing import FakeChild, MemoryHost
from trio_afrender.testing.memory_host import MemoryRunFolder, virtual_wall

TASK = TaskExec(
    run="r1",
    job=2,
    block=0,
    task=0,
    name="frame 1",
    service="generic",
    parser="generic",
    command_block="render",
)
SERVER_STOP = StopCause(kind=StopKind.SERVER, text="stopped by the server")


@attrs.define(eq=False)
class Bench:
    """One run on a host in memory, and the events it sent."""

    host: MemoryHost
    state: RunState
    events: list[TaskEvent] = attrs.field(factory=list)
    over: trio.Event = attrs.field(factory=trio.Event)

    @property
    def control(self) -> TaskControl:
        return self.state.control

    @property
    def adopted(self) -> list[tuple[ProcessTree, tuple[int, ...]]]:
        return [(e.tree, e.pids) for e in self.events if isinstance(e, UnkillableTree)]

    @property
    def outcome(self) -> TaskUpdate:
        (last,) = [e for e in self.events if isinstance(e, TaskUpdate) and e.status.terminal]
        assert self.events[-1] is last, "the outcome comes last"
        return last

    @property
    def log(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, LogLine))

    def progress(self) -> list[int]:
        updates = [e for e in self.events if isinstance(e, TaskUpdate)]
        return [u.percent for u in updates if not u.status.terminal]


@asynccontextmanager
async def open_bench(
    task: TaskExec = TASK,
    *,
    host: MemoryHost | None = None,
    window: int = 1024 * 1024,
    wall: Callable[[], float] = virtual_wall,
    inherited: bool = False,
    recorder: RunRecorder | None = None,
) -> AsyncIterator[Bench]:
    """Run `task`; leaving waits for its end."""
    host = host or MemoryHost()
    timing = Timing(grace=10.0, drain=1.0, sweep=30.0)
    config = Config(name="r1", timing=timing, window=window)
    send, receive = trio.open_memory_channel[TaskEvent](0)
    async with host.open() as outside, trio.open_nursery() as nursery:
        dependencies = attrs.evolve(
            outside, wall=wall, environment=AgentEnvironment({}, (), config.redact)
        )
        if recorder is not None:
            dependencies = attrs.evolve(dependencies, recorder=recorder)
        bench = Bench(host, RunState(task, config, dependencies, send, inherited=inherited))

        async def collect_events() -> None:
            async for event in receive:
                bench.events.append(event)
            bench.over.set()

        nursery.start_soon(collect_events)
        nursery.start_soon(run_task, bench.state)
        yield bench
        await bench.over.wait()


async def test_a_clean_run_reports_start_progress_and_end(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        assert bench.host.spawn.launches[0].argv == (*Config(name="r").shell, "render")
        await trio.sleep(1)
        await child.write(b"PROGRESS: 25%\n")
        await trio.sleep(1)
        await child.write(b"PROGRESS: 75%\nthe last line")
        await trio.sleep(1)
        child.exit(0)
    assert bench.progress() == [0, 25, 75]
    outcome = bench.outcome
    assert outcome.status is TaskStatus.FinishedSuccess
    assert (outcome.exit_code, outcome.percent) == (0, 100)
    assert outcome.output == "PROGRESS: 25%\nPROGRESS: 75%\nthe last line"
    assert outcome.started is not None
    assert outcome.finished is not None
    assert outcome.finished - outcome.started == pytest.approx(3)
    assert child.signals == [], "nothing was left to sweep"
    assert child.reaped


async def test_environment_and_folder(autojump_clock: MockClock) -> None:
    task = attrs.evolve(
        TASK, working_directory="/shots/a", environment={"PROJECT": "demo", "EMPTY": ""}
    )
    async with open_bench(task, host=MemoryHost(folders={"/shots/a"})) as bench:
        (await bench.host.spawn.next()).exit(0)
    launch = bench.host.spawn.launches[0]
    assert launch.cwd == "/shots/a"
    assert launch.nice == 10
    environment = dict(launch.environment)
    assert environment.pop("AF_TASK_TOKEN") == "token-1"
    assert environment == {
        "PROJECT": "demo",
        "AF_JOB_ID": "2",
        "AF_BLOCK_ID": "0",
        "AF_TASK_ID": "0",
        "AF_STOP_FILE": "/memory/stop.json",
    }


async def test_a_missing_folder_is_named_and_nothing_starts(autojump_clock: MockClock) -> None:
    async with open_bench(attrs.evolve(TASK, working_directory="/shots/none")) as bench:
        pass
    assert bench.outcome.status is TaskStatus.FailedToStart
    assert "/shots/none is missing" in bench.log
    assert bench.host.spawn.launches == []


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (attrs.evolve(TASK, command_block=""), "the command is empty"),
        (attrs.evolve(TASK, service="genric"), 'no service "genric", did you mean "generic"?'),
    ],
)
async def test_a_task_that_cannot_start_has_the_reason_in_its_log(
    autojump_clock: MockClock, task: TaskExec, text: str
) -> None:
    async with open_bench(task) as bench:
        pass
    assert bench.outcome.status is TaskStatus.FailedToStart
    assert text in bench.log
    assert text in bench.outcome.why[-1].text


async def test_an_unknown_parser_does_not_keep_a_task_from_running(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(attrs.evolve(TASK, parser="blendr")) as bench:
        child = await bench.host.spawn.next()
        await child.write(b"PROGRESS: 25%\n")
        child.exit(0)
    assert bench.outcome.status is TaskStatus.FinishedSuccess
    assert bench.progress() == [0]
    assert bench.outcome.output == "PROGRESS: 25%\n"
    assert 'no parser "blendr", did you mean "blender"?' in bench.log


async def test_a_failed_spawn_is_an_outcome(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    host.spawn.fail("no shell here")
    async with open_bench(host=host) as bench:
        pass
    assert bench.outcome.status is TaskStatus.FailedToStart
    assert "no shell here" in bench.log


async def test_a_full_store_gives_the_task_back(autojump_clock: MockClock) -> None:
    async with open_bench(host=MemoryHost(full=True)) as bench:
        pass
    assert bench.outcome.status is TaskStatus.GiveBack
    assert "No space left on device" in bench.log


async def test_a_bad_exit_is_an_error_with_a_hint(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await child.write(b"sh: rendr: not found\n")
        child.exit(127)
    assert bench.outcome.status is TaskStatus.FinishedError
    assert bench.outcome.exit_code == 127
    assert "the shell did not find the command" in bench.log


async def test_a_failure_has_its_error_class_among_the_reasons(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await child.write(b"write failed: No space left on device\n")
        child.exit(1)
    (step,) = [step for step in bench.outcome.why if step.event == "class"]
    assert step.text.startswith("disk-full: ")
    assert step.text in bench.log


async def test_a_run_that_the_agent_ended_has_no_error_class(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await child.write(b"write failed: No space left on device\n")
        await trio.sleep(1)
        bench.control.stop(SERVER_STOP)
    assert not [step for step in bench.outcome.why if step.event == "class"]


async def test_a_process_that_ends_by_a_signal_is_killed(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        (await bench.host.spawn.next()).exit(signal=11)
    assert bench.outcome.status is TaskStatus.FinishedKilled
    assert bench.outcome.exit_signal == 11


async def test_a_stop_is_term_grace_kill_with_a_stop_file(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.dies_of = {TreeSignal.KILL}
        await trio.sleep(3)
        bench.control.stop(SERVER_STOP)
    assert child.signals == [(3.0, "TERM"), (13.0, "KILL")]
    assert bench.outcome.status is TaskStatus.FinishedKilled
    assert bench.host.places["r1"].stops == [(3.0, "stopped by the server")]
    events = [step.event for step in bench.outcome.why]
    assert events[:2] == ["asked", "signal"]
    assert "grace" in events
    assert "Why:" in bench.log


async def test_a_full_store_keeps_no_task_from_being_stopped(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        bench.host.full = True
        await trio.sleep(3)
        bench.control.stop(SERVER_STOP)
    assert child.signals == [(3.0, "TERM")]
    assert child.reaped
    assert bench.outcome.status is TaskStatus.FinishedKilled
    assert "AF_STOP_FILE could not be written: No space left on device" in bench.log


async def test_a_bug_before_term_keeps_no_tree_alive(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(MemoryRunFolder, "write_stop", fail)
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        bench.control.stop(SERVER_STOP)
    assert [name for _, name in child.signals] == ["TERM"]
    assert child.reaped
    assert bench.outcome.status is TaskStatus.FinishedKilled
    assert "internal error of the agent: ZeroDivisionError('ours')" in bench.log


async def test_a_bug_at_the_exit_keeps_no_tree_alive(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it cost the work."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(UsageMonitor, "close", fail)
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.exit(0)
    assert child.reaped
    assert bench.outcome.status is TaskStatus.FinishedSuccess
    assert "internal error of the agent: ZeroDivisionError('ours')" in bench.log


async def test_a_clock_that_jumps_makes_no_task_shorter(autojump_clock: MockClock) -> None:
    jumps: list[float] = [0.0]
    async with open_bench(wall=lambda: virtual_wall() + jumps[0]) as bench:
        child = await bench.host.spawn.next()
        jumps[0] = -315_360_000.0
        await trio.sleep(3)
        child.exit(0)
    assert bench.outcome.started is not None
    assert bench.outcome.finished == pytest.approx(bench.outcome.started + 3)


async def test_a_task_that_obeys_term_ends_within_its_grace(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await trio.sleep(3)
        bench.control.stop(SERVER_STOP)
    assert child.signals == [(3.0, "TERM")]
    assert bench.outcome.status is TaskStatus.FinishedKilled


async def test_a_second_stop_can_only_shorten_the_grace(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.dies_of = {TreeSignal.KILL}
        await trio.sleep(1)
        bench.control.stop(SERVER_STOP)
        await trio.sleep(1)
        bench.control.stop(StopCause(kind=StopKind.DRAIN, text="drain"), grace=2)
        bench.control.stop(StopCause(kind=StopKind.DRAIN, text="drain"), grace=500)
    assert child.signals == [(1.0, "TERM"), (4.0, "KILL")]
    assert bench.outcome.status is TaskStatus.FinishedKilled, "the first cause stays"


async def test_an_end_that_crosses_a_stop_counts(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.exit(0)
        await trio.testing.wait_all_tasks_blocked()
        bench.control.stop(SERVER_STOP)
    assert bench.outcome.status is TaskStatus.FinishedSuccess


async def test_a_stop_before_the_process_starts_nothing(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    async with open_bench(host=host) as bench:
        bench.control.stop(StopCause(kind=StopKind.DRAIN, text="drain"))
    assert host.spawn.launches == []
    assert bench.outcome.status is TaskStatus.GiveBack


@pytest.mark.parametrize("kind", [StopKind.FORGET, StopKind.SERVER])
async def test_a_stop_before_a_tree_was_taken_over_ends_that_tree(
    autojump_clock: MockClock, kind: StopKind
) -> None:
    async with open_bench(inherited=True) as bench:
        bench.control.stop(StopCause(kind=kind, text="stop"))
        with trio.fail_after(60):
            child = await bench.host.spawn.next()
    assert [name for _, name in child.signals] == ["TERM"]
    assert child.reaped
    outcomes = [e for e in bench.events if isinstance(e, TaskUpdate) and e.status.terminal]
    assert [e.status for e in outcomes] == [TaskStatus.FinishedKilled] * (not kind.discards_outcome)


@pytest.mark.parametrize("kind", [StopKind.CLOSED, StopKind.FORGET])
async def test_stops_that_discard_the_outcome_kill_and_send_nothing(
    autojump_clock: MockClock, kind: StopKind
) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        bench.control.stop(StopCause(kind=kind, text="closed"))
    assert child.signals
    assert not [e for e in bench.events if isinstance(e, TaskUpdate) and e.status.terminal]
    assert bench.state.done.is_set()


async def test_a_process_that_holds_the_pipe_is_killed_after_the_drain(
    autojump_clock: MockClock,
) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.hold_output()
        await child.write(b"before\n")
        await trio.sleep(1)
        child.exit(0)
    assert child.signals == [(2.0, "KILL")], "after the drain of one second"
    assert bench.outcome.status is TaskStatus.FinishedSuccess
    assert bench.outcome.output == "before\n"
    assert "held its output" in bench.log


async def test_what_still_comes_after_the_sweep_is_waited_for(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.leftovers = (child.hold_output(),)
        child.exit(0)
        await trio.sleep(31.5)  # drain and sweep are over
        for number in range(8):
            await child.write(b"line %d\n" % number)
            await trio.sleep(0.75)
    assert bench.outcome.output.endswith("line 7\n")
    assert "the output may lack its end" in bench.log


async def test_leftovers_are_reported_and_the_agent_takes_over_the_tree(
    autojump_clock: MockClock,
) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.dies_of = set()
        child.leftovers = (child.pid,)
        bench.control.stop(SERVER_STOP)
    assert bench.adopted == [(child, (child.pid,))]
    assert bench.outcome.leftovers == (child.pid,)
    assert bench.outcome.status is TaskStatus.FinishedKilled
    assert "still there 30 s after KILL" in bench.log


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"[ PARSER ERROR ]\n", TaskStatus.FinishedParserError),
        (b"[ PARSER FATAL ERROR ]\n", TaskStatus.FinishedParserFatalError),
        (b"[ PARSER FINISHED SUCCESS ]\n", TaskStatus.FinishedParserSuccess),
    ],
)
async def test_the_parser_can_end_a_task(
    autojump_clock: MockClock, line: bytes, status: TaskStatus
) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await trio.sleep(2)
        await child.write(line)
    assert child.signals[0] == (2.0, "TERM")
    assert bench.outcome.status is status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"[ PARSER ERROR ]", TaskStatus.FinishedParserError),
        (b"[ PARSER BAD RESULT ]\n", TaskStatus.FinishedParserBadResult),
        (b"[ PARSER FINISHED SUCCESS ]", TaskStatus.FinishedParserSuccess),
    ],
)
async def test_the_parser_decides_the_status_of_a_task_that_ended(
    autojump_clock: MockClock, line: bytes, status: TaskStatus
) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await child.write(line)
        child.exit(0)
    assert bench.outcome.status is status


async def test_a_warning_is_reported_while_the_task_runs(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await child.write(b"[ PARSER WARNING ]\n")
        await trio.sleep(1)
        child.exit(0)
    statuses = [e.status for e in bench.events if isinstance(e, TaskUpdate)]
    assert TaskStatus.Warning in statuses
    assert bench.outcome.status is TaskStatus.FinishedSuccess


async def test_rendered_files_are_checked_if_the_block_has_the_flag(
    autojump_clock: MockClock,
) -> None:
    flags = BlockFlags.NUMERIC | BlockFlags.CHECKRENDEREDFILES
    task = attrs.evolve(
        TASK, block_flags=int(flags), files_block=("none.@#@.exr",), frame_start=1, frame_finish=1
    )
    async with open_bench(task) as bench:
        (await bench.host.spawn.next()).exit(0)
    assert bench.outcome.status is TaskStatus.BadRenderedFiles
    assert "File does not exist" in bench.log


async def test_files_are_sent_before_the_outcome(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        bench.host.places["r1"].files["thumb.jpg"] = b"jpeg"
        child.exit(0)
    (files,) = [e for e in bench.events if isinstance(e, FilesFound)]
    assert [f.name for f in files.files] == ["thumb.jpg"]
    assert bench.outcome.status is TaskStatus.FinishedSuccess


@pytest.mark.parametrize(
    ("parser", "nothing", "code", "looked"),
    [("", True, 0, False), ("", True, 1, False), ("", False, 0, True), ("generic", True, 0, True)],
)
async def test_files_are_looked_for_unless_nothing_can_be_there(
    parser: str, nothing: bool, code: int, looked: bool, autojump_clock: MockClock
) -> None:
    async with open_bench(attrs.evolve(TASK, parser=parser)) as bench:
        child = await bench.host.spawn.next()
        child.left_nothing = nothing
        bench.host.places["r1"].files["thumb.jpg"] = b"jpeg"
        child.exit(code)
    assert any(isinstance(e, FilesFound) for e in bench.events) == looked
    assert bench.outcome.exit_code == code


@pytest.mark.parametrize(("seconds", "count"), [(START_DELAY * 0.9, 0), (START_DELAY * 1.1, 1)])
async def test_a_tiny_task_ends_before_its_monitors_start(
    seconds: float, count: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[ProcessTree] = []

    async def run(_monitor: UsageMonitor, process: ProcessTree) -> None:
        started.append(process)
        await trio.sleep_forever()

    monkeypatch.setattr(UsageMonitor, "run", run)
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await trio.sleep(seconds)
        child.exit(0)
    assert started == [child] * count
    assert bench.outcome.status is TaskStatus.FinishedSuccess


async def test_a_suspension_does_not_wait_for_the_monitors(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await trio.sleep(START_DELAY / 2)
        asked = trio.current_time()
        bench.control.suspension.change("lunch")
        await child.signalled(TreeSignal.SUSPEND)
        assert trio.current_time() == asked
        bench.control.stop(SERVER_STOP)


async def test_listeners_get_new_output_without_secrets(autojump_clock: MockClock) -> None:
    task = attrs.evolve(TASK, environment={"LICENCE_TOKEN": "hush-hush"}, parser="")
    async with open_bench(task) as bench:
        child = await bench.host.spawn.next()
        await child.write(b"early\n")
        await trio.sleep(5)
        bench.control.listen(on=True)
        await trio.sleep(2)
        await child.write(b"the token is hush-")
        await trio.sleep(2)
        await child.write(b"hush \xff\n")
        await trio.sleep(2)
        child.exit(0)
    listened = "".join(e.text for e in bench.events if isinstance(e, Listened))
    assert listened == "the token is [redacted] \udcff\n"
    assert "hush-hush" not in bench.outcome.output


async def test_a_tree_is_started_when_its_task_is_recorded(autojump_clock: MockClock) -> None:
    """Else the next agent would end it, not take it over."""

    class Recorder:
        urgent = False

        def write_now(self) -> None:
            self.urgent = True

        async def wait_written(self) -> None:
            assert self.urgent, "asked for when the plugins are made"
            await trio.sleep(3)

    recorder = Recorder()
    async with open_bench(recorder=recorder) as bench:
        child = await bench.host.spawn.next()
        assert trio.current_time() == 3
        child.exit(0)
    assert bench.outcome.status is TaskStatus.FinishedSuccess


async def test_listeners_may_come_and_go(autojump_clock: MockClock) -> None:
    """Also when the tasks of the run have ended, and its outcome is not sent yet."""
    async with open_bench(attrs.evolve(TASK, parser="")) as bench:
        child = await bench.host.spawn.next()
        for listening, line in ((True, b"one\n"), (False, b"two\n"), (True, b"three\n")):
            bench.control.listen(on=listening)
            await trio.sleep(5)
            await child.write(line)
            await trio.sleep(5)
        bench.control.listen(on=False)
        child.exit(0)
        await bench.state.done.wait()
        bench.control.listen(on=True)
    assert [e.text for e in bench.events if isinstance(e, Listened)] == ["one\n", "three\n"]
    assert bench.outcome.status is TaskStatus.FinishedSuccess


async def test_the_last_output_for_listeners_costs_no_finished_work(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be read at once, for lack of a descriptor, that is tried again."""
    read, failing = MemoryLogStore.read, [OSError(errno.EMFILE, "Too many open files")]

    def fail_once(store: MemoryLogStore, offset: int, limit: int) -> Chunk:
        if failing:
            raise failing.pop()
        return read(store, offset, limit)

    async with open_bench(attrs.evolve(TASK, parser="")) as bench:
        child = await bench.host.spawn.next()
        bench.control.listen(on=True)
        await trio.sleep(5)
        monkeypatch.setattr(MemoryLogStore, "read", fail_once)
        await child.write(b"last\n")
        child.exit(0)
    assert [e.text for e in bench.events if isinstance(e, Listened)] == ["last\n"]
    assert bench.outcome.status is TaskStatus.FinishedSuccess


async def test_listeners_miss_nothing_at_the_end_of_a_process(autojump_clock: MockClock) -> None:
    """A piece whose sending was cancelled with the task that sends is sent by the last call."""
    send, receive = trio.open_memory_channel[TaskEvent](0)
    host = MemoryHost()
    async with host.open() as outside, outside.open_run_folder(TASK) as folder:
        state = RunState(attrs.evolve(TASK, flags=1), Config(name="r1"), outside, send)
        state.control.listen(on=True)
        live = LiveOutput(state, folder)
        log = host.places["r1"].log
        await log.append(b"one\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.flush)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await log.append(b"two\n")
        texts = []
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(live.flush, last=True))
                for _ in range(2):
                    event = await receive.receive()
                    assert isinstance(event, Listened)
                    texts.append(event.text)
    assert texts == ["one\n", "two\n"]


async def test_nothing_that_leaves_a_run_has_a_secret(autojump_clock: MockClock) -> None:
    """Neither texts of the parser, nor reasons, log and files, also where they are cut."""
    secret = "hush-hush-of-this-test"  # noqa: S105 - what the test looks for
    padding = "x" * (MAX_TEXT - 60)
    task = attrs.evolve(TASK, environment={"LICENCE_TOKEN": secret})
    async with open_bench(task) as bench:
        child = await bench.host.spawn.next()
        await child.write(f"ACTIVITY: with {secret}\nREPORT: {secret}\n".encode())
        data = b"\x89PNG " + secret.encode() + b" IEND\xaeB`\x82"
        bench.host.places["r1"].files["made.png"] = data
        await trio.sleep(5)
        text = f"{padding} asked with the token {secret}"
        bench.control.stop(StopCause(kind=StopKind.SERVER, text=text))
    shown = repr(bench.events)
    for length in range(6, len(secret) + 1):
        assert secret[:length] not in shown
    assert "hush" not in shown
    (file,) = [file for e in bench.events if isinstance(e, FilesFound) for file in e.files]
    assert len(file.data) == len(data)


async def test_a_run_that_is_refused_early_shows_no_secret(autojump_clock: MockClock) -> None:
    """Before its service is known: the text of a refusal may quote anything of the task."""
    task = attrs.evolve(
        TASK,
        environment={"LICENCE_TOKEN": "hush-hush"},
        working_directory="/mnt/hush-hush",
    )
    async with open_bench(task) as bench:
        pass
    assert bench.outcome.status is TaskStatus.FailedToStart
    assert "/mnt/[redacted]" in bench.outcome.why[0].text
    assert "hush-hush" not in repr(bench.events)


async def test_requested_output_is_never_empty(autojump_clock: MockClock) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        assert await bench.state.read_output() == "The task has printed nothing so far.\n"
        await child.write(b"something\n")
        await trio.sleep(1)
        assert await bench.state.read_output() == "something\n"
        child.exit(0)


async def test_a_run_waits_for_the_tree_of_the_older_run_of_its_key(
    autojump_clock: MockClock,
) -> None:
    async with open_bench() as bench:
        # The run of the bench has no predecessor and starts at once; the next one waits.
        first = await bench.host.spawn.next()
        first.exit(0)
    config, host = Config(name="r1"), MemoryHost()
    send, receive = trio.open_memory_channel[TaskEvent](100)
    async with host.open() as outside, trio.open_nursery() as nursery:
        older = RunState(attrs.evolve(TASK, run="r0"), config, outside, send)
        newer = RunState(attrs.evolve(TASK, run="r2"), config, outside, send, predecessors=(older,))
        nursery.start_soon(run_task, newer)
        await trio.sleep(100)
        assert host.spawn.launches == []
        older.done.set()
        (await host.spawn.next()).exit(0)
        async with receive:
            async for event in receive:
                assert event.run == "r2"


async def test_a_cancelled_agent_leaves_no_process(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    children: list[FakeChild] = []

    async def cancelled() -> None:
        async with open_bench(host=host) as bench:
            children.append(await bench.host.spawn.next())
            children[0].dies_of = {TreeSignal.KILL}
            await trio.sleep_forever()

    with trio.move_on_after(5):
        await cancelled()
    assert [name for _, name in children[0].signals][:2] == ["TERM", "KILL"]
    assert children[0].reaped


async def test_output_above_the_window_has_a_marker(autojump_clock: MockClock) -> None:
    async with open_bench(attrs.evolve(TASK, parser=""), window=2000) as bench:
        child = await bench.host.spawn.next()
        for i in range(1000):
            await child.write(f"line {i:04}\n".encode())
        child.exit(0)
    output = bench.outcome.output
    assert output.startswith("line 0000\n")
    assert output.endswith("line 0999\n")
    assert len(output) < 2500
    assert "left out" in output


def test_a_run_is_the_same_each_time() -> None:
    """Virtual time makes a run repeatable down to each event."""

    async def scenario() -> list[TaskEvent]:
        async with open_bench() as bench:
            child = await bench.host.spawn.next()
            await child.write(b"PROGRESS: 25%\n")
            await trio.sleep(1)
            bench.control.stop(SERVER_STOP)
        return bench.events

    runs = [trio.run(scenario, clock=MockClock(autojump_threshold=0)) for _ in range(5)]
    texts = [[repr(event) for event in run] for run in runs]
    assert all(text == texts[0] for text in texts)


async def test_a_task_may_name_secrets_of_its_own(autojump_clock: MockClock) -> None:
    """Also where the line that names it is left out of the window, or comes after its first use."""
    async with open_bench(window=400) as bench:
        bench.control.listen(on=True)
        child = await bench.host.spawn.next()
        await trio.sleep(2)
        await child.write(b"at first s3cr3t-of-task\n" + b"filler\n" * 60)
        await child.write(b"::add-ma")
        await trio.sleep(2)
        await child.write(b"sk::s3cr3t-of-task\r\n" + b"filler\n" * 60)
        await child.write(b"ACTIVITY: uses s3cr3t-of-task\nREPORT: s3cr3t-of-task\n")
        await trio.sleep(5)
        child.exit(1)
    assert "filler" in bench.outcome.output
    assert "left out here" in bench.outcome.output
    assert "s3cr3t" not in repr(bench.outcome)
    listened = "".join(e.text for e in bench.events if isinstance(e, Listened))
    assert "::add-mask::[redacted]" in listened
    assert listened.count("s3cr3t-of-task") == 1, "what was sent before it was named"
    assert "uses [redacted]" in bench.outcome.activity


async def test_a_stop_ends_the_wait_for_a_mount_that_hangs(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(MemoryRunFolder, "is_folder", hang)
    with trio.fail_after(100):
        async with open_bench(attrs.evolve(TASK, working_directory="/mnt/dead")) as bench:
            await trio.sleep(30)
            bench.control.stop(SERVER_STOP)
    assert bench.outcome.status is TaskStatus.FinishedKilled
    assert bench.outcome.why[-1].text == "stopped by the server, before anything was started"


@pytest.mark.parametrize(("length", "named"), [(10, 1000), (600, 434)])
async def test_rendered_files_that_are_not_named_are_counted(
    autojump_clock: MockClock, length: int, named: int
) -> None:
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        child.exit(0)
        bench.state.concluded(TaskStatus.FinishedSuccess, "", ("x" * length,) * 1500)
    [text] = [step.text for step in bench.outcome.why if "rendered files" in step.text]
    assert text.startswith(f"of 1500 rendered files the first {named} are named: the limits are")


async def test_a_further_batch_of_files_waits_for_a_descriptor(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is done: what the host has too little of now must not cost it."""
    calls = 0

    async def collect(self: MemoryRunFolder, sent: SentFiles, redactor: Redactor) -> FileBatch:
        nonlocal calls
        calls += 1
        await trio.lowlevel.checkpoint()
        if calls == 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        name = f"{calls}.txt"
        file = TaskFile(name=name, data=b"x")
        return FileBatch(files=(file,), names=frozenset([name]), bytes=1, more=calls == 1)

    monkeypatch.setattr(MemoryRunFolder, "collect", collect)
    async with open_bench() as bench:
        child = await bench.host.spawn.next()
        await child.write(b"frame 1\n")
        child.exit(0)
    assert bench.outcome.status is TaskStatus.FinishedSuccess
    batches = [event.files for event in bench.events if isinstance(event, FilesFound)]
    assert [file.name for files in batches for file in files] == ["1.txt", "3.txt"]

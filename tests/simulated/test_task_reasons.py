"""The reasons of failed runs begin with the cause: real parsers and services, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support.agent import CONFIG, expect_task, keep_reading, make_task, open_stage
from trio.testing import MockClock

from trio_afrender.config import Checks, Config, Limits, Stuck
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.protocol.messages import (
    BlockFlags,
    Events,
    RunRef,
    TaskExec,
    TaskStatus,
    TaskUpdate,
)
from trio_afrender.task.image_worker import ImageWorker
from trio_afrender.testing import FakeChild, MemoryHost, ScriptedLink

QUIET = attrs.evolve(CONFIG, limits=Limits(no_output=30))
CHECKED = int(BlockFlags.NUMERIC | BlockFlags.CHECKRENDEREDFILES)


@attrs.define
class WatchedRun:
    """A run that a test ends."""

    link: ScriptedLink
    child: FakeChild
    use: Callable[..., None]
    outcomes: list[TaskUpdate] = attrs.field(factory=list)

    @property
    def outcome(self) -> TaskUpdate:
        """There is one after the context."""
        return self.outcomes[0]

    def events(self) -> list[str]:
        return [step.event for step in self.outcome.why]

    def texts(self, event: str) -> list[str]:
        return [step.text for step in self.outcome.why if step.event == event]


@asynccontextmanager
async def open_run(
    task: TaskExec,
    config: Config = CONFIG,
    plugins: Path | None = None,
    image_worker: ImageWorker | None = None,
) -> AsyncIterator[WatchedRun]:
    """Start a task; leaving the context waits for its outcome."""
    folders = [plugins] if plugins else []
    runner = InlineRunner(config.plugin_settings(), folders=folders)
    host = MemoryHost(plugins=runner, image_worker=image_worker)
    async with open_stage(config, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(tasks=(task,)))
        ending = WatchedRun(link, await stage.host.spawn.next(), host.gauge.use)
        yield ending
        ending.outcomes.append(await expect_task(link, over=True))


@pytest.mark.parametrize(
    ("parser", "line", "name"),
    [
        ("nuke", "A license for nuke was not found", "licence"),
        ("redshift", "[Redshift] Maxon licensing error", "licence"),
        (
            "prman",
            "R50009 {SEVERE} License location is not set in rendermn.ini - aborting.",
            "licence",
        ),
        ("mantra", "No licenses could be found to run this application.", "licence"),
        ("generic", "[ PARSER ERROR ] write failed: No space left on device", "disk-full"),
        ("generic", "[ PARSER FATAL ERROR ] CUDA error: out of memory", "out-of-memory"),
        ("generic", "[ PARSER ERROR ] Unable to open a display", "setup"),
    ],
)
async def test_the_class_of_a_run_that_its_parser_stopped(
    parser: str, line: str, name: str, autojump_clock: MockClock
) -> None:
    async with open_run(make_task(parser=parser)) as run:
        run.child.dies_of = set()
        await run.child.write(f"loading\n{line}\n".encode())
        # What the program prints when it is stopped is no cause.
        await run.child.signalled()
        await run.child.write(b"signal caught: SIGTERM\nSegmentation fault\n")
        run.child.exit(signal=15)
    assert run.outcome.status in (
        TaskStatus.FinishedParserError,
        TaskStatus.FinishedParserFatalError,
    )
    assert run.events()[0] == "cause"
    assert run.texts("cause") == [f'{name}: "{line}" (line 2 of the output)']
    [found] = run.texts("class")
    assert found.startswith(f"{name}: ")
    assert "in line 2 of the output: the task is stopped" in run.texts("rule")[0]


@pytest.mark.parametrize(
    "config",
    [QUIET, attrs.evolve(CONFIG, stuck=Stuck(policy="stop", warn_after=20, stop_after=20))],
)
async def test_the_class_of_a_run_that_waited_for_something(
    config: Config, autojump_clock: MockClock
) -> None:
    async with open_run(make_task(), config) as run:
        run.use(run.child.pid, memory=1, cpu=1.0)
        await run.child.write(b"warning: disk full\n" + b"frame\n" * 30)
        await run.child.write(b"waiting for the license server: Connection refused\n")
    assert run.outcome.status is TaskStatus.FinishedError
    [cause] = run.texts("cause")
    assert cause.startswith(("no output for 30 s", "no sign of life for 2"))
    assert cause.endswith(
        'licence: "waiting for the license server: Connection refused" (line 32 of the output)'
    )
    [found] = run.texts("class")
    assert found.startswith(
        "licence: The licence server did not answer this host; the host is the cause"
    )


@pytest.mark.parametrize("before", [0, 270, 290])
async def test_quotations_have_no_secrets(before: int, autojump_clock: MockClock) -> None:
    task = attrs.evolve(make_task(), environment={"FARM_TOKEN": "hunter2-hunter2-hunter2"})
    async with open_run(task) as run:
        line = f"[ PARSER ERROR ] {'x' * before} License error for hunter2-hunter2-hunter2"
        await run.child.write(f"{line}\n{line.replace('PARSER', 'other')}\n".encode())
    assert run.texts("cause")[0].startswith("licence: ")
    assert not [step for step in run.outcome.why if "hunter" in step.text]
    assert "hunter" not in run.outcome.report


async def test_a_run_stopped_on_request_has_neither_cause_nor_class(
    autojump_clock: MockClock,
) -> None:
    async with open_run(make_task()) as run:
        await run.child.write(b"License error\n")
        await trio.sleep(1)
        await run.link.send(Events(stops=(RunRef(run="r1", job=2, block=0, task=0),)))
    assert run.outcome.status is TaskStatus.FinishedKilled
    assert run.events()[0] == "asked"
    assert "class" not in run.events()


@pytest.mark.parametrize(
    ("output", "code", "signal", "cause"),
    [
        (
            b"a\n[ PARSER BAD RESULT ] no frame\nb\n",
            0,
            None,
            'bad result: "[ PARSER BAD RESULT ] no frame" (line 2 of the output)',
        ),
        (
            b"a\nlicense checkout failed\n",
            1,
            None,
            'licence: "license checkout failed" (line 2 of the output); exit code 1',
        ),
        (b"a\n", 3, None, "exit code 3"),
        (b"a\n", None, 11, "the process was ended by signal 11 (SIGSEGV); the program crashed"),
    ],
)
async def test_the_cause_of_a_run_that_ended_by_itself(
    output: bytes, code: int | None, signal: int | None, cause: str, autojump_clock: MockClock
) -> None:
    async with open_run(make_task()) as run:
        await run.child.write(output)
        run.child.exit(code or 0, signal=signal)
    assert run.texts("cause") == [cause]
    assert run.events()[0] == "cause"
    assert run.outcome.report.startswith(cause)


async def test_a_report_of_the_program_follows_the_cause(autojump_clock: MockClock) -> None:
    async with open_run(make_task()) as run:
        await run.child.write(b"REPORT: 12 objects\n")
        run.child.exit(3)
    assert run.outcome.report == 'exit code 3; "12 objects"'
    async with open_run(make_task()) as run:
        await run.child.write(b"REPORT: 12 objects\nlicense checkout failed\n")
        run.child.exit(3)
    quoted = '"license checkout failed" (line 2 of the output)'
    assert run.outcome.report == f"licence: {quoted}; exit code 3; 12 objects"
    async with open_run(make_task()) as run:
        await run.child.write(b"REPORT: 12 objects\n")
        run.child.exit(0)
    assert run.outcome.report == "12 objects"


@pytest.mark.parametrize(
    ("written", "limits", "cause"),
    [
        ({7: 5, 9: 5}, {}, "frame.0008.exr is missing in {}"),
        ({}, {}, "frame.0007.exr, frame.0008.exr and frame.0009.exr are missing in {} (all files)"),
        (
            {7: 5, 8: 5, 9: 0},
            {"file_size_min": 3},
            "frame.0009.exr has 0 bytes, not at least 3, in {}",
        ),
        (
            {7: 5, 8: 9, 9: 9},
            {"file_size_max": 8},
            "frame.0008.exr has 9 bytes, not at most 8, in {}, and 1 more has a wrong size",
        ),
    ],
)
async def test_a_run_without_its_files_names_them(
    written: dict[int, int],
    limits: dict[str, int],
    cause: str,
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    task = attrs.evolve(
        make_task(), block_flags=CHECKED, files_block=(f"{tmp_path}/frame.@####@.exr",),
        frame_start=7, frame_finish=9, frames_num=3, data_integers=limits,
    )  # fmt: skip
    for frame, size in written.items():
        (tmp_path / f"frame.{frame:04}.exr").write_bytes(b"x" * size)
    async with open_run(task) as run:
        await run.child.write(b"texture wood.png not found\n")
        run.child.exit(0)
    assert run.outcome.status is TaskStatus.BadRenderedFiles
    assert run.texts("cause")[0].startswith(cause.format(tmp_path))
    assert "exit code" not in run.texts("cause")[0]


class BlackImages:
    """An image worker that finds all images black."""

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        await trio.lowlevel.checkpoint()

    async def inspect(self, image: str, limit: float) -> Mapping[str, Any] | None:
        await trio.lowlevel.checkpoint()
        return {"width": 4, "height": 2, "values": 24, "bad": 0, "black": True}


@pytest.mark.parametrize(
    ("last", "more"), [(7, ""), (8, ", and 1 more image"), (9, ", and 2 more images")]
)
async def test_a_run_with_bad_images_names_the_first(
    last: int, more: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    task = attrs.evolve(
        make_task(),
        block_flags=CHECKED,
        files_block=(f"{tmp_path}/a.@#@.png",),
        frame_start=7,
        frame_finish=last,
    )
    for frame in range(7, last + 1):
        (tmp_path / f"a.{frame}.png").write_bytes(b"x")
    config = attrs.evolve(CONFIG, check_images="error")
    async with open_run(task, config, image_worker=BlackImages()) as run:
        run.child.exit(0)
    assert run.outcome.status is TaskStatus.BadRenderedFiles
    cause = f"the image is black all over: {tmp_path}/a.7.png{more}"
    assert run.texts("cause") == [cause]


STUDIO = """
from services import service


class picky(service.service):
    checks = {"assets": "error"}

    def checkRenderedFiles(self):
        self.log = "the frame\\n is pink"
        return False
"""
CARELESS = """
from services import service


class careless(service.service):
    checks = {"assets": "off"}
"""
FORGETFUL = """
from parsers import parser


class forgetful(parser.parser):
    def do(self, args):
        for line in args["data"].splitlines():
            if line.startswith("missing "):
                self.warning = True
                self.add_missing(line.split()[1])
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    for kind, name, text in (("services", "picky", STUDIO), ("parsers", "forgetful", FORGETFUL)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.py").write_text(text)
    return tmp_path


async def test_what_a_studios_check_has_written_is_the_cause(
    plugins: Path, autojump_clock: MockClock
) -> None:
    task = attrs.evolve(make_task(), service="picky", block_flags=CHECKED)
    async with open_run(task, plugins=plugins) as run:
        run.child.exit(0)
    assert run.texts("cause") == ["the frame is pink"]


@pytest.mark.parametrize(
    ("service", "level", "block", "status", "text"),
    [
        (
            "generic",
            "warn",
            "",
            TaskStatus.FinishedSuccess,
            "2 files are missing that the task needs: a.png, b.png (checks.assets is warn)",
        ),
        ("generic", "off", "", TaskStatus.FinishedSuccess, ""),
        (
            "generic",
            "error",
            "",
            TaskStatus.FinishedParserBadResult,
            "2 files are missing that the task needs: a.png, b.png",
        ),
        (
            "generic",
            "off",
            '{"checks": {"assets": "error"}}',
            TaskStatus.FinishedParserBadResult,
            "2 files",
        ),
        ("picky", "warn", "", TaskStatus.FinishedParserBadResult, "2 files"),
        ("picky", "warn", '{"checks": {"assets": "off"}}', TaskStatus.FinishedSuccess, ""),
    ],
)
async def test_missing_files_are_a_warning_or_an_error(
    service: str,
    level: str,
    block: str,
    status: TaskStatus,
    text: str,
    plugins: Path,
    autojump_clock: MockClock,
) -> None:
    task = attrs.evolve(
        make_task(parser="forgetful"), service=service, data_strings={"block_custom_data": block}
    )
    config = attrs.evolve(CONFIG, checks=Checks(assets=level))
    async with open_run(task, config, plugins) as run:
        await run.child.write(b"missing a.png\nframe 1\nmissing b.png\nmissing a.png\n")
        run.child.exit(0)
    assert run.outcome.status is status
    steps = run.texts("cause" if not status.success else "assets")
    assert [step[: len(text)] for step in steps] == ([text] if text else [])


@pytest.mark.parametrize(
    ("service", "level", "block", "warns"),
    [
        ("generic", "warn", "", True),
        ("generic", "off", "", False),
        ("generic", "warn", '{"checks": {"assets": "off"}}', False),
        ("generic", "off", '{"checks": {"assets": "warn"}}', True),
        ("careless", "warn", "", False),
        ("careless", "warn", '{"checks": {"assets": "warn"}}', True),
    ],
)
async def test_missing_files_that_are_not_checked_are_no_warning(
    service: str, level: str, block: str, warns: bool, plugins: Path, autojump_clock: MockClock
) -> None:
    (plugins / "services" / "careless.py").write_text(CARELESS)
    task = attrs.evolve(
        make_task(parser="arnold"), service=service, data_strings={"block_custom_data": block}
    )
    config = attrs.evolve(CONFIG, checks=Checks(assets=level))
    async with open_run(task, config, plugins) as run:
        await run.child.write(b'00:01 9MB WARNING | Invalid image file "a.tx"\n')
        async with keep_reading(run.link) as updates:
            await trio.sleep(5)
        run.child.exit(0)
    assert updates
    assert any(each.status is TaskStatus.Warning for each in updates) == warns
    reports = {each.report for each in (*updates, run.outcome)}
    assert any("missing asset" in report for report in reports) == warns


async def test_what_explains_a_crash_comes_before_it(autojump_clock: MockClock) -> None:
    async with open_run(make_task()) as run:
        await run.child.write(
            b"[ PARSER ERROR ] ASSERT FAILED\nFailed to allocate mem( 10 bytes)\n"
        )
    memory = 'out-of-memory: "Failed to allocate mem( 10 bytes)" (line 2 of the output)'
    crash = 'crash: "[ PARSER ERROR ] ASSERT FAILED" (line 1 of the output)'
    assert run.texts("cause") == [f"{memory}; {crash}"]
    assert [text.split(":")[0] for text in run.texts("class")] == ["out-of-memory", "crash"]


async def test_missing_files_are_named_beside_another_cause(
    plugins: Path, autojump_clock: MockClock
) -> None:
    async with open_run(make_task(parser="forgetful"), plugins=plugins) as run:
        await run.child.write(b"missing a.png\n")
        run.child.exit(3)
    assert run.texts("cause")[0].startswith("exit code 3")
    assert run.texts("assets") == [
        "1 file is missing that the task needs: a.png (checks.assets is warn)"
    ]


async def test_a_wrong_check_of_a_block_is_in_the_log(autojump_clock: MockClock) -> None:
    task = attrs.evolve(
        make_task(), data_strings={"block_custom_data": '{"checks": {"assets": 3}}'}
    )
    async with open_run(task) as run:
        run.child.exit(0)
    assert run.outcome.status is TaskStatus.FinishedSuccess

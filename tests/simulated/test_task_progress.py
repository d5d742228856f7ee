"""Progress of a program that does not end its lines, in virtual time: ticks, pieces and their rate."""

from __future__ import annotations

import errno
import json

import attrs
import pytest
import trio
from support.plugins import PLUGINS
from test_task_run import TASK, open_bench
from trio.testing import MockClock

from trio_afrender.config.settings import PluginSettings
from trio_afrender.plugins.in_process import InlineRunner, InlineTask
from trio_afrender.plugins.interfaces import ParserState
from trio_afrender.testing import MemoryHost


def make_host() -> MemoryHost:
    return MemoryHost(plugins=InlineRunner(PluginSettings(), folders=[PLUGINS]))


def batches(log: str) -> tuple[list[str], int]:
    """The batches that the parser `tenths` has got, and its calls without data."""
    text = log[log.index("Parser: ") + len("Parser: ") :]
    fed, ticks = json.JSONDecoder().raw_decode(text)[0]
    return fed, ticks


async def test_tenths_of_a_frame_arrive_within_a_tick(autojump_clock: MockClock) -> None:
    task = attrs.evolve(TASK, parser="tenths", frames_num=2)
    async with open_bench(task, host=make_host()) as bench:
        child = await bench.host.spawn.next()
        await trio.sleep(0.5)
        await child.write(b"to /out/a.1 ")
        for tenth in (1, 2, 3):
            await child.write(f".{tenth}".encode())
            await trio.sleep(1.05)
            assert bench.state.parsed.percent == 5 * tenth
        await child.write(b" done\n")
        await child.write(b"to /out/a.2 ")
        await trio.sleep(1.2)
        await child.write(b".4")
        await trio.sleep(1.05)
        assert bench.state.parsed.percent == 70
        child.exit(0)
    assert sorted(set(bench.progress())) == [0, 5, 10, 15, 50, 70]
    assert "".join(batches(bench.log)[0]) == "to /out/a.1 .1.2.3 done\nto /out/a.2 .4"


async def test_a_line_that_grows_all_the_time_is_fed_each_second(autojump_clock: MockClock) -> None:
    """Without a pause of a second in it, and not more often."""
    task = attrs.evolve(TASK, parser="tenths")
    async with open_bench(task, host=make_host()) as bench:
        child = await bench.host.spawn.next()
        for _ in range(50):
            await child.write(b"#" * 10)
            await trio.sleep(0.19)
        child.exit(0)
    fed, ticks = batches(bench.log)
    assert "".join(fed) == "#" * 500
    assert 9 <= len(fed) <= 11
    assert ticks <= 1, "the last call may have no data"


async def test_lines_that_end_within_a_tick_stay_whole(autojump_clock: MockClock) -> None:
    """A program that writes full blocks, each with the begin of a line that the next one ends."""
    task = attrs.evolve(TASK, parser="tenths")
    async with open_bench(task, host=make_host()) as bench:
        child = await bench.host.spawn.next()
        for _ in range(20):
            await child.write(b"of a line\nthe begin ")
            await trio.sleep(0.7)
        child.exit(0)
    fed, _ = batches(bench.log)
    assert fed == ["of a line\n", *["the begin of a line\n"] * 19, "the begin "]


async def test_silence_is_a_call_each_second(autojump_clock: MockClock) -> None:
    task = attrs.evolve(TASK, parser="tenths")
    async with open_bench(task, host=make_host()) as bench:
        child = await bench.host.spawn.next()
        await child.write(b"a line\n")
        await trio.sleep(10.5)
        child.exit(0)
    fed, ticks = batches(bench.log)
    assert fed == ["a line\n"]
    assert 9 <= ticks <= 11


async def test_output_is_parsed_again_where_the_host_had_nothing_left(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for more: a program that hangs after an error prints none."""
    parse, failing = InlineTask.parse, [OSError(errno.EMFILE, "Too many open files")]

    async def fail_once(
        task: InlineTask, upto: int, *, mode: str, pid: int, resources: str
    ) -> ParserState:
        if failing:
            raise failing.pop()
        return await parse(task, upto, mode=mode, pid=pid, resources=resources)

    monkeypatch.setattr(InlineTask, "parse", fail_once)
    async with open_bench(host=make_host()) as bench:
        child = await bench.host.spawn.next()
        await child.write(b"PROGRESS: 25%\n")
        await trio.sleep(5)
        assert bench.state.parsed.percent == 25
        child.exit(0)

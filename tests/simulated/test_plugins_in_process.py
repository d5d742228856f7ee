"""Plugins in the agent's process: the contract of a plugin task under virtual time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
from support.plugins import PLUGINS, make_spec
from trio.testing import assert_checkpoints

from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins.in_process import BYTES_PER_CHECKPOINT, InlineRunner
from trio_afrender.tasklog.memory_log import MemoryLog


async def test_a_run_from_facts_to_thumbnails(tmp_path: Path, autojump_clock: object) -> None:
    (tmp_path / "a.exr").touch()
    runner, log = InlineRunner(folders=[PLUGINS]), MemoryLog()
    spec = make_spec("generic", wdir=str(tmp_path), files_block=["a.exr"])
    async with runner.open_task(spec, log) as task:
        assert task.facts.command == "render -f 1"
        await log.append(b"FRAME: 1\nPROGRESS: 50%\n@IMAGE@a.exr\nPROG")
        state = await task.parse(log.size, pid=7)
        assert (state.percentframe, state.files) == (50, (str(tmp_path / "a.exr"),))
        assert state.consumed == log.size - 4
        assert (await task.parse(log.size, mode="0:0")).consumed == log.size
        good = await task.run_end_checks(0, check_files=True, post=True)
        assert (good.exit_ok, good.files_ok, good.post) == (True, True, ())
        assert good.parsed_files == (str(tmp_path / "a.exr"),)
        bad = await task.run_end_checks(1, check_files=True, post=True)
        assert (bad.exit_ok, bad.post) == (False, ())
        assert await task.on_the_fly(("a.exr",)) == ()
        assert await task.log() == ""
        assert (task.problems(), task.disabled_reason) == ((), "")


async def test_errors_are_raised_without_a_group() -> None:
    runner, log = InlineRunner(folders=[PLUGINS]), MemoryLog()
    with pytest.raises(PluginNotFound):
        async with runner.open_task(make_spec(service="nowhere"), log):
            pass
    with pytest.raises(PluginError, match="LookupError"):
        async with runner.open_task(make_spec(service="bad_init_raise"), log):
            pass


async def test_a_long_log_is_parsed_in_steps_with_checkpoints() -> None:
    runner, log = InlineRunner(folders=[PLUGINS]), MemoryLog()
    await log.append(
        (b"z" * 99 + b"\n") * (4 * BYTES_PER_CHECKPOINT // 100)
        + b"BADFRAME\n"
        + b"z\n" * BYTES_PER_CHECKPOINT
    )
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with runner.open_task(make_spec("counts"), log) as task, trio.open_nursery() as nursery:
        nursery.start_soon(count)
        state = await task.parse(log.size)
        nursery.cancel_scope.cancel()
    assert turns >= 5
    assert state.warning
    assert state.consumed == log.size


async def test_all_calls_are_checkpoints() -> None:
    async with InlineRunner().open_task(make_spec(), MemoryLog()) as task:
        for call in (task.log, partial(task.run_end_checks, 0, check_files=True, post=True)):
            with assert_checkpoints():
                await call()


async def test_a_secret_that_an_early_step_names_is_known_at_the_end() -> None:
    runner, log = InlineRunner(folders=[PLUGINS]), MemoryLog()
    await log.append(
        b"::add-mask::early-secret\n"
        + b"z\n" * BYTES_PER_CHECKPOINT
        + b"::add-mask::late-secret\n::add-mask::early-secret\n"
    )
    async with runner.open_task(make_spec("counts"), log) as task:
        state = await task.parse(log.size)
    assert state.masks == ("early-secret", "late-secret")

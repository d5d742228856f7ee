"""Instructions of the server and the notice command, in virtual time."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NoReturn

import attrs
import pytest
import trio
from support.agent import CONFIG, begin, expect_task, open_stage
from trio.testing import MockClock

from trio_afrender.agent.server_instructions import Plan, make_plan
from trio_afrender.config.settings import CGRU, INSTRUCTIONS
from trio_afrender.process.command_result import CommandResult
from trio_afrender.protocol.messages import Deregister, Events, RunRef, TaskStatus
from trio_afrender.testing import MemoryHost

SLEEP = CGRU["af_render_cmd_wolsleep"].default
EVERYTHING = attrs.evolve(CONFIG, instructions=INSTRUCTIONS)


@pytest.mark.parametrize("instruction", ["launch", "launch_exit", "reboot", "shutdown", "sleep"])
def test_an_instruction_that_the_owner_did_not_allow_is_refused(instruction: str) -> None:
    plan = make_plan(instruction, "something", CONFIG)
    assert instruction in plan.refusal
    assert "instructions" in plan.refusal
    assert plan == Plan(refusal=plan.refusal)


def test_an_unknown_instruction_is_refused() -> None:
    assert "unknown" in make_plan("dance", "", EVERYTHING).refusal


@pytest.mark.parametrize("instruction", ["launch", "launch_exit", "sleep"])
def test_a_missing_command_is_refused(instruction: str) -> None:
    assert "without a command" in make_plan(instruction, "  ", EVERYTHING).refusal


def test_an_empty_reboot_command_is_refused() -> None:
    config = attrs.evolve(EVERYTHING, reboot_command=" ")
    assert "af_render_cmd_reboot is empty" in make_plan("reboot", "", config).refusal


def test_exit_and_drain_are_always_allowed() -> None:
    assert not make_plan("exit", "", CONFIG).finish
    assert make_plan("drain", "", CONFIG).finish


async def test_a_launched_command_runs_beside_the_task(autojump_clock: MockClock) -> None:
    async with open_stage(EVERYTHING) as stage:
        link, child = await begin(stage)
        await link.send(Events(instruction="launch", command="cleanup --all"))
        await trio.sleep(1)
        assert stage.host.launched == ["cleanup --all"]
        assert child.signals == []
        assert stage.agent.state == "online"


async def test_launch_exit_launches_then_leaves(autojump_clock: MockClock) -> None:
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="launch_exit", command="upgrade"))
        await stage.agent.finished()
        assert stage.host.launched == ["upgrade"]


@pytest.mark.parametrize(
    ("instruction", "command"),
    [("reboot", CONFIG.reboot_command), ("shutdown", CONFIG.shutdown_command)],
)
async def test_the_host_goes_down_after_the_render_has_left(
    instruction: str, command: str, autojump_clock: MockClock
) -> None:
    async with open_stage(EVERYTHING) as stage:
        link, child = await begin(stage)
        await link.send(Events(instruction=instruction))
        await child.signalled()
        assert stage.host.launched == []
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.GiveBack
        await link.send(Events(closes=(RunRef.of(outcome),)))
        await stage.agent.finished()
        assert stage.host.launched == [command]


async def test_sleep_runs_the_command_of_the_service(autojump_clock: MockClock) -> None:
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        render = '{"name": "r1", "address": {"ip": "10.0.0.7"}, "netifs": [{"mac": "00:11:22:33:44:55"}]}'
        await link.send(Events(instruction="sleep", command=render))
        await trio.sleep(1)
        [command] = stage.host.launched
        assert command.startswith(f"{SLEEP} --sleep --ip 10.0.0.7")
        assert command.endswith("001122334455")
        assert stage.agent.state == "online"


async def test_sleep_with_invalid_json_launches_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="sleep", command="no JSON"))
        await trio.sleep(1)
        assert stage.host.launched == []
        assert "makes no command" in caplog.text
        await link.expect(Deregister)
        await (await stage.server.accept()).welcome()


SLEEPER = '{"name": "r1", "address": {"ip": "10.0.0.7"}, "netifs": [{"mac": "001122334455"}]}'


async def test_a_command_to_sleep_that_fails_is_reported(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    host.launch_code = 3
    async with open_stage(EVERYTHING, host=host) as stage:
        link = await stage.server.accept()
        assert (await link.welcome()).sleep_failed == ""
        await link.send(Events(instruction="sleep", command=SLEEPER))
        await link.expect(Deregister)
        again = await stage.server.accept()
        reason = (await again.welcome()).sleep_failed
        assert reason.startswith(f"ended with 3: {SLEEP} --sleep")
        await again.cut()
        assert (await (await stage.server.accept()).welcome()).sleep_failed == "", "once"


async def test_a_sleep_that_fails_during_a_lost_link_is_reported(autojump_clock: MockClock) -> None:
    host = MemoryHost()
    host.launch_code = 3
    async with open_stage(EVERYTHING, host=host) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="sleep", command=SLEEPER))
        await link.cut()
        again = await stage.server.accept()
        assert "ended with 3" in (await again.welcome()).sleep_failed
        await trio.sleep(5)
        assert stage.agent.state == "online"


async def test_a_sleep_whose_service_fails_is_reported_and_leaves_no_folder(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(attrs.evolve(EVERYTHING, sleep_service="no-such-service")) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="sleep", command=SLEEPER))
        await link.expect(Deregister)
        again = await stage.server.accept()
        assert 'no service "no-such-service"' in (await again.welcome()).sleep_failed
        assert stage.host.places["sleep-1"].removed


async def test_a_sleep_for_which_no_descriptor_is_left_is_reported(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(MemoryHost, "_open_run_folder", fail)
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="sleep", command=SLEEPER))
        await link.expect(Deregister)
        again = await stage.server.accept()
        assert "Too many open files" in (await again.welcome()).sleep_failed


async def test_a_host_that_stays_awake_after_the_command_is_reported(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        begin_time = trio.current_time()
        await link.send(Events(instruction="sleep", command=SLEEPER))
        while not isinstance(await link.receive(), Deregister):
            pass
        assert trio.current_time() - begin_time == pytest.approx(60, abs=1)
        reason = (await (await stage.server.accept()).welcome()).sleep_failed
        assert reason == "the host is awake 60 s after the command to sleep"


async def test_a_host_that_has_slept_and_registered_reports_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="sleep", command=SLEEPER))
        await trio.sleep(10)
        await link.cut()
        again = await stage.server.accept()
        assert (await again.welcome()).sleep_failed == ""
        with trio.move_on_after(100):
            while True:
                assert not isinstance(await again.receive(), Deregister)


async def test_a_render_that_does_not_sleep_registers_anew_once_nothing_runs(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that counts it as asleep gives it no tasks until it registers again."""
    async with open_stage(CONFIG) as stage:
        link, child = await begin(stage)
        await link.send(Events(instruction="sleep", command="{}"))
        await trio.sleep(5)
        child.exit(0)
        outcome = await expect_task(link, over=True)
        await link.send(Events(closes=(RunRef.of(outcome),)))
        while not isinstance(await link.receive(), Deregister):
            pass
        again = await stage.server.accept()
        assert "not allowed on this host" in (await again.welcome()).sleep_failed
        await trio.sleep(5)
        assert stage.agent.state == "online"
    assert "not allowed on this host" in caplog.text


async def test_a_notice_drains_the_agent(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    config = attrs.evolve(CONFIG, notice_command="is-this-host-leaving", drain="stop")
    caplog.set_level("INFO")
    async with open_stage(config) as stage:
        link, child = await begin(stage)
        await trio.sleep(20)
        assert stage.agent.state == "online"
        stage.host.notice = CommandResult(0, "spot termination at 12:00\nmore")
        await child.signalled()
        outcome = await expect_task(link, over=True)
        assert outcome.status is TaskStatus.GiveBack
        assert any("spot termination at 12:00" in step.text for step in outcome.why)
        await link.send(Events(closes=(RunRef.of(outcome),)))
        await stage.agent.finished()


async def test_a_notice_command_that_hangs_is_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    config = attrs.evolve(CONFIG, notice_command="is-this-host-leaving")
    async with open_stage(config) as stage:
        stage.host.notice = CommandResult(None)
        await begin(stage)
        await trio.sleep(60)
        assert stage.agent.running
        assert caplog.text.count("the notice command: no answer in 5 s") == 1


async def test_a_command_whose_end_cannot_be_waited_for_ends_no_other_action(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has no thread left; the server still has to know of a sleep that failed."""
    spawn = MemoryHost._spawn_detached

    async def fail(host: MemoryHost, argv: Sequence[str]) -> int:
        code = await spawn(host, argv)
        if argv[-1] == "cleanup":
            raise OSError(errno.EAGAIN, "no thread can be started")
        return code

    monkeypatch.setattr(MemoryHost, "_spawn_detached", fail)
    async with open_stage(EVERYTHING) as stage:
        link = await stage.server.accept()
        await link.welcome()
        await link.send(Events(instruction="sleep", command=SLEEPER))
        await trio.sleep(1)
        await link.send(Events(instruction="launch", command="cleanup"))
        with trio.fail_after(100):
            while not isinstance(await link.receive(), Deregister):
                pass
        reason = (await (await stage.server.accept()).welcome()).sleep_failed
    assert reason == "the host is awake 60 s after the command to sleep"

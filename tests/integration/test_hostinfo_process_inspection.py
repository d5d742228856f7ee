"""Reports on real processes that wait."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import trio

from trio_afrender.errors import SpawnError
from trio_afrender.hostinfo.process_inspection import (
    ProcessSnapshot,
    choose_for_stacks,
    inspect_process,
    stack_command,
    take_snapshot,
)
from trio_afrender.process.command_result import CommandResult
from trio_afrender.process.host_commands import ask_command

WAITS = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that waits for input that never comes."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_a_snapshot_has_state_name_and_command(waiting: subprocess.Popen[bytes]) -> None:
    # It may have to be given a processor or a page of its program before it waits for its input.
    while (look := take_snapshot(waiting.pid)) is not None and look.state in "RD":
        pass
    assert look is not None
    assert look.name.startswith("python")
    assert look.state == "S"
    assert look.command.endswith(WAITS)
    assert take_snapshot(2**22 + 1) is None


def test_names_and_commands_are_one_line_of_text() -> None:
    rename = "open('/proc/self/comm', 'w').write('a\\x1b[31m)\\n(b')"
    code = f"{rename}\nimport sys; print('up', flush=True); sys.stdin.read() #\x1b[2J"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        look = take_snapshot(process.pid)
        process.kill()
    assert look is not None
    assert look.name == "a?[31m)?(b"
    assert look.command.isprintable()
    assert "?import sys" in look.command


def test_a_zombie_has_no_snapshot(waiting: subprocess.Popen[bytes]) -> None:
    assert waiting.stdout is not None
    waiting.kill()
    waiting.stdout.read()  # the exit closes the pipe
    # The kernel closes the pipe before the process becomes a zombie.
    while (look := take_snapshot(waiting.pid)) is not None:
        assert look.state not in "Z"


@pytest.mark.skipif(
    shutil.which("gdb") is None and shutil.which("py-spy") is None, reason="no debugger here"
)
async def test_the_stacks_show_the_call_that_waits(waiting: subprocess.Popen[bytes]) -> None:
    with trio.fail_after(60):
        found = await inspect_process(
            [waiting.pid, 2**22 + 1], partial(ask_command, environment={})
        )
    assert [look.pid for look in found.looks] == [waiting.pid]
    [stack] = found.stacks
    assert f"stacks of pid {waiting.pid} (python" in stack
    # A frame of gdb or of py-spy, whose heads "Thread" and "Process" have a "read", too; the last
    # where the kernel forbids tracing.
    assert re.search(r"read \(|<module> \(|ptrace", stack)
    assert waiting.poll() is None, "the program continues"


async def test_a_debugger_that_hangs_or_is_missing_costs_the_stacks_only(
    waiting: subprocess.Popen[bytes],
) -> None:
    async def hangs(argv: object, limit: float) -> CommandResult:
        await trio.lowlevel.checkpoint()
        return CommandResult(None)

    async def fails(argv: object, limit: float) -> CommandResult:
        await trio.lowlevel.checkpoint()
        raise SpawnError("cannot start it")

    for ask, text in ((hangs, "no answer in 10 s"), (fails, "cannot start it")):
        found = await inspect_process([waiting.pid], ask, lambda name: f"/usr/bin/{name}")
        assert len(found.looks) == 1
        assert text in found.stacks[0]


def look(pid: int, name: str, state: str = "S") -> ProcessSnapshot:
    return ProcessSnapshot(pid=pid, name=name, state=state)


def test_stacks_are_read_of_the_newest_processes_that_are_no_shells() -> None:
    tree = (look(1, "sh"), look(2, "nice"), look(3, "moth"), look(4, "moth"), look(5, "helper"))
    assert [each.pid for each in choose_for_stacks(tree)] == [5, 4]
    assert [each.pid for each in choose_for_stacks(tree[:2])] == [2, 1]
    assert [each.pid for each in choose_for_stacks((look(3, "moth", "D"), look(4, "moth")))] == [4]


@pytest.mark.parametrize(
    ("there", "name", "program"),
    [
        (("py-spy", "gdb"), "python3.11", "py-spy"),
        (("py-spy", "gdb"), "moth", "gdb"),
        (("gdb",), "python3.11", "gdb"),
        (("py-spy",), "moth", ""),
        ((), "python3.11", ""),
    ],
)
def test_the_debugger_is_the_one_that_fits(there: tuple[str, ...], name: str, program: str) -> None:
    command = stack_command(look(7, name), lambda each: each if each in there else None)
    assert (command[0] if command else "") == program
    assert not command or "7" in command

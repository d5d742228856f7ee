"""Runs the command line in a process of its own and reads its output through pipes."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from support.process import find_marked

GUARD = 60.0
"""Seconds after which a test fails; every command is faster."""
_MARK = "CLI_STAGE_MARK"


@attrs.define(slots=True)
class Command:
    """A running command line; `out` and `err` are its output so far."""

    process: trio.Process
    mark: str
    out: str = ""
    err: str = ""
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _open: set[str] = attrs.field(factory=lambda: {"out", "err"})

    def add(self, name: str, data: bytes) -> None:
        setattr(self, name, getattr(self, name) + data.decode("utf-8", "replace"))
        self._wake()

    def end(self, name: str) -> None:
        """Note that `out` or `err` is closed."""
        self._open.discard(name)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def output(self) -> None:
        """Wait until the command writes something, or closes an output; it must have one open."""
        assert self._open, f"the command has ended: {self.out}{self.err}"
        await self._changed.wait()

    async def says(self, text: str) -> None:
        """Wait until stderr contains `text`."""
        while text not in self.err:
            await self.output()

    async def first_line(self) -> str:
        """Wait for the first line of stdout and return it: it may come after what stderr says later."""
        while "\n" not in self.out:
            await self.output()
        return self.out.partition("\n")[0]

    async def wait(self) -> int:
        """Wait until the command has ended and what it has printed is read; return its exit code."""
        code = await self.process.wait()
        while self._open:
            await self.output()
        return code

    def strays(self) -> list[str]:
        """Return the living processes of this command, found by a mark in their environment."""
        return find_marked(_MARK, self.mark)


def make_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with its own home, temporary folder and store, without CGRU's variables.

    With the usual store folder, commands would find the farms of other tests, and of this user.
    """
    passed = {key: value for key, value in os.environ.items() if key in ("PATH", "PYTHONPATH")}
    (home / "tmp").mkdir(exist_ok=True)
    own = {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "LC_ALL": "C.UTF-8",
        "CGRU_AF_STORE_FOLDER": str(home / "afanasy"),
    }
    return {**passed, **own, **more}


@asynccontextmanager
async def open_command(
    *words: str | Path,
    home: Path,
    terminal: bool = False,
    out_terminal: bool = False,
    wrapper: Sequence[str] = (),
    leaves: bool = False,
    guard: float = GUARD,
    **more: str,
) -> AsyncIterator[Command]:
    """Start `trio_afrender`; at the end none of its processes may live, unless it `leaves` tasks.

    The test fails if it is open for more than `guard` seconds.

    With `terminal` its stderr is a terminal of 80 columns, with `out_terminal` its stdout. A
    `wrapper` is a command that prepares the process and then executes the command line.
    """
    mark = uuid.uuid4().hex
    environment = make_environment(home, **{_MARK: mark, **more})
    ours, theirs = os.openpty() if terminal else os.pipe()
    screen, their_screen = os.openpty() if out_terminal else (-1, subprocess.PIPE)
    for number in (theirs if terminal else -1, their_screen):
        if number >= 0:
            termios.tcsetwinsize(number, (24, 80))
    try:
        process = await trio.lowlevel.open_process(
            [*wrapper, sys.executable, "-m", "trio_afrender", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=their_screen,
            stderr=theirs,
            env=environment,
            cwd=home,
        )
    finally:
        os.close(theirs)
        if out_terminal:
            os.close(their_screen)
    command = Command(process, mark)
    try:
        with trio.fail_after(guard):
            async with (
                trio.lowlevel.FdStream(ours) as err,
                process.stdout or trio.lowlevel.FdStream(screen) as out,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_read, command, "out", out)
                nursery.start_soon(_read, command, "err", err)
                yield command
                await command.wait()
        assert leaves or command.strays() == []
    except trio.TooSlowError as error:
        error.add_note(f"after {guard:g} s {words} had printed {command.out!r} and {command.err!r}")
        raise
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _read(command: Command, name: str, stream: trio.abc.ReceiveStream) -> None:
    try:
        async for data in stream:
            command.add(name, bytes(data))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # a closed terminal is broken, and a test may close the stream
    finally:
        command.end(name)


async def run_command(*words: str | Path, home: Path) -> tuple[int, str, str]:
    """Run `trio_afrender` to its end; return exit code, stdout, stderr."""
    async with open_command(*words, home=home) as command:
        await command.wait()
    assert command.process.returncode is not None
    return command.process.returncode, command.out, command.err


def make_gate(path: Path) -> Path:
    """Create a named pipe: opening one end waits until the other end is opened."""
    os.mkfifo(path)
    return path


async def pass_gate(path: Path) -> str:
    """Wait until a task has written to the gate, and return the text."""
    return await trio.to_thread.run_sync(path.read_text, abandon_on_cancel=True)


async def open_gate(path: Path) -> None:
    """Let a task continue that reads from the gate."""
    await trio.to_thread.run_sync(path.write_text, "go\n", abandon_on_cancel=True)

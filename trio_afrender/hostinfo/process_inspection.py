"""Reports what processes wait for: their states, the kernel function they sleep in, their stacks.

Stacks come from ``py-spy`` (Python programs) or ``gdb``, if they are installed and the kernel
allows tracing (``kernel.yama.ptrace_scope``). What is not available is left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from trio_afrender.errors import SpawnError
from trio_afrender.process.command_result import Ask, CommandResult
from trio_afrender.process.procfs import read_file, split_stat
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.text import printable

__all__ = (
    "Examine",
    "ProcessReport",
    "ProcessSnapshot",
    "choose_for_stacks",
    "inspect_process",
    "stack_command",
    "take_snapshot",
)

MAX_PROCESSES = 16
"""Processes in one report."""
MAX_STACKS = 2
"""Processes in one report whose stacks are read."""
STACK_TIMEOUT = 10.0
"""Seconds for the stacks of one process: a debugger can hang with the process it traces."""
MAX_COMMAND = 120
"""Characters of a command line."""
MAX_STACK = 3000
"""Characters of the stacks of one process."""
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "nice", "env"})
"""Programs that only wait for a child."""


@attrs.frozen(slots=True, kw_only=True)
class ProcessSnapshot:
    """One process at one moment."""

    pid: int
    name: str
    state: str
    """The state letter of ``/proc/<pid>/stat``."""
    waits_in: str = ""
    """The kernel function it sleeps in, if the kernel shows it."""
    command: str = ""

    def __str__(self) -> str:
        words = {
            "R": "runs",
            "S": "sleeps",
            "D": "waits for a device",
            "T": "is stopped",
            "t": "is traced",
        }
        where = f" in {self.waits_in}" if self.waits_in else ""
        state = words.get(self.state, "is in an unknown state")
        return f"{self.name} {state} ({self.state}){where}"


@attrs.frozen(slots=True, kw_only=True)
class ProcessReport:
    """What was found out about the processes of a tree."""

    looks: tuple[ProcessSnapshot, ...] = ()
    stacks: tuple[str, ...] = ()

    @property
    def states(self) -> str:
        """The state letters of all processes in the report."""
        return "".join(look.state for look in self.looks)

    def lines(self) -> str:
        """Return the whole report, for a task's log."""
        found = [f"  pid {look.pid}: {look}: {look.command}".rstrip(": ") for look in self.looks]
        return "\n".join([*found, *self.stacks])

    def words(self) -> str:
        """Return the processes and their states in one line."""
        return "; ".join(f"pid {look.pid} {look}" for look in self.looks)


Examine: TypeAlias = Callable[[Collection[int]], Awaitable[ProcessReport]]
"""Reports on living processes. Bounded in time; raises nothing."""


async def inspect_process(
    pids: Collection[int], ask: Ask, find: Callable[[str], str | None] = shutil.which
) -> ProcessReport:
    """Return the states and stacks of `pids`; those that have ended are left out.

    `ask` runs a debugger, `find` finds its program.
    """
    looks: tuple[ProcessSnapshot, ...] = ()
    with trio.move_on_after(STACK_TIMEOUT):
        looks = await call_in_thread(
            lambda: tuple(
                filter(None, (take_snapshot(pid) for pid in sorted(pids)[:MAX_PROCESSES]))
            ),
            abandon=True,
            # Reading /proc/<pid>/cmdline takes a lock of the process and can hang with it, so the
            # thread must not take a place of a shared limiter.
            limiter=trio.CapacityLimiter(1),
        )
    stacks: list[str] = []
    for look in choose_for_stacks(looks):
        if not (command := stack_command(look, find)):
            continue
        try:
            answer = await ask(command, STACK_TIMEOUT)
        except SpawnError as error:
            answer = CommandResult(None, str(error))
        printed = answer.text.strip()[:MAX_STACK].splitlines()
        frames = [line for line in printed if line.startswith(("#", "Thread", " ", "Process"))]
        lines = frames or printed
        if answer.code is None and not lines:
            lines = [f"no answer in {STACK_TIMEOUT:g} s"]
        head = f"  stacks of pid {look.pid} ({look.name}), by {Path(command[0]).name}:\n"
        stacks.append(head + "\n".join(f"    {line}" for line in lines))
    return ProcessReport(looks=looks, stacks=tuple(stacks))


def take_snapshot(pid: int) -> ProcessSnapshot | None:
    """Return the state of one process; None if it has ended or is a zombie. Blocking."""
    folder = Path(f"/proc/{pid}")
    try:
        _, name, fields = split_stat(read_file(f"{folder}/stat"))
    except (OSError, ValueError):
        return None
    state = fields[0].decode("ascii", "replace")
    if state in "ZX":
        return None
    waits_in = command = ""
    with suppress(OSError):
        waits_in = (folder / "wchan").read_text(errors="replace").strip("0\n ")
    with suppress(OSError):
        words = (folder / "cmdline").read_bytes().split(b"\0")
        command = b" ".join(words).decode(errors="replace").strip()
    return ProcessSnapshot(
        pid=pid,
        # A program may give itself any name and words, and they stand in lines of logs.
        name=printable(name.decode(errors="replace")),
        state=state,
        waits_in=waits_in,
        command=printable(command, MAX_COMMAND),
    )


def choose_for_stacks(looks: Sequence[ProcessSnapshot]) -> tuple[ProcessSnapshot, ...]:
    """Return the processes whose stacks are most useful: the newest, shells only if alone."""
    # A debugger would hang with a process that waits for a device (D).
    traceable = [look for look in looks if look.state != "D"]
    others = [look for look in traceable if look.name not in SHELLS]
    return tuple(sorted(others or traceable, key=lambda look: -look.pid)[:MAX_STACKS])


def stack_command(
    look: ProcessSnapshot, find: Callable[[str], str | None] = shutil.which
) -> tuple[str, ...]:
    """Return the command that prints the stacks of a process; () without a suitable debugger."""
    spy = find("py-spy")
    if spy is not None and "python" in look.name:
        return (spy, "dump", "--nonblocking", "--pid", str(look.pid))
    gdb = find("gdb")
    if gdb is None:
        return ()
    return (
        gdb, "-nx", "-batch", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off",
        "-iex", "set print frame-arguments none", "-p", str(look.pid), "-ex", "thread apply all backtrace 12",
    )  # fmt: skip

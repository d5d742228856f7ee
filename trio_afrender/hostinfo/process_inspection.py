"""What processes wait for: their states, the kernel's function they sleep in, their stacks.

Stacks are asked of ``py-spy`` (Python programs) or ``gdb``, when these are there and the kernel lets us
look into other processes (``kernel.yama.ptrace_scope``). Whatever cannot be had is left out.
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
from trio_afrender.process.host_commands import Ask, CommandResult

__all__ = (
    "Examine",
    "ProcessReport",
    "ProcessSnapshot",
    "choose",
    "inspect_process",
    "look_at",
    "stack_command",
)

MAX_PROCESSES = 16
"""Processes that are told of."""
MAX_STACKS = 2
"""Processes whose stacks are asked for."""
STACK_TIMEOUT = 10.0
"""Seconds for one process's stacks: a debugger may hang with what it looks at."""
MAX_COMMAND = 120
MAX_STACK = 3000
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "nice", "env"})
"""They wait for what they have started."""


@attrs.frozen(slots=True, kw_only=True)
class ProcessSnapshot:
    """One process at one moment."""

    pid: int
    name: str
    state: str
    """The kernel's letter."""
    waits_in: str = ""
    """The kernel's function it sleeps in, where the kernel tells."""
    command: str = ""

    def __str__(self) -> str:
        words = {
            "R": "runs",
            "S": "sleeps",
            "D": "waits for a device",
            "T": "halted",
            "t": "traced",
        }
        where = f" in {self.waits_in}" if self.waits_in else ""
        state = words.get(self.state, "does something unknown")
        return f"{self.name} {state} ({self.state}){where}"


@attrs.frozen(slots=True, kw_only=True)
class ProcessReport:
    """What was seen of a tree."""

    looks: tuple[ProcessSnapshot, ...] = ()
    stacks: tuple[str, ...] = ()

    @property
    def states(self) -> str:
        """The letters of all processes that were looked at."""
        return "".join(look.state for look in self.looks)

    def lines(self) -> str:
        """All of it, for a task's log."""
        seen = [f"  pid {look.pid}: {look}: {look.command}".rstrip(": ") for look in self.looks]
        return "\n".join([*seen, *self.stacks])

    def words(self) -> str:
        """The processes in short, for one line."""
        return "; ".join(f"pid {look.pid} {look}" for look in self.looks)


Examine: TypeAlias = Callable[[Collection[int]], Awaitable[ProcessReport]]
"""Look at living processes. Bounded in time; raises nothing."""


async def inspect_process(
    pids: Collection[int], ask: Ask, find: Callable[[str], str | None] = shutil.which
) -> ProcessReport:
    """Look at `pids`; what is gone is passed over."""
    looks: tuple[ProcessSnapshot, ...] = ()
    with trio.move_on_after(STACK_TIMEOUT):
        looks = await trio.to_thread.run_sync(
            lambda: tuple(filter(None, (look_at(pid) for pid in sorted(pids)[:MAX_PROCESSES]))),
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(1),  # a look may hang with what is looked at
        )
    stacks = [await _stack(look, stack_command(look, find), ask) for look in choose(looks)]
    return ProcessReport(looks=looks, stacks=tuple(filter(None, stacks)))


def look_at(pid: int, proc: Path = Path("/proc")) -> ProcessSnapshot | None:
    """Look at one process; None when it is gone, or a zombie. Blocking."""
    folder = proc / str(pid)
    try:
        text = (folder / "stat").read_bytes()
    except OSError:
        return None
    name, _, rest = text.partition(b"(")[2].rpartition(b")")
    state = rest.split()[0].decode("ascii", "replace")
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
        name=name.decode(errors="replace"),
        state=state,
        waits_in=waits_in,
        command=command[:MAX_COMMAND],
    )


def choose(looks: Sequence[ProcessSnapshot]) -> tuple[ProcessSnapshot, ...]:
    """Whose stacks tell most: no shells if there is somebody else, the youngest first. One that
    waits for a device cannot be looked into, and the debugger would hang with it."""
    able = [look for look in looks if look.state != "D"]
    others = [look for look in able if look.name not in SHELLS]
    return tuple(sorted(others or able, key=lambda look: -look.pid)[:MAX_STACKS])


def stack_command(
    look: ProcessSnapshot, find: Callable[[str], str | None] = shutil.which
) -> tuple[str, ...]:
    """The command that prints the stacks of a process; () when there is no program for it."""
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


async def _stack(look: ProcessSnapshot, command: Sequence[str], ask: Ask) -> str:
    if not command:
        return ""
    try:
        answer = await ask(command, STACK_TIMEOUT)
    except SpawnError as error:
        answer = CommandResult(None, str(error))
    told = answer.text.strip()[:MAX_STACK].splitlines()
    frames = [line for line in told if line.startswith(("#", "Thread", " ", "Process"))]
    text = "\n".join(frames or told)
    if answer.code is None and not text:
        text = f"no answer in {STACK_TIMEOUT:g} s"
    program = Path(command[0]).name
    return f"  stacks of pid {look.pid} ({look.name}), by {program}:\n" + "\n".join(
        f"    {line}" for line in text.splitlines()
    )

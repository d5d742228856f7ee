"""Commands of the host's owner: what running one yields, and what all systems have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import attrs
import trio

from trio_afrender.errors import SpawnError

__all__ = ("Ask", "CommandResult", "SpawnDetached", "explain_start", "wait_for_result")

_MAX_OUTPUT = 4096
"""Bytes of a command's output that are kept."""


@attrs.frozen(slots=True)
class CommandResult:
    """Exit code of a command (None: it exceeded its time limit), and its output."""

    code: int | None
    text: str = ""


SpawnDetached: TypeAlias = Callable[[Sequence[str]], Awaitable[int]]
"""Start a command and wait for its exit code. Cancelled, the command keeps running."""
Ask: TypeAlias = Callable[[Sequence[str], float], Awaitable[CommandResult]]
"""Run a command for at most so many seconds and return its result."""


def explain_start(argv: Sequence[str], error: OSError | RuntimeError) -> SpawnError:
    """Return the error of a command that could not be started: `RuntimeError` where no thread is left."""
    return SpawnError(f'cannot start "{argv[0]}": {getattr(error, "strerror", None) or error}')


async def wait_for_result(process: trio.Process, limit: float) -> CommandResult:
    """Read the output of a command and wait for its end, at most `limit` seconds.

    A process that has not ended then is the caller's to end.
    """
    assert process.stdout is not None  # noqa: S101 - a pipe
    text, code = b"", None
    with trio.move_on_after(limit):
        async with process.stdout as output:
            async for data in output:
                # Read to the end whatever its size: a command that blocks on a full pipe would run
                # into the time limit.
                text = (text + data)[:_MAX_OUTPUT]
        code = await process.wait()
    return CommandResult(code, text.decode(errors="replace"))

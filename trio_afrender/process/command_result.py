"""Commands of the host's owner: what running one yields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import attrs

__all__ = ("MAX_OUTPUT", "Ask", "CommandResult", "SpawnDetached")

MAX_OUTPUT = 4096
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

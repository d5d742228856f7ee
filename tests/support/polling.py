"""Waits for what no event reports."""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ("until",)

GUARD = 60.0
"""Seconds after which a test fails; no passing test waits for it."""


async def until(holds: Callable[[], object]) -> None:
    """Poll a condition that another process, a log or a handle without events fulfils."""
    with trio.fail_after(GUARD):
        while not holds():  # noqa: ASYNC110 - no event reports it
            await trio.sleep(0.005)

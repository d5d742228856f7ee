"""The wait status of a leader, as a task supervisor reports it."""

from __future__ import annotations

import os

from trio_afrender.process.interfaces import ExitStatus

__all__ = ("UNKNOWN_STATUS", "make_status")

UNKNOWN_STATUS = -1
"""In place of a raw wait status that was never reported: the task supervisor was killed."""


def make_status(raw: int) -> ExitStatus:
    """Decode a raw wait status."""
    if raw == UNKNOWN_STATUS:
        return ExitStatus(code=None, signal=None, raw=raw)
    if os.WIFSIGNALED(raw):
        return ExitStatus(code=None, signal=os.WTERMSIG(raw), raw=raw)
    return ExitStatus(code=os.WEXITSTATUS(raw), signal=None, raw=raw)

"""Whom the kernel chooses when memory is gone: rather a task than who can tell of it.

A score is inherited. So a protected agent starts its tasks through a shell that takes the protection
off before it becomes the task: to do it from outside would race with the task's first forks, and a
function between fork and exec costs vfork.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ("PROTECTED_SCORE", "protect", "read_score", "unprotecting")

PROTECTED_SCORE = -500
"""Of -1000 (never) to 1000: half of all memory is taken off what counts."""
_SCORE = Path("/proc/self/oom_score_adj")
_UNPROTECT = 'echo 0 > /proc/self/oom_score_adj; exec "$@"'


def read_score() -> int:
    """Return this process's own score; 0 where there is none."""
    try:
        return int(_SCORE.read_text())
    except (OSError, ValueError):
        return 0


def protect(score: int = PROTECTED_SCORE) -> bool:
    """Lower this process's score, for programs of our own: it is process-wide. False: we may not.

    A score that is lower already (a unit file's) stays.
    """
    if read_score() <= score:
        return True
    try:
        _SCORE.write_text(str(score))
    except OSError:
        return False
    return True


def unprotecting() -> tuple[str, ...]:
    """Return what to put before a command that must not inherit our protection; () without one."""
    return ("/bin/sh", "-c", _UNPROTECT, "sh") if read_score() < 0 else ()

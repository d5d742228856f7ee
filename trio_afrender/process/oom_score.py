"""OOM scores: have the kernel kill a task rather than the agent, which can report it.

A score is inherited. So a protected agent starts its tasks by a shell that sets the score back before
it becomes the task. To set it from outside would race with the task's first forks, and a function
between fork and exec (`preexec_fn`) makes each start a slow copy of the agent.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ("PROTECTED_SCORE", "protect", "read_score", "unprotecting")

PROTECTED_SCORE = -500
"""Of -1000 (never killed) to 1000: the kernel subtracts half of all memory from what it compares."""
_SCORE = Path("/proc/self/oom_score_adj")
# Raising a score takes no privilege.
_UNPROTECT = 'echo 0 > /proc/self/oom_score_adj; exec "$@"'


def read_score() -> int:
    """Return the score of this process; 0 where the platform has none."""
    try:
        return int(_SCORE.read_text())
    except (OSError, ValueError):
        return 0


def protect() -> bool:
    """Lower the score of this process; False where that is not permitted.

    For programs of this package alone: it affects the whole process. A lower score (set by a unit
    file) stays.
    """
    if read_score() <= PROTECTED_SCORE:
        return True
    try:
        _SCORE.write_text(str(PROTECTED_SCORE))
    except OSError:
        return False
    return True


def unprotecting() -> tuple[str, ...]:
    """Return the words to put before a command that must not inherit the score; () without one."""
    return ("/bin/sh", "-c", _UNPROTECT, "sh") if read_score() < 0 else ()

"""Start the leader of a tree, and tell at which step that failed.

By `posix_spawn`: a fork of this interpreter would be three times as dear. What has no flag there is
set for this process itself before, and taken back after; so nothing races with the leader's forks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from trio_afrender.keeper.kernel import set_oom_score
from trio_afrender.keeper.spec import TaskSpec

__all__ = ("StartError", "start_leader")

_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class StartError(Exception):
    """Nothing was started. `step` is ``folder``, ``program`` or ``environment``."""

    number: int
    """The kernel's errno; 0 for words that no program can be given."""
    step: str


def start_leader(
    spec: TaskSpec, outputs: tuple[int, ...], oom_score: tuple[int, int] | None = None
) -> int:
    """Start `spec` in a session of its own; return its pid.

    The first of `outputs` is its stdout, the last its stderr.

    `oom_score` is what it gets and what this process has. Waits for the exec, which may take long on a
    network share. Raises `StartError`.
    """
    try:
        os.chdir(spec.cwd)
    except OSError as error:
        raise StartError(error.errno or 0, "folder") from error
    except ValueError as error:
        raise StartError(0, "environment") from error
    try:
        with _unprotected(oom_score):
            return _spawn_nicely(spec, outputs)
    except OSError as error:
        raise StartError(error.errno or 0, "program") from error
    except (ValueError, UnicodeError) as error:  # NUL in a word, '=' in a name
        raise StartError(0, "environment") from error
    finally:
        os.chdir("/")  # a folder that somebody works in cannot be unmounted


def _spawn_nicely(spec: TaskSpec, outputs: tuple[int, ...]) -> int:
    """Spawn with the priority of `spec`. Lowering ours could not be taken back, and one who is
    to end a busy tree must not wait behind it. But a priority belongs to a thread, and a
    process begins with that of the thread that spawned it.
    """
    if not spec.nice:
        return _spawn(spec, outputs)
    result: list[int | BaseException] = []

    def spawn() -> None:
        try:
            with contextlib.suppress(OSError):  # only root may ask for more than its share
                os.nice(spec.nice)
            result.append(_spawn(spec, outputs))
        except BaseException as error:  # noqa: BLE001 - raised again by who waits for us
            result.append(error)

    thread = threading.Thread(target=spawn)
    thread.start()
    thread.join()
    if isinstance(outcome := result[0], BaseException):
        raise outcome
    return outcome


@contextlib.contextmanager
def _unprotected(scores: tuple[int, int] | None) -> Iterator[None]:
    if scores is None:
        yield
        return
    set_oom_score(scores[0])
    try:
        yield
    finally:
        set_oom_score(scores[1])


def _spawn(spec: TaskSpec, outputs: tuple[int, ...]) -> int:
    problem = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for program in _find(spec):
        try:
            return os.posix_spawn(
                program,
                list(spec.argv),
                dict(spec.environment),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, outputs[0], 1),
                    (os.POSIX_SPAWN_DUP2, outputs[-1], 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_RESTORED,
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:  # another one of that name may be allowed
            problem = error
    raise problem


def _find(spec: TaskSpec) -> Iterator[str]:
    """Where the program may be, as `execvp` looks for it."""
    name = spec.argv[0]
    if "/" in name:
        yield name
        return
    for folder in os.get_exec_path(spec.environment):
        path = f"{folder or '.'}/{name}"
        if os.path.lexists(path):
            yield path

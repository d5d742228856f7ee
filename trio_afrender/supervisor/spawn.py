"""Start the leader of a tree, and tell at which step that failed.

By `posix_spawn`: a fork of this interpreter would be three times as dear. What has no flag there is
set for this process itself before, and taken back after; so nothing races with the leader's forks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from trio_afrender.supervisor.prctl import set_oom_score
from trio_afrender.supervisor.protocol import LaunchSpec

__all__ = ("StartError", "start_process")

_RESTORED = tuple(signal.valid_signals())
"""All: of those that are not named here the C library looks up what we do with each."""


@dataclass(frozen=True, slots=True)
class StartError(Exception):
    """Nothing was started. `step` is ``folder``, ``program`` or ``environment``."""

    number: int
    """The kernel's errno; 0 for words that no program can be given."""
    step: str


def start_process(
    spec: LaunchSpec, outputs: tuple[int, ...], oom_score: tuple[int, int] | None = None
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


def _spawn_nicely(spec: LaunchSpec, outputs: tuple[int, ...]) -> int:
    """Spawn with the priority of `spec`. Lowering ours could not be taken back, and one who is
    to end a busy tree must not wait behind it. But a priority belongs to a thread, and a
    process begins with that of the thread that spawned it.
    """
    if not spec.nice:
        return _spawn(spec, outputs)
    return _Lowered.to(spec.nice).call(partial(_spawn, spec, outputs))


class _Lowered:
    """A thread of lower priority, kept for the next tree: to start one is as dear as the rest of a
    spawn. Most trees of a farm have the same priority, so there is one thread at a time.
    """

    _kept: ClassVar[_Lowered | None] = None

    def __init__(self, nice: int) -> None:
        self.nice = nice
        self._calls: queue.SimpleQueue[Callable[[], int] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    @classmethod
    def to(cls, nice: int) -> _Lowered:
        """The one with this priority; the one before it ends, as its tree has."""
        if cls._kept is None or cls._kept.nice != nice:
            if cls._kept is not None:
                cls._kept.end()
            cls._kept = cls(nice)
        return cls._kept

    def call(self, function: Callable[[], int]) -> int:
        """Call `function` there; what it raises is raised here."""
        self._calls.put(function)
        outcome = self._results.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def end(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # only root may ask for more than its share
            os.nice(self.nice)
        while (function := self._calls.get()) is not None:
            try:
                self._results.put(function())
            except BaseException as error:  # noqa: BLE001 - raised again by who waits for us
                self._results.put(error)


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


def _spawn(spec: LaunchSpec, outputs: tuple[int, ...]) -> int:
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


def _find(spec: LaunchSpec) -> Iterator[str]:
    """Where the program may be, as `execvp` looks for it."""
    name = spec.argv[0]
    if "/" in name:
        yield name
        return
    for folder in os.get_exec_path(spec.environment):
        path = f"{folder or '.'}/{name}"
        if os.path.lexists(path):
            yield path

"""Start the leader of a tree, and report at which step that failed.

It is started by `posix_spawn`, which takes a third of the time of a fork of this interpreter. What
`posix_spawn` has no flag for (folder, priority, OOM score, limits) is set for this process before the
call, inherited, and set back after it; a priority that could not be set back, for a thread. So the
leader has it from its first instruction; to set it from outside afterwards would race with the
leader's first forks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import resource
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

from trio_afrender.supervisor.prctl import set_oom_score
from trio_afrender.supervisor.protocol import LaunchSpec

__all__ = ("StartError", "find_limits", "list_programs", "start_process")

RESERVED_PROCESSES = 64
"""Processes and threads of the user that tasks must leave to the agent and its supervisors."""
_RESTORED = tuple(signal.valid_signals())
"""Signals whose default action the leader gets back: all. For each signal that is not listed the C
library asks the kernel for its current action."""


@dataclass(frozen=True, slots=True)
class StartError(Exception):
    """Nothing was started. `step` is ``folder``, ``program``, ``environment`` or ``user``."""

    number: int
    """The errno of the kernel; 0 for text that cannot be passed to any program."""
    step: str


def start_process(
    spec: LaunchSpec,
    outputs: tuple[int, ...],
    oom_score: tuple[int, int] | None = None,
    *,
    counted: bool = False,
) -> int:
    """Start `spec` in a new session; return its pid.

    The first of `outputs` becomes its stdout, the last its stderr. `oom_score` is the OOM score that
    it gets, and the one that this process has. `counted`: its cgroup limits its processes. Waits for
    the exec, which may take long on a network share. Raises `StartError`.
    """
    try:
        os.chdir(spec.cwd)
    except OSError as error:
        raise StartError(error.errno or 0, "folder") from error
    except ValueError as error:
        raise StartError(0, "environment") from error
    try:
        if oom_score is not None:
            set_oom_score(oom_score[0])
        # Without CAP_SYS_NICE a lowered priority cannot be raised again, and a task supervisor must
        # not wait behind the busy tree that it has to end. But Linux keeps a priority for each
        # thread, and a new process inherits that of the thread that spawns it. To wake that thread
        # can take as long as the rest of a start.
        nice, thread = spec.nice, None
        if nice and not _can_raise_priority():
            nice, thread = 0, _NiceThread.get(nice)
        spawn = partial(_spawn, spec, outputs)
        limits = find_limits(spec, counted=counted)
        with _passed_on(limits, spec.umask, nice):
            pid = spawn() if thread is None else thread.call(spawn)
    except OSError as error:
        raise StartError(error.errno or 0, "program") from error
    except RuntimeError as error:  # "can't start new thread"
        raise StartError(errno.EAGAIN, "program") from error
    except (ValueError, UnicodeError) as error:  # NUL in a word, '=' in a name
        raise StartError(0, "environment") from error
    finally:
        if oom_score is not None:
            set_oom_score(oom_score[1])
        os.chdir("/")  # a file system cannot be unmounted while a process has a folder of it
    for kind, limit in limits.items():
        # A task could raise its soft limit up to the hard one. What it has started until now still
        # can, with effect on itself alone.
        with contextlib.suppress(OSError):
            resource.prlimit(pid, kind, limit)
    return pid


@contextlib.contextmanager
def _passed_on(limits: Mapping[int, tuple[int, int]], umask: int, nice: int) -> Iterator[None]:
    """Give this process the soft limits, the umask and the priority of the leader, which inherits
    them."""
    own: dict[int, tuple[int, int]] = {}
    earlier = os.umask(umask) if umask >= 0 else -1
    priority = os.nice(0) if nice else 0
    try:
        if nice:
            with contextlib.suppress(OSError):  # a higher one than the host lets this user have
                os.nice(nice)
        for kind, (soft, _) in limits.items():
            own[kind] = resource.getrlimit(kind)
            # Without root a lowered hard limit could not be raised again.
            resource.setrlimit(kind, (soft, own[kind][1]))
        yield
    finally:
        if nice:
            with contextlib.suppress(OSError):  # the leader runs: nothing may fail any more
                os.setpriority(os.PRIO_PROCESS, 0, priority)
        for kind, limit in own.items():
            resource.setrlimit(kind, limit)
        if earlier >= 0:
            os.umask(earlier)


def find_limits(spec: LaunchSpec, *, counted: bool) -> dict[int, tuple[int, int]]:
    """Return the soft and hard limits of the leader that are lower than those of this process.

    `counted`: its cgroup limits its processes. A tree of another user has nothing to leave for ours.
    """
    limits = {}
    reserved = 0 if spec.user is not None else RESERVED_PROCESSES
    for kind, most, spared in (
        (resource.RLIMIT_NPROC, 0 if counted else spec.processes, reserved),
        (resource.RLIMIT_NOFILE, spec.files, 0),
    ):
        if not most:
            continue
        soft, hard = resource.getrlimit(kind)
        # The kernel compares the processes of the user with the limit of the process that forks. So
        # where tasks get less than this process has, they cannot use up what the agent needs.
        left = max(soft - spared, 1) if soft != resource.RLIM_INFINITY else most
        lower = min(most, left)
        highest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        if kind == resource.RLIMIT_NPROC:
            highest = lower
        if (lower, highest) != (soft, hard):
            limits[kind] = (lower, highest)
    return limits


@cache
def _can_raise_priority() -> bool:
    """Whether this process may raise a priority that it has lowered. Raises `RuntimeError`."""
    raised: list[bool] = []

    def attempt() -> None:
        with contextlib.suppress(OSError):
            own = os.nice(0)
            lowered = os.nice(1) > own  # else it has the lowest one already: this shows nothing
            os.setpriority(os.PRIO_PROCESS, 0, own)
            raised.append(lowered)

    # In a thread of its own: where it may not, that one keeps the lower priority.
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return raised == [True]


class _NiceThread:
    """A thread of lower priority in which leaders are spawned, reused for the next tree.

    To start a thread takes as long as the rest of a spawn. Most tasks of a farm have the same
    priority, so there is at most one thread.
    """

    _current: ClassVar[_NiceThread | None] = None

    def __init__(self, nice: int) -> None:
        self.nice = nice
        self._calls: queue.SimpleQueue[Callable[[], int] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    @classmethod
    def get(cls, nice: int) -> _NiceThread:
        """Return the thread with this priority; one with another priority ends."""
        current = cls._current
        if current is None or current.nice != nice:
            if current is not None:
                # Forgotten first: the next one may not start, and a call of this one would not return.
                cls._current = None
                current.end()
            current = cls._current = cls(nice)
        return current

    def call(self, function: Callable[[], int]) -> int:
        """Call `function` in the thread; return what it returns, raise what it raises."""
        self._calls.put(function)
        outcome = self._results.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def end(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # a negative value takes CAP_SYS_NICE
            os.nice(self.nice)
        while (function := self._calls.get()) is not None:
            try:
                self._results.put(function())
            except BaseException as error:  # noqa: BLE001 - raised again in `call`
                self._results.put(error)


def _spawn(spec: LaunchSpec, outputs: tuple[int, ...]) -> int:
    problem = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for program in list_programs(spec.argv[0], spec.environment):
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
                # An ignored signal stays ignored through an exec, and the supervisor ignores some
                # (test_no_ignored_signal_is_inherited).
                setsigdef=_RESTORED,
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            problem = error  # as `execvp`: a program of that name later in PATH may be permitted
    raise problem


def list_programs(name: str, environment: Mapping[str, str]) -> Iterable[str]:
    """Return the paths at which `execvp` would look for a program, in its order."""
    # Not by `posix_spawnp`: that searches the PATH of this process, not that of the task.
    if "/" in name:
        return (name,)
    paths = (f"{folder or '.'}/{name}" for folder in os.get_exec_path(environment))
    return filter(os.path.lexists, paths)

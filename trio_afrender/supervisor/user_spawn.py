"""Start the leader of a tree as another user.

`posix_spawn` cannot change the user, and a task supervisor must never have the ids of a task, not for
a moment: then a neighbour of the task could signal it. So the leader is forked here, becomes its user,
and only then the program. A fork copies the tables of a few megabytes, about a millisecond; there is
one thread, so that Python may run between fork and exec.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
from typing import NoReturn

from trio_afrender.supervisor.cgroup import Cgroup
from trio_afrender.supervisor.prctl import set_oom_score
from trio_afrender.supervisor.protocol import LaunchSpec
from trio_afrender.supervisor.spawn import StartError, find_limits, list_programs
from trio_afrender.user_switch import UserIds, become_user

__all__ = ("start_as_user",)

CONTINUE_INTERVAL = 1000
"""Milliseconds after which a leader that has not become its program is continued."""
_RESTORED = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def start_as_user(
    spec: LaunchSpec,
    user: UserIds,
    outputs: tuple[int, ...],
    *,
    oom_score: int | None,
    cgroup: Cgroup | None,
    counted: bool,
) -> int:
    """Start `spec` as `user`, in a new session and in `cgroup`; return its pid.

    As `spawn.start_process`, which is for the supervisor's own user. Raises `StartError`.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise StartError(error.errno or 0, "program") from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reading)
        try:
            pid = os.fork()
        except OSError as error:
            os.close(writing)
            raise StartError(error.errno or 0, "program") from error
        if pid == 0:
            _become_leader(spec, user, outputs, oom_score, cgroup, writing, counted=counted)
        os.close(writing)
        text = _read_to_end(reading, pid)
    if not text:
        return pid  # the exec has closed the pipe
    os.waitpid(pid, 0)
    number, step = json.loads(text)
    raise StartError(number, step)


def _read_to_end(reading: int, pid: int) -> bytes:
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    text = b""
    while True:
        while not poll.poll(CONTINUE_INTERVAL):
            # Since it is its user's, a process of this user may have stopped it. Or the exec waits for
            # a network share: then this does no harm.
            os.kill(pid, signal.SIGCONT)
        data = os.read(reading, 4096)
        if not data:
            return text
        text += data


def _become_leader(
    spec: LaunchSpec,
    user: UserIds,
    outputs: tuple[int, ...],
    oom_score: int | None,
    cgroup: Cgroup | None,
    writing: int,
    *,
    counted: bool,
) -> NoReturn:
    """Become the program, in the forked process; or write what failed to the pipe, and end."""
    number, step = 0, "program"
    try:
        os.setsid()
        # An ignored signal would stay ignored through the exec.
        for each in _RESTORED:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if cgroup is not None:
            cgroup.add((0,))  # the writing process: so no child of it is ever born outside
        if oom_score is not None:
            set_oom_score(oom_score)
        with contextlib.suppress(OSError):  # a negative value takes CAP_SYS_NICE
            os.nice(spec.nice)
        for kind, limits in find_limits(spec, counted=counted).items():
            resource.setrlimit(kind, limits)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[-1], 2)
        if spec.umask >= 0:
            os.umask(spec.umask)
        step = "user"
        become_user(user)
        step = "folder"
        os.chdir(spec.cwd)
        step = "program"
        number = _execute(spec)
    except OSError as error:
        number = error.errno or 0
    except (ValueError, UnicodeError):  # NUL in a word, '=' in a name
        number, step = 0, "environment"
    except BaseException:  # noqa: BLE001 - this process is a copy: it must not run as its parent
        number = 0
    os.write(writing, json.dumps([number, step]).encode())
    os._exit(127)


def _execute(spec: LaunchSpec) -> int:
    """Become the program; return the errno if there is none that can be executed."""
    number = errno.ENOENT
    for program in list_programs(spec.argv[0], spec.environment):
        try:
            os.execve(program, spec.argv, dict(spec.environment))  # noqa: S606 - the task's shell
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            number = error.errno or 0  # one of that name later in PATH may be permitted
    return number

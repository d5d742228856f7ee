"""Check a launch, and explain in one sentence why the leader of a tree could not be started."""

from __future__ import annotations

import errno
import os

from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import Launch

__all__ = ("check_launch", "explain_launch_error")


def check_launch(launch: Launch) -> None:
    """Raise `SpawnError` for a launch without a command or the marker, or with an invalid text."""
    if not launch.environment.get("AF_TASK_TOKEN"):
        raise SpawnError("the environment of a task must hold AF_TASK_TOKEN")
    if not launch.argv or not launch.argv[0]:
        raise SpawnError("the command is empty")
    try:
        _check_texts(launch)
    except ValueError as error:
        raise SpawnError(explain_launch_error(launch, error)) from error


def _check_texts(launch: Launch) -> None:
    """Raise `ValueError` for a text that the system cannot take."""
    # Checked here: the task supervisor only reports the step that failed, not which text it was.
    names = launch.environment.keys()
    # Joined, because one call of the codec for each text is a noticeable part of a tiny task's cost.
    texts = (*launch.argv, launch.cwd, *names, *launch.environment.values())
    if b"\0" in os.fsencode("\n".join(texts)):
        raise ValueError("embedded null byte")
    if any(not name or "=" in name for name in names):
        raise ValueError("illegal environment variable name")


def explain_launch_error(launch: Launch, error: OSError | ValueError) -> str:
    """Return one sentence about what is wrong, with the name of the program or the folder."""
    program = launch.argv[0]
    if not isinstance(error, OSError):
        return f'cannot start "{program}": {error} in the command, folder or environment'
    of_user = f" ({launch.user.name})" if launch.user is not None else ""
    by_user = f' by user "{launch.user.name}"' if launch.user is not None else ""
    # `Popen` reports an error of its `chdir` with the folder as filename.
    if error.filename == launch.cwd:
        text = {
            errno.ENOENT: "does not exist",
            errno.ENOTDIR: "is not a folder",
            errno.EACCES: f"may not be entered{by_user}",
        }.get(error.errno or 0, f"cannot be entered ({error.strerror})")
        return f'the working folder "{launch.cwd}" {text}'
    # Linux limits one string to 128 KiB, and all together to a quarter of the stack's limit.
    if error.errno == errno.E2BIG:
        size = sum(len(os.fsencode(each)) + 1 for each in launch.argv)
        size += sum(len(os.fsencode(f"{k}={v}")) + 1 for k, v in launch.environment.items())
        return f'cannot start "{program}": {size} bytes of command and environment are too many'
    # ENOTDIR too: a file stands in the place of a folder of the program's path.
    return {
        errno.ENOENT: f'there is no program "{program}"',
        errno.ENOTDIR: f'there is no program "{program}"',
        errno.EACCES: f'"{program}" may not be executed{by_user}',
        errno.ENOEXEC: f'"{program}" is not a program for this system',
        errno.EAGAIN: f'cannot start "{program}": this user may not have more processes{of_user}',
        errno.ENOMEM: f'cannot start "{program}": the host has no memory for it',
        errno.EMFILE: f'cannot start "{program}": this process has too many open files',
        errno.ENFILE: f'cannot start "{program}": this host has too many open files',
    }.get(error.errno or 0, f'cannot start "{program}": {error.strerror or error}')

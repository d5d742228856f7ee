"""Make the folders of a run before its first tree starts, and remove them after its end. Blocking.

The agent leaves both to the supervisor's processes: they have one thread each, so a system call does
not have to hand over an interpreter lock. In the agent, about thirty calls a run, from worker threads
beside the busy loop, were a quarter of the cost of a tiny task.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable

from trio_afrender.supervisor.paths import end_path

__all__ = ("make_folders", "remove_folders")


def make_folders(folders: Iterable[str]) -> None:
    """Make folders that only this user can enter, with missing parents. Raises `OSError`."""
    for folder in folders:
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102 - once a task, and a Path is slower
        except FileNotFoundError:
            # `makedirs` would give the parents the default mode, readable by everyone.
            make_folders((os.path.dirname(folder), folder))  # noqa: PTH120 - a text
        except FileExistsError:
            if not os.path.isdir(folder):  # noqa: PTH112 - a text
                raise


def remove_folders(folders: Iterable[str]) -> None:
    """Remove the folders of runs; what cannot be removed stays, without an error."""
    for folder in folders:
        if not _remove_if_bare(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_bare(folder: str) -> bool:
    """Remove the folder of a run that left no files of its own; False if it left some.

    Nothing is removed that an `rmtree` would not remove as well.
    """
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return False
    # Most tiny tasks leave nothing. `rmtree` lists and checks first, some forty system calls.
    # The folder is the task's to write: by descriptor and without following links, another folder
    # cannot be put in its place meanwhile (test_a_link_in_place_of_the_folder_is_not_followed).
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(end_path("task"), dir_fd=descriptor)
        os.rmdir("files", dir_fd=descriptor)
        os.rmdir("work", dir_fd=descriptor)
        os.rmdir(folder)  # noqa: PTH106 - a text
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True

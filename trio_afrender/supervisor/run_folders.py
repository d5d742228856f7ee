"""Make the folders of a run before its first tree starts, and remove them after its end. Blocking.

The agent leaves both to the supervisor's processes: they have one thread each, so a system call does
not have to hand over an interpreter lock. In the agent, about thirty calls a run, from worker threads
beside the busy loop, were a quarter of the cost of a tiny task.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import count

from trio_afrender.supervisor.paths import end_path
from trio_afrender.windows_files import remove_tree

__all__ = ("make_folders", "remove_folders")

_FOLDER = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


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
        if not hasattr(os, "O_DIRECTORY"):  # Windows
            remove_tree(folder)
        elif not _remove_if_bare(folder):
            # A task can nest its folders as deep as it likes
            # (test_a_folder_that_is_nested_deep_is_removed).
            with contextlib.suppress(RecursionError):
                shutil.rmtree(folder, ignore_errors=True)
            if os.path.lexists(folder):
                with contextlib.suppress(OSError):
                    _remove_flat(folder)


def _remove_if_bare(folder: str) -> bool:
    """Remove the folder of a run that left no files of its own; False if it left some.

    Nothing is removed that an `rmtree` would not remove as well.
    """
    # Most tiny tasks leave nothing. `rmtree` lists and checks first, some forty system calls.
    # The folder is the task's to write: by descriptor and without following links, another folder
    # cannot be put in its place meanwhile (test_a_link_in_place_of_the_folder_is_not_followed).
    try:
        descriptor = os.open(folder, _FOLDER)
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


def _remove_flat(folder: str) -> None:
    """Remove what `rmtree` has left of a folder. Raises `OSError`.

    Without recursion: the folders of the second level are moved to the first one, until there are
    none. Those that are closed even to their owner, as the cache of a package manager that makes it
    read-only, are opened. What cannot be removed stays.
    """
    _open_up(folder)
    root = os.open(folder, _FOLDER)
    prefix, numbers, kept = os.urandom(8).hex(), count(), set[str]()
    try:
        while names := set(os.listdir(root)) - kept:  # noqa: PTH208 - a descriptor
            for name in names:
                try:
                    _lift(root, name, (f"{prefix}-{number}" for number in numbers))
                except OSError:
                    kept.add(name)
    finally:
        os.close(root)
    os.rmdir(folder)  # noqa: PTH106 - a text


def _lift(root: int, name: str, names: Iterator[str]) -> None:
    """Remove what is `name` in `root`; move the folders in it to `root`, by `names`."""
    try:
        os.unlink(name, dir_fd=root)
    except (IsADirectoryError, PermissionError):
        pass
    else:
        return
    _open_up(name, root)
    handle = os.open(name, _FOLDER, dir_fd=root)
    try:
        for each in os.listdir(handle):  # noqa: PTH208 - as above
            try:
                os.unlink(each, dir_fd=handle)
            except (IsADirectoryError, PermissionError):
                _open_up(each, handle)  # a folder that is moved is changed: its parent is in it
                os.rename(each, next(names), src_dir_fd=handle, dst_dir_fd=root)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=root)


def _open_up(name: str, folder: int | None = None) -> None:
    """Let the owner read and change the folder `name`; no link is followed. Raises nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(name, _FOLDER | getattr(os, "O_PATH", 0), dir_fd=folder)
        try:
            # By the name of the descriptor: `fchmod` takes none of `O_PATH`, and only with that a
            # folder is opened that may not be read.
            os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101 - a text
        finally:
            os.close(handle)

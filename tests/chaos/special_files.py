"""Something else in the place of a file of a running task's folder: what a task could put there."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ("exchange_file",)

NAMES = (
    "stop.json",
    "stop.json.part",
    "task.end",
    "task.sock",
    "cards.json",
    "log",
    "log/00000000000000000000.log",
    "log/lost",
    "view",
    "work",
    "files",
    "files/thumb.jpg",
)
"""Places that are used now or later in a run, whether or not something is there."""
HUGE = 10**12
"""Bytes of a file without contents."""


def _link_file(path: Path) -> None:
    victim = path.parent / "victim"
    victim.write_text("untouched")
    path.symlink_to(victim)


def _make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE)


KINDS: tuple[Callable[[Path], object], ...] = (
    os.mkfifo,
    _link_file,
    lambda path: path.symlink_to("/dev/zero"),
    _make_device,
    Path.mkdir,
    _make_huge,
    lambda path: None,
)


def exchange_file(runs: Path, rng: random.Random) -> bool:
    """Put something else in the place of one file of one run; return whether a run was there. Blocks.

    What the agent does meanwhile may come between: the place is taken, or its folder is gone.
    """
    folders = sorted(runs.iterdir()) if runs.is_dir() else []
    if not folders:
        return False
    folder = rng.choice(folders)
    found = {path.relative_to(folder).as_posix() for path in folder.glob("**/*")}
    place = folder / rng.choice(sorted({*NAMES, *found}))
    kind = rng.choice(KINDS)
    with suppress(OSError):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        kind(place)
    return True

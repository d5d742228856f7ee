"""What is done to a folder so that a render fails; nothing outside the folder changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = (
    "FEWER_RIGHTS",
    "NO_SPACE",
    "Prepare",
    "copy_files",
    "fill_disk",
    "forbid_writing",
    "in_order",
    "write_text",
)

FEWER_RIGHTS = (
    "setpriv --inh-caps=-all --bounding-set=-dac_override,-dac_read_search "
    if os.geteuid() == 0 and shutil.which("setpriv")
    else ""
)
"""Begin of a shell command: for root, permissions of folders hold only without these capabilities."""

NO_SPACE = "trap '' XFSZ; ulimit -f 0; "
"""Begin of a shell command: for programs that replace their output files, as POV-Ray does."""

Prepare = Callable[[Path], None]
"""Makes something in the working folder of an experiment."""


def write_text(name: str, text: str) -> Prepare:
    """Write a file of the scene."""

    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return prepare


def forbid_writing(folder: Path) -> None:
    """Make an output folder into which nothing can be written."""
    (folder / "out").mkdir()
    (folder / "out").chmod(0o555)


def fill_disk(names: Iterable[str]) -> Prepare:
    """Make each write to these files of the output folder fail as on a full disk."""

    def prepare(folder: Path) -> None:
        (folder / "out").mkdir()
        for name in names:
            (folder / "out" / name).symlink_to("/dev/full")

    return prepare


def copy_files(names: Iterable[str]) -> Prepare:
    """Make output files of an earlier, unfinished render."""

    def prepare(folder: Path) -> None:
        (folder / "out").mkdir()
        for name in names:
            (folder / "out" / name).write_bytes(b"made before")

    return prepare


def in_order(*steps: Prepare) -> Prepare:
    """Do several steps."""

    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare

"""A small disk for the agent's store that can be full or read-only. Needs root on Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

__all__ = ("SmallDisk", "open_small_disk")

SIZE = 96
"""MiB."""
MOUNT_TRIES = 20


@attrs.frozen
class SmallDisk:
    """A file system in memory. Each method blocks for some milliseconds."""

    root: Path
    """The mount point."""

    @property
    def store(self) -> Path:
        """The folder for the agent's store; `make_read_only` applies to it."""
        return self.root / "store"

    def fill(self) -> None:
        """Use all free bytes."""
        with (self.root / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with (self.root / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x")

    def free(self) -> None:
        (self.root / "ballast").unlink(missing_ok=True)

    def make_read_only(self) -> None:
        """Make everything below `store` read-only."""
        # By a mount of its own, on which no file is open for writing yet. None is ever detached: a
        # program that was started in a folder of it would find that its current folder does not exist.
        # One command, or files would be opened for writing while the second one is started.
        for is_last in (*(False,) * MOUNT_TRIES, True):
            try:
                _run("mount", "-o", "bind,ro", str(self.store), str(self.store))
            except subprocess.CalledProcessError:  # a file was opened for writing in between
                if is_last:
                    raise
            else:
                break

    def make_writable(self) -> None:
        _run("mount", "-o", "remount,bind,rw", str(self.store))


@contextmanager
def open_small_disk(root: Path) -> Iterator[SmallDisk | None]:
    """Mount a disk at the new folder `root`; None if this process may not mount."""
    root.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        yield None
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=700", "tmpfs", str(root)],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        yield None
        return
    try:
        (root / "store").mkdir()
        yield SmallDisk(root)
    finally:
        _run("umount", "--lazy", str(root))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)

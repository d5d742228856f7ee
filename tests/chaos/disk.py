"""A small disk of the agent's own that can really be full, or read-only. Wants root on Linux."""

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
TRIES = 20


@attrs.frozen
class SmallDisk:
    """A file system in memory. Calls block for some milliseconds."""

    root: Path
    """Where it is mounted."""

    @property
    def store(self) -> Path:
        """A folder of it for the agent; this one can be made read-only."""
        return self.root / "store"

    def fill(self) -> None:
        """Leave not a byte of it."""
        with (self.root / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with (self.root / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x")

    def free(self) -> None:
        (self.root / "ballast").unlink(missing_ok=True)

    def lock(self) -> None:
        """Let nothing be opened for writing below `store`."""
        for last in (*(False,) * TRIES, True):
            _run("mount", "--bind", str(self.store), str(self.store))
            try:
                _run("mount", "-o", "remount,bind,ro", str(self.store))
            except subprocess.CalledProcessError:  # somebody opened a file in between
                self.unlock()
                if last:
                    raise
            else:
                break

    def unlock(self) -> None:
        _run("umount", "--lazy", str(self.store))


@contextmanager
def open_small_disk(root: Path) -> Iterator[SmallDisk | None]:
    """Mount one at the new folder `root`; None where we may not."""
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

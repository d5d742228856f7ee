"""The folder of one ``trio_afrender run``: a farm's texts and the agents' stores, ours alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError

__all__ = ("RunDirectory", "open_run_directory")


@attrs.define(slots=True)
class RunDirectory:
    """`farm` has logs, outputs and thumbnails; `store` the folders of tasks while they run."""

    folder: Path
    keep_farm: bool
    keep_store: bool

    @property
    def farm(self) -> Path:
        return self.folder / "farm"

    @property
    def store(self) -> Path:
        return self.folder / "store"


@contextmanager
def open_run_directory(
    parent: Path | None, *, keep_farm: bool, keep_store: bool
) -> Iterator[RunDirectory]:
    """Make a fresh folder, below `parent` or the system's temporary one; remove what is not kept.

    Blocks on the disk. Raises `StoreError`.
    """
    where = (parent if parent is not None else Path(tempfile.gettempdir())).absolute()
    try:
        where.mkdir(parents=True, exist_ok=True)
        room = RunDirectory(
            Path(tempfile.mkdtemp(prefix="trio_afrender-run-", dir=where)), keep_farm, keep_store
        )
    except OSError as error:
        raise StoreError.of(where, error) from error
    try:
        yield room
    finally:
        if not room.keep_store:
            shutil.rmtree(room.store if room.keep_farm else room.folder, ignore_errors=True)

"""The folder of one ``trio_afrender run``: files of the embedded farm and stores of its agents."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError
from trio_afrender.supervisor.run_folders import remove_folders
from trio_afrender.user_files import find_temporary_folder

__all__ = ("RunDirectory", "open_run_directory")


@attrs.define(slots=True)
class RunDirectory:
    """`farm` has logs, outputs and thumbnails; `store` has the folders of running tasks."""

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
    parent: Path | None, *, keep_farm: bool, keep_store: bool, passable: bool = False
) -> Iterator[RunDirectory]:
    """Create a new folder in `parent`, else in the temporary folder; remove it or its parts at the end.

    `keep_store` keeps all of it, `keep_farm` only the farm's part. `passable`: other users can reach
    the folders of their tasks in it. Blocks on the disk. Raises `StoreError`, `ConfigError`.
    """
    parent = (parent if parent is not None else find_temporary_folder()).absolute()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        directory = RunDirectory(
            Path(tempfile.mkdtemp(prefix="trio_afrender-run-", dir=parent)),
            keep_farm,
            keep_store,
        )
        if passable:
            directory.farm.mkdir(0o700)
            directory.folder.chmod(0o711)
    except OSError as error:
        raise StoreError.of(parent, error) from error
    try:
        yield directory
    finally:
        if not directory.keep_store:
            unwanted = directory.store if directory.keep_farm else directory.folder
            remove_folders([str(unwanted)])

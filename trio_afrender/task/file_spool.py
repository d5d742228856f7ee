"""Contents of files that wait for the server: on disk, beside the journal, which has their names only.

    <spool>/<run>/<digest of the file's name>

What a run has collected is written here before its name is passed on, so neither the outbox nor the
journal holds contents, and an agent that is killed leaves them to the next one. The folder of a run is
removed with the run's own folder, when the server has closed the run.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import attrs

from trio_afrender.errors import is_descriptor_missing
from trio_afrender.protocol.messages import FilesEntry, TaskFile, Update
from trio_afrender.safe_files import (
    NO_LINK,
    read_regular,
    replace_file,
    sync_folder,
    write_all,
)
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.task.collected_files import MAX_FILE
from trio_afrender.task.run_folder import safe_name

__all__ = ("FileSpool", "is_spooled")

logger: logging.Logger = logging.getLogger(__name__)

_DIGEST_LENGTH = 32


def is_spooled(file: TaskFile) -> bool:
    """Whether the content of a file of an outbox or a journal is in the spool."""
    return not file.data


class FileSpool:
    """The spool of one store. All of it blocks."""

    def __init__(self, folder: Path) -> None:
        """`folder` need not exist; its parent does."""
        self._folder = folder
        self._runs = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        """Names of the folders of runs that exist."""

    def write(self, run: str, files: Sequence[TaskFile]) -> None:
        """Store files of a run, durably. Raises `OSError`."""
        folder = self._folder / safe_name(run)
        self._runs.add(folder.name)
        make_folders((str(folder),))
        for file in files:
            path = self._path(run, file.name)
            # A later agent may collect a file again that an entry of the journal names already, so
            # the old content stays whole until the new one is.
            handle = os.open(f"{path}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK, 0o600)
            try:
                write_all(handle, file.data)
                # An outcome that is durable promises that the files before it are.
                os.fsync(handle)
            finally:
                os.close(handle)
            replace_file(path.with_name(f"{path.name}.part"), path)
        sync_folder(folder)

    def read(self, run: str, name: str) -> bytes:
        """Return the content of a file of a run. Raises `OSError`."""
        return read_regular(self._path(run, name), MAX_FILE)

    def load(self, update: Update) -> Update:
        """Return `update` with the contents of its files.

        A file that cannot be read is left out, with a line in the log: its entry, then empty, is
        acknowledged like any other. Raises `OSError` only for what may pass: no descriptor, no memory.
        """
        entries = []
        for entry in update.files:
            files = []
            for file in entry.files:
                if not is_spooled(file):
                    files.append(file)
                    continue
                try:
                    data = self.read(entry.run, file.name)
                except OSError as error:
                    if is_descriptor_missing(error):
                        raise
                    logger.warning(
                        "run %s: %s is not sent: %s", entry.run, file.name, error.strerror
                    )
                else:
                    files.append(attrs.evolve(file, data=data))
            entries.append(FilesEntry(run=entry.run, n=entry.n, files=tuple(files)))
        return attrs.evolve(update, files=tuple(entries))

    def forget(self, runs: Iterable[str]) -> list[Path]:
        """Return the folders that these runs have here, for their removal."""
        gone = self._runs.intersection(map(safe_name, runs))
        self._runs -= gone
        return [self._folder / name for name in sorted(gone)]

    def remove_others(self, kept: Collection[str]) -> None:
        """Remove all folders but those of the runs `kept`."""
        gone = self._runs.difference(map(safe_name, kept))
        self._runs -= gone
        remove_folders([str(self._folder / name) for name in gone])

    def _path(self, run: str, name: str) -> Path:
        # A task chooses the names of its files, and redaction may make them longer than a name may be.
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / safe_name(run) / digest[:_DIGEST_LENGTH]

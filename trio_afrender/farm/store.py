"""Stores texts and files of tasks, on disk or, for tests, in memory.

    <folder>/<job>/<block>.<task>/log.txt            the task's log, all attempts
                                 /output.<n>.txt     the output of attempt n
                                 /files/<name>       thumbnails

Of the data that a render sends only a base name becomes part of a path, and `text.clean_name` has
checked it. Methods block; `farm.text_writer` calls them in threads.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from trio_afrender.errors import StoreError
from trio_afrender.farm.state import AttemptOutput, FileData, LogText, Removal, StoredTexts, Write
from trio_afrender.private_folder import make_private
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.safe_files import NO_LINK, write_all, write_whole
from trio_afrender.text import to_bytes

__all__ = ("DiskFarmStore", "FarmStore", "MemoryFarmStore")

_MAX_LOG = 4 * 1024 * 1024
"""Bytes of a task's log."""
_MAX_OUTPUT = 8 * 1024 * 1024
"""Bytes of the output of one attempt."""
DESCRIPTOR_TIMEOUT = 4.0
"""Seconds that a batch waits for descriptors."""
_PAUSE = 0.1
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_FULL = b"\n[the log of this task is full: nothing more is kept]\n"


class FarmStore(StoredTexts, Protocol):
    """Keeps the texts and files that it is given. One farm uses it at a time."""

    def open(self) -> int:
        """Prepare the store and return the first free job id. Raises `StoreError`."""
        ...

    def write(self, writes: Iterable[Write]) -> list[tuple[TaskKey, str]]:
        """Store everything that can be stored; return the tasks with failures and their reasons."""
        ...


class DiskFarmStore:
    """A store in a folder, made with mode 0700."""

    in_memory = False

    def __init__(self, folder: Path) -> None:
        self.folder: Path = Path(os.path.abspath(folder))  # noqa: PTH100 - Path.resolve follows links
        self._root = str(self.folder)

    def open(self) -> int:
        make_private(self.folder)
        try:
            taken = [int(name) for name in os.listdir(self.folder) if name.isdecimal()]  # noqa: PTH208 - names, not paths
        except OSError as error:
            raise StoreError.of(self.folder, error) from error
        # On Afanasy's server job 1 is the server's own job.
        return max(taken, default=1) + 1

    def write(self, writes: Iterable[Write]) -> list[tuple[TaskKey, str]]:
        failed: list[tuple[TaskKey, str]] = []
        waited = 0.0
        for write in _merge_logs(writes):
            while True:
                try:
                    self._write(write)
                except OSError as error:
                    # Nothing has been written then, and no one else has the text.
                    if error.errno in _NO_DESCRIPTOR and waited < DESCRIPTOR_TIMEOUT:
                        waited += _PAUSE
                        time.sleep(_PAUSE)
                        continue
                    failed.append((write.key, error.strerror or str(error)))
                break
        return failed

    def _write(self, write: Write) -> None:
        match write:
            case LogText():
                path = self._path(write.key, "log.txt")
                _with_folder(_append, path, to_bytes(write.text))
            case AttemptOutput():
                path = self._path(write.key, f"output.{write.attempt}.txt")
                _with_folder(_replace, path, to_bytes(write.text)[:_MAX_OUTPUT])
            case FileData():
                path = self._path(write.key, "files", write.name)
                _with_folder(_replace, path, write.data)
            case Removal():
                # What stays keeps the job's id taken (`open`), so no later job gets it.
                shutil.rmtree(self.folder / str(write.key.job), ignore_errors=True)

    def _path(self, key: TaskKey, *below: str) -> str:
        # Strings, not Path: with tiny tasks, Path objects are a large part of the cost of a write.
        number = f".{key.number}" if key.number else ""
        task = f"{key.block}.{key.task}{number}"
        return os.path.join(self._root, str(key.job), task, *below)  # noqa: PTH118 - as above

    def path(self, key: TaskKey, name: str) -> Path:
        return Path(self._path(key, "files", name))

    def read_file(self, key: TaskKey, name: str) -> bytes:
        handle = os.open(self._path(key, "files", name), os.O_RDONLY | NO_LINK)
        with os.fdopen(handle, "rb") as file:
            return file.read()  # `updates` has limited its size

    def log(self, key: TaskKey) -> str:
        return _read(self._path(key, "log.txt"))

    def output(self, key: TaskKey, attempt: int) -> str:
        return _read(self._path(key, f"output.{attempt}.txt"))


class MemoryFarmStore:
    """A store that ends with the farm. The paths of its files exist on no disk."""

    in_memory = True

    def __init__(self) -> None:
        self.files: dict[tuple[TaskKey, str], bytes] = {}
        self._logs: dict[TaskKey, str] = {}
        self._outputs: dict[tuple[TaskKey, int], str] = {}

    def open(self) -> int:
        return 2  # as in `DiskFarmStore.open`

    def write(self, writes: Iterable[Write]) -> list[tuple[TaskKey, str]]:
        for write in writes:
            match write:
                case LogText():
                    text = self._logs.get(write.key, "") + write.text
                    self._logs[write.key] = text[:_MAX_LOG]
                case AttemptOutput():
                    self._outputs[write.key, write.attempt] = write.text[:_MAX_OUTPUT]
                case FileData():
                    self.files[write.key, write.name] = write.data
                case Removal():
                    job = write.key.job
                    self._logs = {key: text for key, text in self._logs.items() if key.job != job}
                    self._outputs = {
                        key: text for key, text in self._outputs.items() if key[0].job != job
                    }
                    self.files = {
                        key: data for key, data in self.files.items() if key[0].job != job
                    }
        return []

    def path(self, key: TaskKey, name: str) -> Path:
        return Path("/memory", str(key.job), f"{key.block}.{key.task}", "files", name)

    def read_file(self, key: TaskKey, name: str) -> bytes:
        try:
            return self.files[key, name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None

    def log(self, key: TaskKey) -> str:
        # Through bytes, so that tests see what the disk would return for lone surrogates.
        return to_bytes(self._logs.get(key, "")).decode("utf-8", "replace")

    def output(self, key: TaskKey, attempt: int) -> str:
        return to_bytes(self._outputs.get((key, attempt), "")).decode("utf-8", "replace")


def _merge_logs(writes: Iterable[Write]) -> list[Write]:
    """Join the log lines of each task, so that its log is opened once.

    Lines of one task keep their order. A removal drops the writes of its job before it, and those
    behind it stay behind it.
    """
    merged: list[Write] = []
    logs: dict[TaskKey, list[str]] = {}
    for write in writes:
        match write:
            case LogText():
                logs.setdefault(write.key, []).append(write.text)
            case Removal():
                merged = [other for other in merged if other.key.job != write.key.job]
                logs = {key: texts for key, texts in logs.items() if key.job != write.key.job}
                merged.append(write)
            case _:
                merged.append(write)
    merged.extend(LogText(key, "".join(texts)) for key, texts in logs.items())
    return merged


def _with_folder(write: Callable[[str, bytes], None], path: str, data: bytes) -> None:
    """Call `write`. The folders of `path` are made only when that fails: mostly they exist."""
    try:
        write(path, data)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120 - as `_path`
        write(path, data)


def _append(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINK, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size >= _MAX_LOG:
            return
        # The mark makes the log longer than the limit, so it is written once.
        if size + len(data) > _MAX_LOG:
            data = data[: _MAX_LOG - size] + _FULL
        write_all(fd, data)
    finally:
        os.close(fd)


# A thumbnail may be viewed while the next one arrives.
_replace = partial(write_whole, mode=0o600)


def _read(path: str) -> str:
    """A stored text for display: bytes that are not UTF-8 become replacement characters.

    What cannot be read is no empty text: the text says why.
    """
    try:
        return Path(path).read_bytes().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"[the stored text cannot be read: {error.strerror or error}]\n"

"""Where a run lives on this host: its folder, log, working and thumbnail folders.

The seam lets simulated tests run without a disk: `testing` has a place in memory.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs
import trio

from trio_afrender.process.interfaces import Persistence
from trio_afrender.protocol.messages import TaskExec, TaskFile
from trio_afrender.supervisor.paths import end_path
from trio_afrender.tasklog.displayed_log import DisplayedLog
from trio_afrender.tasklog.head_tail import make_window, read_window
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.local_log import open_reader, open_run_log
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.tasklog.supervised_log import open_supervised_log

__all__ = (
    "OWN_SLOT",
    "DiskRunFolder",
    "OpenRunFolder",
    "RunFolder",
    "open_run_folder",
    "read_stored_output",
    "remove_run_folders",
    "run_folder_name",
)

OWN_SLOT = "task"
"""The slot of a run's own process; those of post commands are ``post-0`` and so on."""
GPUS_FILE = "cards.json"
MAX_FILE = 100_000
"""Bytes; files of that size and more are not sent (Afanasy's limit for thumbnails)."""
STOP_FILE_TIMEOUT = 0.5
UNFINISHED_SUFFIXES = (".part", ".tmp", ".partial")
SETTLE_TIME = 1.0
"""Seconds without a change after which a file of no known kind counts as complete."""


class RunFolder(Protocol):
    """What a run needs of its host's disk."""

    @property
    def log(self) -> RunLog: ...

    @property
    def view(self) -> DisplayedLog: ...

    @property
    def work_dir(self) -> str:
        """The working folder of a task that names none."""
        ...

    @property
    def files_dir(self) -> str:
        """Afanasy's ``store_dir``: what is put here goes to the server."""
        ...

    @property
    def stop_file(self) -> str:
        """Where `write_stop` writes; the task learns it as ``AF_STOP_FILE``."""
        ...

    def persistence(self, slot: str) -> Persistence | None:
        """How the process `slot` of the run outlives its agent; None where none does."""
        ...

    async def is_folder(self, path: str) -> bool:
        """Whether a task can work there. A hanging mount hangs this run alone."""
        ...

    async def write_stop(self, reason: str, grace: float, deadline: float) -> None:
        """Put the JSON that ``AF_STOP_FILE`` promises; gives up after half a second."""
        ...

    async def record_gpus(self, cards: Sequence[str]) -> None:
        """Keep which GPUs the run has, for a later agent that takes it over."""
        ...

    async def recorded_gpus(self) -> tuple[str, ...]:
        """Return what `note_cards` kept; () for nothing."""
        ...

    async def collect(self, seen: Collection[str]) -> tuple[TaskFile, ...]:
        """Files that are complete and whose names are not in `seen`; the task may still run."""
        ...

    async def read_window(self, *, viewed: bool, limit: int, redactor: Redactor) -> str:
        """Head and tail of what was printed; `viewed`: as the parser would have it shown."""
        ...

    async def collect_final(
        self, seen: Collection[str], *, viewed: bool, limit: int, redactor: Redactor
    ) -> tuple[tuple[TaskFile, ...], str]:
        """`collect` and `read_window` at the end of a run, on one way to the disk."""
        ...


OpenRunFolder: TypeAlias = Callable[[TaskExec], AbstractAsyncContextManager[RunFolder]]
"""Makes a run's place. Raises `StoreError`. Leaving it closes the log and removes nothing."""


@attrs.define(eq=False, kw_only=True)
class DiskRunFolder:
    """A folder of the store; all blocking work happens in threads."""

    folder: Path
    log: RunLog
    view: DisplayedLog
    quota: int
    supervised: bool = False

    @property
    def work_dir(self) -> str:
        return str(self.folder / "work")

    def persistence(self, slot: str) -> Persistence | None:
        if not self.supervised:
            return None
        record, log = str(self.folder / slot), str(self.folder / "log")
        return Persistence(record=record, log=log, quota=self.quota, agent_timeout=0, grace=0)

    @property
    def files_dir(self) -> str:
        return str(self.folder / "files")

    @property
    def stop_file(self) -> str:
        return str(self.folder / "stop.json")

    async def is_folder(self, path: str) -> bool:
        # Working folders are on the network: a hung mount must not hold threads of the store.
        return await trio.to_thread.run_sync(_is_enterable, path, abandon_on_cancel=True)

    async def write_stop(self, reason: str, grace: float, deadline: float) -> None:
        text = json.dumps({"reason": reason, "grace": grace, "deadline": deadline})
        # Abandoned when the disk hangs: TERM must not wait for it, and a late note harms nobody.
        with trio.move_on_after(STOP_FILE_TIMEOUT):
            await work_in_thread(partial(_write_atomically, self.stop_file, text), abandon=True)

    async def record_gpus(self, cards: Sequence[str]) -> None:
        path, text = str(self.folder / GPUS_FILE), json.dumps(list(cards))
        with suppress(OSError):  # a full disk stops no task; only a later agent knows less
            await work_in_thread(partial(_write_atomically, path, text))

    async def recorded_gpus(self) -> tuple[str, ...]:
        return await work_in_thread(partial(_read_cards, self.folder / GPUS_FILE))

    async def collect(self, seen: Collection[str]) -> tuple[TaskFile, ...]:
        return await work_in_thread(lambda: _read_files(self.files_dir, seen, last=False))

    async def read_window(self, *, viewed: bool, limit: int, redactor: Redactor) -> str:
        return (await read_window(self.view if viewed else self.log, limit, redactor)).text

    async def collect_final(
        self, seen: Collection[str], *, viewed: bool, limit: int, redactor: Redactor
    ) -> tuple[tuple[TaskFile, ...], str]:
        source = (self.view if viewed else self.log).reader()

        def look() -> tuple[tuple[TaskFile, ...], str]:
            text = make_window(source, limit, redactor).text if source.size() else ""
            return _read_files(self.files_dir, seen, last=True), text

        return await work_in_thread(look)


@asynccontextmanager
async def open_run_folder(
    root: Path, task: TaskExec, *, quota: int, supervised: bool = False
) -> AsyncIterator[DiskRunFolder]:
    """Make ``<root>/<job>.<block>.<task>_<run>`` with its log. Raises `StoreError`.

    With `supervised` somebody else writes the log. What an earlier agent had there of the log goes on; its
    view is made anew.
    """
    folder = root / run_folder_name(task)
    beside = (folder / "work", folder / "files")
    log: AbstractAsyncContextManager[RunLog] = (
        open_supervised_log(folder / "log", beside=beside)
        if supervised
        else open_run_log(folder / "log", quota=quota, beside=beside)
    )
    async with log as opened:
        view = DisplayedLog(opened, folder / "view")
        yield DiskRunFolder(
            folder=folder, log=opened, view=view, quota=quota, supervised=supervised
        )


async def remove_run_folders(root: Path, tasks: Sequence[TaskExec]) -> None:
    """Delete the folders of runs; what cannot be deleted stays."""
    folders = [root / run_folder_name(task) for task in tasks]

    def remove() -> None:
        for folder in folders:
            if not _remove_bare(str(folder)):
                shutil.rmtree(folder, ignore_errors=True)

    await work_in_thread(remove)


def _remove_bare(folder: str) -> bool:
    """Remove the folder of a run that left nothing of its own; False if it must be done thoroughly.

    Most tiny tasks are like that, and looking first is forty calls of the system: the dearest part
    of such a task on a busy loop, because each of them lets go of the interpreter and wants it back.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with suppress(FileNotFoundError):
            os.unlink(end_path(OWN_SLOT), dir_fd=handle)
        os.rmdir("files", dir_fd=handle)
        os.rmdir("work", dir_fd=handle)
        os.rmdir(folder)  # noqa: PTH106 - it is a text
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def run_folder_name(task: TaskExec) -> str:
    """The name of a run's folder."""
    return f"{task.key}_{safe_name(task.run)}"


async def read_stored_output(root: Path, task: TaskExec, *, limit: int, redactor: Redactor) -> str:
    """What is left of the output of a run whose agent is dead, head and tail; '' for nothing."""

    def read() -> str:
        reader = open_reader(root / run_folder_name(task) / "log")
        return make_window(reader, limit, redactor).text if reader.size() else ""

    return await work_in_thread(read)


def safe_name(run: str) -> str:
    """A run is the server's word: reduce it to what can only ever be one file name."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in run)[:64]


def _read_cards(path: Path) -> tuple[str, ...]:
    try:
        cards = json.loads(path.read_text())
    except (OSError, ValueError):
        return ()
    return tuple(card for card in cards if isinstance(card, str)) if isinstance(cards, list) else ()


def _is_enterable(path: str) -> bool:
    return Path(path).is_dir() and os.access(path, os.X_OK)


def _write_atomically(path: str, text: str) -> None:
    partial = Path(f"{path}.part")
    partial.write_text(text)
    partial.replace(path)


def _read_files(folder: str, seen: Collection[str], *, last: bool) -> tuple[TaskFile, ...]:
    """New files of the folder that are complete; `last`: nobody is left who could be writing."""
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # the task has removed it
        return ()
    for entry in entries:
        with suppress(FileNotFoundError):
            if entry.name in seen or not entry.is_file(follow_symlinks=False):
                continue
            if entry.name.startswith(".") or entry.name.endswith(UNFINISHED_SUFFIXES):
                continue  # by custom a name for what is on its way
            state = entry.stat(follow_symlinks=False)
            if state.st_size >= MAX_FILE:
                continue
            data = Path(entry.path).read_bytes()
            if last or _is_complete(data, time.time() - state.st_mtime):
                found.append(TaskFile(name=entry.name, data=data))
    return tuple(found)


def _is_complete(data: bytes, age: float) -> bool:
    """Whether a file that may be in the making is whole, by its end or because it rests."""
    if data.startswith(b"\xff\xd8"):
        return data.endswith(b"\xff\xd9")
    if data.startswith(b"\x89PNG"):
        return data.endswith(b"IEND\xaeB`\x82")
    return bool(data) and age >= SETTLE_TIME

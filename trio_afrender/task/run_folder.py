"""The folder of a run on this host: log, working folder, files for the server, stop file.

    <runs>/<job>.<block>.<task>_<run>/
        log/            the output of all processes of the run, see `tasklog.segments`
        view/           what the parser shows in place of parts of it
        work/           working folder of a task that names none
        files/          Afanasy's ``store_dir``: files in here are sent to the server
        stop.json       why the task is stopped, for the task itself (``AF_STOP_FILE``)
        cards.json      the GPUs of the run, for a later agent
        task.*, post-*  records of the process trees that a supervisor holds

Of a task that runs as another user, what it may read or write lies elsewhere, because nothing of the
store may be entered by it (`agent.state_dir`):

    <task folders>/<job>.<block>.<task>_<run>/
        work/ files/ stop.json      as above; the user's own

`RunFolder` is an interface so that simulated tests need no disk: `testing` has one in memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from trio_afrender.errors import StoreError, is_exhausted
from trio_afrender.process.interfaces import Persistence
from trio_afrender.process.task_user import TaskUser, find_user_of
from trio_afrender.protocol.messages import TaskExec, TaskFile
from trio_afrender.safe_files import read_regular, write_whole
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.task.collected_files import FileBatch, SentFiles, read_batch
from trio_afrender.task.mount_threads import call_on_mount
from trio_afrender.tasklog.displayed_log import DisplayedLog
from trio_afrender.tasklog.head_tail import make_window, read_window
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.io_threads import call_in_thread, retry_exhausted, work_in_thread
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.tasklog.segments import open_reader
from trio_afrender.tasklog.supervised_log import open_supervised_log

__all__ = (
    "OWN_SLOT",
    "DiskRunFolder",
    "OpenRunFolder",
    "RunFolder",
    "find_inherited_user",
    "open_run_folder",
    "read_stored_output",
    "run_folder_name",
)

OWN_SLOT = "task"
"""The slot of a run's own process; post commands have ``post-0`` and so on."""
GPUS_FILE = "cards.json"
MAX_GPUS_FILE = 100_000
"""Bytes."""
_MAX_RUN_NAME = 64
"""Characters of the part of a folder's name that stands for the run's id."""
_DIGEST_LENGTH = 16
STOP_FILE_TIMEOUT = 0.5
"""Seconds that writing the stop file may delay TERM."""


class RunFolder(Protocol):
    """What a run needs of the disk."""

    @property
    def log(self) -> RunLog: ...

    @property
    def view(self) -> DisplayedLog: ...

    @property
    def user(self) -> TaskUser | None:
        """The user of the folders and of the processes of the run; None: the agent's."""
        ...

    @property
    def work_dir(self) -> str:
        """The working folder of a task that names none."""
        ...

    @property
    def files_dir(self) -> str:
        """Afanasy's ``store_dir``: files in here are sent to the server."""
        ...

    @property
    def stop_file(self) -> str:
        """The path that `write_stop` writes to; the task gets it as ``AF_STOP_FILE``."""
        ...

    def persistence(self, slot: str, *, own_log: bool = False) -> Persistence:
        """Where the tree of the process `slot` is recorded; its two times are the caller's to set.

        Its output goes to the run's log, or with `own_log` to that of `open_own_log`.
        """
        ...

    def open_own_log(self, slot: str) -> AbstractAsyncContextManager[RunLog]:
        """Open a log for a process whose output is not the task's."""
        ...

    async def is_folder(self, path: str) -> bool:
        """Whether a task can work in `path`. On a hanging mount only this run waits."""
        ...

    async def write_stop(self, reason: str, grace: float, deadline: float) -> None:
        """Write the stop file: grace in seconds, deadline in Unix time. Raises OSError.

        Given up after `STOP_FILE_TIMEOUT`.
        """
        ...

    async def record_gpus(self, gpus: Sequence[str]) -> None:
        """Record which GPUs the run has, for a later agent that takes it over. Never raises OSError."""
        ...

    async def recorded_gpus(self) -> tuple[str, ...]:
        """Return what `record_gpus` recorded; () if there is nothing or it cannot be read."""
        ...

    async def collect(self, sent: SentFiles, redactor: Redactor) -> FileBatch:
        """Return complete files that are not in `sent`; the task may still run."""
        ...

    async def read_window(self, *, viewed: bool, limit: int, redactor: Redactor) -> str:
        """Return head and tail of the output, `limit` bytes. `viewed`: as the parser shows it."""
        ...

    async def collect_final(
        self, sent: SentFiles, *, viewed: bool, limit: int, redactor: Redactor
    ) -> tuple[FileBatch, str]:
        """Do `collect` and `read_window` at the end of a run, in one thread call.

        Called again for each further batch (`FileBatch.more`), with `limit` 0: without the output.
        """
        ...


class OpenRunFolder(Protocol):
    """Opens the folder of a run."""

    def __call__(
        self, task: TaskExec, user: TaskUser | None = None
    ) -> AbstractAsyncContextManager[RunFolder]:
        """Open it, for processes of `user`. Raises `StoreError`.

        Leaving closes the log and removes nothing.
        """
        ...


@attrs.define(eq=False, kw_only=True)
class DiskRunFolder:
    """A `RunFolder` on disk; blocking calls run in threads. Made by `open_run_folder`."""

    folder: Path
    log: RunLog
    view: DisplayedLog
    quota: int
    """Bytes of log that are kept."""
    user: TaskUser | None = None
    task_folder: Path = attrs.field()
    """The folder of what the task may read or write: `folder`, unless it is another user's."""
    store_files: Callable[[Sequence[TaskFile]], None] | None = None
    """Stores contents of files until the server has them (`file_spool`), and raises `OSError`; None:
    they are kept in memory."""

    work_dir: str = attrs.field(init=False)
    files_dir: str = attrs.field(init=False)
    stop_file: str = attrs.field(init=False)

    @task_folder.default
    def _use_folder(self) -> Path:
        return self.folder

    def __attrs_post_init__(self) -> None:
        # Texts, joined once: a `Path` for each use is a noticeable part of a tiny task's cost.
        folder = str(self.task_folder)
        self.work_dir = f"{folder}{os.sep}work"
        self.files_dir = f"{folder}{os.sep}files"
        self.stop_file = f"{folder}{os.sep}stop.json"

    def persistence(self, slot: str, *, own_log: bool = False) -> Persistence:
        record = f"{self.folder}{os.sep}{slot}"
        log = f"{record}-log" if own_log else f"{self.folder}{os.sep}log"
        # The two times are the run's to set: they depend on its service.
        return Persistence(
            record=record,
            log=log,
            quota=self.quota,
            agent_timeout=0,
            grace=0,
            # Post commands come after the task's own process, and find the folders there.
            folders=(self.work_dir, self.files_dir) if slot == OWN_SLOT else (),
        )

    def open_own_log(self, slot: str) -> AbstractAsyncContextManager[RunLog]:
        return open_supervised_log(self.folder / f"{slot}-log")

    async def is_folder(self, path: str) -> bool:
        def look() -> bool:
            try:
                return Path(path).is_dir() and os.access(path, os.X_OK)
            except OSError as error:
                # Below a folder that is closed to this user, or with a name that no file system takes.
                # Another error, as of a disk that fails, says nothing about the folder.
                if error.errno in (errno.EACCES, errno.ENAMETOOLONG):
                    return False
                raise

        # Not `work_in_thread`: working folders are on network mounts, and a few hanging ones would
        # take all threads of the store.
        return await call_on_mount(look)

    async def write_stop(self, reason: str, grace: float, deadline: float) -> None:
        text = json.dumps({"reason": reason, "grace": grace, "deadline": deadline})
        # On a hanging disk the thread is left behind: TERM must not wait for it, and a stop file that
        # is written later does no harm.
        write = partial(write_whole, self.stop_file, text)
        if self.user is not None:
            write = partial(write, mode=0o400, owner=(self.user.ids.uid, self.user.ids.gid))
        with trio.move_on_after(STOP_FILE_TIMEOUT):
            await work_in_thread(write, abandon=True)

    async def record_gpus(self, gpus: Sequence[str]) -> None:
        path, text = str(self.folder / GPUS_FILE), json.dumps(list(gpus))

        def write() -> None:
            make_folders((str(self.folder),))
            write_whole(path, text)

        # A full disk must not fail the task. The cost is that an agent restarted while the task runs
        # can give the same GPUs to another one.
        with suppress(OSError):
            await work_in_thread(write)

    async def recorded_gpus(self) -> tuple[str, ...]:
        def read() -> tuple[str, ...]:
            # The task can write to this folder, so anything that is no list of texts counts as missing.
            try:
                gpus = json.loads(read_regular(self.folder / GPUS_FILE, MAX_GPUS_FILE))
            except (OSError, ValueError, RecursionError) as error:
                if is_exhausted(error):
                    raise
                return ()
            if not isinstance(gpus, list):
                return ()
            return tuple(gpu for gpu in gpus if isinstance(gpu, str))

        try:
            return await retry_exhausted(partial(work_in_thread, read))
        except OSError:
            return ()

    async def collect(self, sent: SentFiles, redactor: Redactor) -> FileBatch:
        return await work_in_thread(partial(self._read_batch, sent, redactor, last=False))

    def _read_batch(self, sent: SentFiles, redactor: Redactor, *, last: bool) -> FileBatch:
        owner = self.user.ids.uid if self.user is not None else None
        return read_batch(self.files_dir, sent, redactor, self.store_files, last=last, owner=owner)

    async def read_window(self, *, viewed: bool, limit: int, redactor: Redactor) -> str:
        return (await read_window(self.view if viewed else self.log, limit, redactor)).text

    async def collect_final(
        self, sent: SentFiles, *, viewed: bool, limit: int, redactor: Redactor
    ) -> tuple[FileBatch, str]:
        source = (self.view if viewed else self.log).reader()

        def read() -> tuple[FileBatch, str]:
            text = make_window(source, limit, redactor).text if limit and source.size() else ""
            return self._read_batch(sent, redactor, last=True), text

        # One hop for both: a thread call is a noticeable part of a tiny task's cost.
        return await work_in_thread(read)


@asynccontextmanager
async def open_run_folder(
    root: Path,
    task: TaskExec,
    user: TaskUser | None = None,
    *,
    quota: int,
    store_files: Callable[[str, Sequence[TaskFile]], None] | None = None,
    task_folders: Path | None = None,
) -> AsyncIterator[DiskRunFolder]:
    """Open ``<root>/<job>.<block>.<task>_<run>`` with its log, and close the log at the end.

    `store_files` is called with the run's id, see `DiskRunFolder.store_files`.

    The folder is made with the first tree of the run (`Persistence.folders`); with a `user` it is made
    here, and what the task may write, in `task_folders`, is that user's. Task supervisors write the log.
    A log that an earlier agent left there is continued; its view is built again from the start, by the
    parser of this agent.
    """
    folder = root / run_folder_name(task)
    task_folder = folder
    if user is not None and task_folders is not None:
        task_folder = task_folders / folder.name
        try:
            await work_in_thread(partial(_make_folders_of, user, folder, task_folder))
        except OSError as error:
            raise StoreError.of(task_folder, error) from error
    async with open_supervised_log(folder / "log") as log:
        view = DisplayedLog(log, folder / "view", quota=quota)
        yield DiskRunFolder(
            folder=folder,
            log=log,
            view=view,
            quota=quota,
            user=user,
            task_folder=task_folder,
            store_files=partial(store_files, task.run) if store_files is not None else None,
        )


def _make_folders_of(user: TaskUser, folder: Path, task_folder: Path) -> None:
    """Make the folders of a run of another user. Raises `OSError`."""
    ids, log = user.ids, folder / "log"
    make_folders((str(folder), str(log)))
    # The plugins of the run, which are that user's too, read the log. Its parent keeps tasks out.
    os.chown(log, -1, ids.gid)
    log.chmod(0o750)
    with suppress(FileExistsError):
        task_folder.mkdir(0o700)
    os.chown(task_folder, -1, ids.gid)
    task_folder.chmod(0o710)
    for own in (task_folder / "work", task_folder / "files"):
        try:
            own.mkdir(0o700)
        except FileExistsError:
            # Of an earlier agent's run. Only this user could write there, if it is its own.
            facts = own.lstat()
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == ids.uid:
                continue
            remove_folders([str(own)])
            own.mkdir(0o700)
        os.chown(own, ids.uid, ids.gid)


async def find_inherited_user(task_folders: Path, task: TaskExec) -> TaskUser | None:
    """Return the user of a run that an earlier agent started, whatever the settings are now."""
    # The folder that it is in is ours, so no task can give itself another user there.
    place = task_folders / run_folder_name(task) / "work"
    return await call_in_thread(partial(find_user_of, place))


def run_folder_name(task: TaskExec) -> str:
    """Return the name of a run's folder."""
    return f"{task.key}_{safe_name(task.run, f'{task.key}-')}"


async def read_stored_output(root: Path, task: TaskExec, *, limit: int, redactor: Redactor) -> str:
    """Return head and tail of the stored output of a run whose agent was killed; '' for none."""

    def read() -> str:
        reader = open_reader(root / run_folder_name(task) / "log")
        return make_window(reader, limit, redactor).text if reader.size() else ""

    return await work_in_thread(read)


def safe_name(run: str, usual_start: str = "") -> str:
    """Return a name of at most 64 ASCII letters, digits and ``-`` for a run's id.

    Different ids have different names: one that has other characters, or too many, is cut and gets a
    part of its digest. `usual_start`, which ids made for an afserver begin with, is exempt.
    """
    # The server chooses the run's id: it must not name another folder ("../x").
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in run)
    rest = len(run.removeprefix(usual_start))
    if name[-rest:] == run[-rest:] and len(name) <= _MAX_RUN_NAME and rest:
        return name
    digest = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{name[: _MAX_RUN_NAME - _DIGEST_LENGTH - 1]}-{digest}"

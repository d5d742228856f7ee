"""A render host in memory: without a disk, processes and threads, on any clock.

async with trio.open_nursery() as nursery:
    host = MemoryHost()
    config = Config(name="r1", server="ws://farm")
    agent = await nursery.start(partial(run_agent, config, connect=..., outside=host.open()))
    child = await host.spawn.next()
    child.exit(0)
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from trio_afrender.agent.agent_dependencies import AgentDependencies
from trio_afrender.agent.journal_format import PendingState, read_records, replay
from trio_afrender.agent.run_history import make_line
from trio_afrender.agent.takeover import TakeoverResult
from trio_afrender.config import PluginSettings
from trio_afrender.errors import StoreError
from trio_afrender.hostinfo.identity import HostFacts
from trio_afrender.hostinfo.memory import MemoryHeadroom
from trio_afrender.hostinfo.process_inspection import ProcessReport
from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.plugins.interfaces import PluginRunner
from trio_afrender.plugins.meters.service import MeterSource, NoMeters
from trio_afrender.process.command_result import CommandResult
from trio_afrender.process.interfaces import Persistence
from trio_afrender.process.task_user import TaskUser
from trio_afrender.protocol.messages import HostResources, TaskExec, TaskFile, TaskUpdate, Update
from trio_afrender.task.collected_files import FileBatch, SentFiles
from trio_afrender.task.image_worker import ImageWorker
from trio_afrender.tasklog.displayed_log import DisplayedLog
from trio_afrender.tasklog.head_tail import read_window
from trio_afrender.tasklog.memory_log import MemoryLog
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.testing.fake_process import FakeSpawn

__all__ = ("FakeUsageReader", "MemoryHost", "MemoryRunFolder", "virtual_wall")

VIRTUAL_EPOCH = 1_800_000_000.0
_NOWHERE = Path("/memory")
_FACTS = HostFacts(name="memory", os="unix", address="", netifs=(), hw_info="none", user="tester")


def virtual_wall() -> float:
    """Unix time derived from trio's clock: virtual under a mock clock, the same in each run."""
    return VIRTUAL_EPOCH + trio.current_time()


@attrs.define(eq=False, kw_only=True)
class MemoryRunFolder:
    """The folder of a run. A test puts files into `files` and inspects `stops`."""

    host: MemoryHost
    run: str = ""
    user: TaskUser | None = None
    log: MemoryLog = attrs.field(factory=MemoryLog)
    view: DisplayedLog = attrs.field(init=False)
    work_dir: str = "/memory/work"
    files_dir: str = "/memory/files"
    stop_file: str = "/memory/stop.json"
    files: dict[str, bytes] = attrs.field(factory=dict)
    stops: list[tuple[float, str]] = attrs.field(factory=list)
    """(virtual time, reason) of each stop written to ``AF_STOP_FILE``."""
    removed: bool = False
    """Whether the agent has removed this folder."""

    def __attrs_post_init__(self) -> None:
        self.view = DisplayedLog(self.log, None)

    def persistence(self, slot: str, *, own_log: bool = False) -> Persistence:
        record, log = f"/memory/{slot}", "/memory/log"
        return Persistence(record=record, log=log, quota=0, agent_timeout=0, grace=0)

    @asynccontextmanager
    async def open_own_log(self, slot: str) -> AsyncIterator[MemoryLog]:
        await trio.lowlevel.checkpoint()
        yield MemoryLog()

    async def is_folder(self, path: str) -> bool:
        await trio.lowlevel.checkpoint()
        return path in self.host.folders

    async def record_gpus(self, gpus: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.host.gpus[self.run] = tuple(gpus)

    async def recorded_gpus(self) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        return self.host.gpus.get(self.run, ())

    async def write_stop(self, reason: str, grace: float, deadline: float) -> None:
        await trio.lowlevel.checkpoint()
        if self.host.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.stops.append((trio.current_time(), reason))

    async def collect(self, sent: SentFiles, redactor: Redactor) -> FileBatch:
        await trio.lowlevel.checkpoint()
        new = {name: self.files[name] for name in sorted(self.files) if name not in sent.names}
        return FileBatch(
            files=tuple(TaskFile(name=name, data=data) for name, data in new.items()),
            names=frozenset(new),
            bytes=sum(map(len, new.values())),
        )

    async def read_window(self, *, viewed: bool, limit: int, redactor: Redactor) -> str:
        return (await read_window(self.view if viewed else self.log, limit, redactor)).text

    async def collect_final(
        self, sent: SentFiles, *, viewed: bool, limit: int, redactor: Redactor
    ) -> tuple[FileBatch, str]:
        text = await self.read_window(viewed=viewed, limit=limit, redactor=redactor)
        return await self.collect(sent, redactor), text


@attrs.define(eq=False)
class MemoryJournal:
    """A journal in `data`, durable as soon as it is written."""

    data: bytearray
    held: PendingState = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.held = replay(read_records(bytes(self.data), 0))

    @property
    def durable(self) -> int:
        return len(self.data)

    def write(self, record: bytes, *, sync: bool = False) -> int:
        self.data += record
        return len(self.data)

    async def run(self, *, saved: Callable[[], None], now: Callable[[], PendingState]) -> None:
        await trio.sleep_forever()


@attrs.define(eq=False)
class MemoryHistory:
    """A history in a list."""

    lines: list[dict[str, Any]]

    def note(self, update: TaskUpdate, task: TaskExec | None) -> None:
        self.lines.append(make_line(update, task))

    async def run(self) -> None:
        await trio.sleep_forever()


@attrs.define(eq=False)
class FakeUsageReader:
    """Reports the usage of processes that a test has set."""

    usage: dict[int, ProcessUsage] = attrs.field(factory=dict)
    """By pid. A process that is missing here does not exist."""
    gpus: dict[int, GpuShare] = attrs.field(factory=dict)
    """The share of the GPUs that each process uses, by pid."""
    reads: list[float] = attrs.field(factory=list)
    """The virtual time of each measurement."""

    def use(self, pid: int, *, memory: int = 0, cpu: float = 0.0, parent: int = 1) -> None:
        """Set the usage of a process: memory in bytes, CPU time in seconds."""
        self.usage[pid] = ProcessUsage(
            pid=pid, started=1.0, parent=parent, resident=memory, peak=memory, cpu=cpu
        )

    async def read(self, pids: Collection[int]) -> tuple[ProcessUsage, ...]:
        await trio.lowlevel.checkpoint()
        self.reads.append(trio.current_time())
        return tuple(self.usage[pid] for pid in sorted(pids) if pid in self.usage)

    async def largest(self) -> tuple[ProcessUsage, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(sorted(self.usage.values(), key=lambda usage: -usage.resident))

    def read_usage_now(self, pid: int) -> ProcessUsage | None:
        return self.usage.get(pid)

    def shares(self) -> dict[int, GpuShare]:
        return self.gpus


async def _load_files(update: Update) -> Update:
    await trio.lowlevel.checkpoint()
    return update  # the files of a run in memory have their contents


@attrs.define(eq=False, kw_only=True)
class MemoryHost:
    """Everything that an agent uses outside itself. Each part may be replaced before `open`."""

    spawn: FakeSpawn = attrs.field(factory=FakeSpawn)
    plugins: PluginRunner = attrs.field(factory=lambda: InlineRunner(PluginSettings()))
    folders: set[str] = attrs.field(factory=set)
    """Working folders that exist."""
    task_user: Callable[[TaskExec], TaskUser | None] = lambda _: None
    """The user as which a task runs; None: the agent's own. May raise `TaskUserError`."""
    places: dict[str, MemoryRunFolder] = attrs.field(factory=dict)
    """The folders of runs by run id, also after the run."""
    dismissed: list[str] = attrs.field(factory=list)
    """Runs of an earlier agent whose process trees this agent has ended."""
    full: bool = False
    """Whether the disk is full: no new run and no stop file can be written."""
    facts: HostFacts = attrs.field(factory=lambda: _FACTS)
    resources: Callable[[], HostResources] = HostResources
    process_report: ProcessReport = attrs.field(factory=ProcessReport)
    """The inspection of processes that have stopped working."""
    gpus_unclaimed: bool = False
    """Whether a GPU is busy with processes that its driver does not list."""
    headroom: MemoryHeadroom = attrs.field(
        factory=lambda: MemoryHeadroom(available=64 * 1024**3, total=128 * 1024**3)
    )
    """The free memory of the host."""
    gauge: FakeUsageReader = attrs.field(factory=FakeUsageReader)
    """The usage of the tasks' processes."""
    meters: MeterSource = attrs.field(factory=NoMeters)
    image_worker: ImageWorker | None = None
    """Reads images; None: thumbnails are made by processes of `spawn`."""
    journal: bytearray = attrs.field(factory=bytearray)
    """The agent's journal. The next agent on this host begins with it."""
    server_identity: str = ""
    """The identity of the agent at an Afanasy server. The next agent on this host continues with
    it."""
    history: list[dict[str, Any]] = attrs.field(factory=list)
    """The outcomes of runs, as the command ``why`` shows them."""
    tokens: int = 0
    """The number of runs that have got a token."""
    environ: dict[str, str] = attrs.field(factory=dict)
    """The environment variables of the agent."""
    unkillable: tuple[int, ...] = ()
    """Pids of an earlier agent that survived KILL. They end when the event `unkillable_gone` is set."""
    unkillable_gone: trio.Event = attrs.field(factory=trio.Event)
    inherited: frozenset[str] = frozenset()
    """Runs of an earlier agent that continue, because a supervisor held their trees."""
    gpus: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    """The GPUs of runs by run id, as recorded in their folders."""
    stuck: bool = False
    """Whether measuring the host hangs, as it does with a faulty driver."""
    launched: list[str] = attrs.field(factory=list)
    """Commands that the agent has started detached, for instructions of the server."""
    launch_code: int = 0
    """The exit code of these commands."""
    notice: CommandResult = attrs.field(factory=lambda: CommandResult(1))
    """The result of the notice command; exit code 0: the host is about to be reclaimed."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AgentDependencies]:
        """Open the host, for the parameter `outside` of `run_agent`."""
        await trio.lowlevel.checkpoint()
        yield AgentDependencies(
            spawn=self.spawn,
            plugins=self.plugins,
            open_run_folder=self._open_run_folder,
            find_user=self._find_user,
            remove_run_folders=self._remove_run_folders,
            dismiss=self._dismiss,
            facts=self.facts,
            measure=self._measure,
            spawn_detached=self._spawn_detached,
            ask=self._ask,
            journal=MemoryJournal(self.journal),
            history=MemoryHistory(self.history),
            server_identity=self.server_identity,
            load_files=_load_files,
            save_server_identity=self.save_server_identity,
            read_stored_output=self._read_stored_output,
            examine=self._examine,
            gpus_unclaimed=lambda: self.gpus_unclaimed,
            read_headroom=lambda: self.headroom,
            usage_reader=self.gauge,
            meters=self.meters,
            image_worker=self.image_worker,
            run_token=self._run_token,
            environ=self.environ,
            inherited=TakeoverResult(runs=self.inherited, unkillable=self.unkillable),
            wait_gone=self._wait_gone,
            wall=virtual_wall,
            jitter=random.Random(1),  # noqa: S311 - the same in each run
        )

    async def _find_user(self, task: TaskExec, inherited: bool) -> TaskUser | None:
        await trio.lowlevel.checkpoint()
        return self.task_user(task)

    @asynccontextmanager
    async def _open_run_folder(
        self, task: TaskExec, user: TaskUser | None = None
    ) -> AsyncIterator[MemoryRunFolder]:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StoreError(_NOWHERE, "No space left on device")
        folder = self.places[task.run] = MemoryRunFolder(host=self, run=task.run, user=user)
        yield folder
        folder.log.end()

    async def _wait_gone(self, pids: Collection[int]) -> None:
        await self.unkillable_gone.wait()

    async def _dismiss(self, task: TaskExec) -> None:
        await trio.lowlevel.checkpoint()
        self.dismissed.append(task.run)

    async def _remove_run_folders(self, tasks: Sequence[TaskExec]) -> None:
        await trio.lowlevel.checkpoint()
        for task in tasks:
            if (folder := self.places.get(task.run)) is not None:
                folder.removed = True

    async def _read_stored_output(self, task: TaskExec, redactor: Redactor) -> str:
        folder = self.places.get(task.run)
        if folder is None:
            return ""
        return await folder.read_window(viewed=False, limit=1024 * 1024, redactor=redactor)

    async def save_server_identity(self, text: str) -> None:
        """Store the identity of the agent at an Afanasy server."""
        await trio.lowlevel.checkpoint()
        self.server_identity = text

    def _run_token(self, run: str) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    async def _spawn_detached(self, argv: Sequence[str]) -> int:
        await trio.lowlevel.checkpoint()
        self.launched.append(argv[-1])
        return self.launch_code

    async def _ask(self, argv: Sequence[str], limit: float) -> CommandResult:
        await trio.lowlevel.checkpoint()
        return self.notice

    async def _examine(self, pids: Collection[int]) -> ProcessReport:
        await trio.lowlevel.checkpoint()
        return self.process_report

    async def _measure(self) -> HostResources:
        await trio.lowlevel.checkpoint()
        if self.stuck:
            await trio.sleep_forever()
        return self.resources()

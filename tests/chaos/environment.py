"""A farm, a faulty network, a small disk and an agent's process, which live through many rounds."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
from support.png import make_png

from chaos.disk import SmallDisk, open_small_disk
from chaos.faulty_relay import FaultyRelay
from chaos.leak_check import Footprint, measure
from chaos.special_files import exchange_file
from chaos.supervisor_faults import (
    find_plugin_processes,
    find_supervisors,
    find_task_supervisors,
    find_thumbnail_workers,
    freeze_process,
    kill_process,
)
from trio_afrender.config import Token
from trio_afrender.farm import Farm, FarmSettings, open_farm
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import (
    BoundAddress,
    WebSocketServerLink,
    serve_websocket,
)

__all__ = ("Environment", "open_environment")

ZOMBIE_TIME = 2.0
SETTINGS = FarmSettings(zombie_time=ZOMBIE_TIME, errors_retries=0, pause=0.05, pause_limit=0.2)
CONFIG = {
    "cgru_config": {
        "trio_afrender": {
            "max_tasks": 8,
            "capacity": 8000,
            "log_quota": 4 << 20,
            "check_images": "warn",
            "timing": {"grace": 0.1, "drain": 0.2, "zombie": ZOMBIE_TIME, "heartbeat": 0.2},
        }
    }
}
PROGRAM = Path(__file__).parents[1] / "programs" / "skewed_clock.py"
MAX_LOG = 8 << 20
EXIT_TIMEOUT = 30.0
"""Seconds for an agent to exit after SIGTERM."""


@attrs.define(eq=False)
class Environment:
    """Everything that the faults of a round act on."""

    folder: Path
    disk: SmallDisk | None
    """None if this process may not mount one: then there are no faults of the disk."""
    farm: Farm = attrs.field(init=False)
    relay: FaultyRelay = attrs.field(init=False)
    process: trio.Process = attrs.field(init=False)
    farm_lost: trio.Event = attrs.field(factory=trio.Event)
    """Set when the current farm dies; the next farm has another event."""
    ends: Counter[TaskKey] = attrs.field(factory=Counter)
    """How often the current farm has ended each task."""
    render_lost: bool = False
    """Whether the farm took a task from its render in the last round. Then the job can be over
    while the agent, which is disconnected, still ends the task's processes."""
    agent_number: int = 0
    """The number of agents started so far."""
    agent_ready: trio.Event = attrs.field(factory=trio.Event)
    """Set when the current agent connects, which it does once its store is open."""
    tokens: TokenTable = attrs.field(factory=TokenTable)
    """A token of each agent: the connection of one that was killed may be accepted late."""
    _token: Token = attrs.field(factory=make_token)
    """That of the current agent."""
    _log_position: int = 0

    @property
    def picture(self) -> Path:
        """An image that tasks copy."""
        return self.folder / "picture.png"

    @property
    def store(self) -> Path:
        return self.disk.store if self.disk else self.folder / "store"

    def read_log(self) -> str:
        """Return what agents have logged since the last call."""
        path = self.folder / "agent.log"
        with path.open("rb") as file:
            file.seek(self._log_position)
            data = file.read()
        self._log_position += len(data)
        if self._log_position > MAX_LOG:
            os.truncate(path, 0)
            self._log_position = 0
        return data.decode(errors="replace")

    def measure(self) -> Footprint:
        return measure(self.process.pid, find_supervisors(self.store))

    async def kill_agent(self) -> None:
        """Kill the agent by SIGKILL and start the next one of that name."""
        self.process.kill()
        await self.process.wait()
        await self.start_agent()

    async def replace_agent(self) -> None:
        """End the agent by two SIGTERM, which mean "now", and start the next one."""
        for _ in range(2):
            self.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(0.2):
                await self.process.wait()
        with trio.fail_after(EXIT_TIMEOUT):
            await self.process.wait()
        await self.start_agent()

    async def kill_supervisor(self) -> None:
        """Kill the supervisor, if there is one; its task supervisors stay."""
        for pid in await trio.to_thread.run_sync(find_supervisors, self.store):
            kill_process(pid)

    async def kill_task_supervisor(self, rng: random.Random) -> None:
        """Kill one of the task supervisors, if there is one."""
        if pids := await trio.to_thread.run_sync(find_task_supervisors, self.store):
            kill_process(rng.choice(sorted(pids)))

    async def freeze(self, helper: str, rng: random.Random) -> None:
        """Stop a helper of the agent by SIGSTOP, or all of one kind; the agent has to continue it."""
        match helper:
            case "freeze_supervisor":
                pids = await trio.to_thread.run_sync(find_supervisors, self.store)
            case "freeze_task_supervisor":
                pids = await trio.to_thread.run_sync(find_task_supervisors, self.store)
                pids = pids if rng.random() < 0.3 else pids[:1]
            case "freeze_plugins":
                pids = find_plugin_processes(self.process.pid)
                pids = pids if rng.random() < 0.3 else pids[-1:]
            case _:
                pids = find_thumbnail_workers(self.process.pid)
        for pid in pids:
            freeze_process(pid)

    async def exchange_file(self, rng: random.Random) -> None:
        """Put something else in the place of a file of a run."""
        runs = self.store / "trio_afrender" / "chaos" / "runs"
        await trio.to_thread.run_sync(exchange_file, runs, rng)

    async def kill_farm(self) -> None:
        """Lose the farm with all its state; return when another one runs in its place."""
        lost = self.farm_lost
        lost.set()
        self.relay.cut_all()
        while self.farm_lost is lost:
            await trio.lowlevel.checkpoint()

    def set_clock_offset(self, seconds: float) -> None:
        """Set the offset of the agent's wall clock to the right time."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(struct.pack("<d", seconds))

    async def run_farms(self, task_status: trio.TaskStatus[None]) -> None:
        """Run a farm, and another one whenever it dies."""
        while True:
            self.farm_lost, self.ends = trio.Event(), Counter()
            async with open_farm(None, settings=SETTINGS) as self.farm:
                _count_ends(self.farm, self.ends)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await self.farm_lost.wait()

    async def serve_link(self, link: WebSocketServerLink) -> None:
        if link.grant.digest == self.tokens.find(self._token).digest:
            self.agent_ready.set()
        await self.farm.serve_link(link)

    async def start_agent(self) -> None:
        self.agent_ready, self._token = trio.Event(), make_token()
        self.tokens.add("chaos", self._token)
        (self.folder / "token").touch(mode=0o600)
        (self.folder / "token").write_text(self._token.secret)
        url = f"ws://127.0.0.1:{self.relay.port}"
        words = ("--server", url, "--token-file", "token", "--name", "chaos")
        with (self.folder / "agent.log").open("ab") as output:
            self.process = await trio.lowlevel.open_process(
                [
                    *(sys.executable, str(PROGRAM), "clock", "agent", *words),
                    *("--store", str(self.store), "--config", "config.json"),
                ],
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.agent_number += 1


def _count_ends(farm: Farm, ends: Counter[TaskKey]) -> None:
    """Count the ends of tasks where the farm reports them to its listeners."""
    report_end = farm._listeners.end

    def end(key: TaskKey) -> None:
        ends[key] += 1
        report_end(key)

    farm._listeners.end = end  # type: ignore[method-assign]  # a spy, for this farm alone


@asynccontextmanager
async def open_environment(folder: Path) -> AsyncIterator[Environment]:
    """Start everything in `folder`; leaving ends it, the agent by SIGTERM."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "picture.png").write_bytes(make_png())
    (folder / "clock").write_bytes(struct.pack("<d", 0.0))
    with open_small_disk(folder / "disk") as disk:
        environment = Environment(folder, disk)

        async def serve(task_status: trio.TaskStatus[BoundAddress]) -> None:
            await serve_websocket(
                environment.serve_link,
                tokens=environment.tokens,
                keepalive=ZOMBIE_TIME,
                task_status=task_status,
            )

        async with trio.open_nursery() as nursery:
            await nursery.start(environment.run_farms)
            bound: BoundAddress = await nursery.start(serve)
            environment.relay = FaultyRelay(bound.port)
            await nursery.start(environment.relay.run)
            await environment.start_agent()
            await environment.agent_ready.wait()  # a new store needs a disk that works
            try:
                yield environment
            finally:
                with trio.CancelScope(shield=True):
                    await _end(environment.process)
            nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(EXIT_TIMEOUT):
        await process.wait()
    process.kill()
    await process.wait()

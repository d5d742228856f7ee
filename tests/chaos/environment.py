"""A farm, a bad network, a small disk and an agent's process that live through many rounds."""

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

from chaos.disk import SmallDisk, open_small_disk
from chaos.faulty_relay import Relay
from chaos.leak_check import Footprint, measure
from chaos.supervisor_faults import end_supervisor, find_parents, find_supervisors
from trio_afrender.farm import Farm, FarmSettings, open_farm
from trio_afrender.protocol.messages import TaskKey
from trio_afrender.transport.interfaces import ServerLink
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket

__all__ = ("World", "open_world")

ZOMBIE = 2.0
SETTINGS = FarmSettings(zombie_time=ZOMBIE, errors_retries=0, pause=0.05, pause_limit=0.2)
CONFIG = {
    "cgru_config": {
        "trio_afrender": {
            "max_tasks": 8,
            "capacity": 8000,
            "log_quota": 4 << 20,
            "timing": {"grace": 0.1, "drain": 0.2, "zombie": ZOMBIE, "heartbeat": 0.2},
        }
    }
}
PROGRAM = Path(__file__).parents[1] / "programs" / "skewed_clock.py"
LOG_LIMIT = 8 << 20
PATIENCE = 30.0
"""Seconds for an agent that was told to end."""


@attrs.define(eq=False)
class World:
    """All that a round plays with."""

    folder: Path
    disk: SmallDisk | None
    """None where nobody may mount one: then its faults cannot be played."""
    farm: Farm = attrs.field(init=False)
    relay: Relay = attrs.field(init=False)
    process: trio.Process = attrs.field(init=False)
    farm_lost: trio.Event = attrs.field(factory=trio.Event)
    """Set when the present farm dies; then there is another one, and another event."""
    ends: Counter[TaskKey] = attrs.field(factory=Counter)
    """How often the present farm brought a task to its end."""
    gave_up: bool = False
    """Whether the farm took a task back from its render in the latest round: then it tells of an
    end before the agent, out of touch, has made one."""
    born: int = 0
    """How many agents there were before this one."""
    _read: int = 0

    @property
    def store(self) -> Path:
        return self.disk.store if self.disk else self.folder / "store"

    def log(self) -> str:
        """What agents have said since the last call."""
        path = self.folder / "agent.log"
        with path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        if self._read > LOG_LIMIT:
            os.truncate(path, 0)
            self._read = 0
        return data.decode(errors="replace")

    def footprint(self) -> Footprint:
        return measure(self.process.pid, find_supervisors(self.store))

    async def kill_agent(self) -> None:
        """End the agent without a word and start the next one of that name."""
        self.process.kill()
        await self.process.wait()
        await self.start_agent()

    async def replace_agent(self) -> None:
        """Have the agent end now, in good order, and start the next one."""
        for _ in range(2):
            self.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(0.2):
                await self.process.wait()
        with trio.fail_after(PATIENCE):
            await self.process.wait()
        await self.start_agent()

    async def kill_supervisor(self) -> None:
        """End the supervisor without a word, if there is one; its parents stay."""
        for pid in await trio.to_thread.run_sync(find_supervisors, self.store):
            end_supervisor(pid)

    async def kill_parent(self, dice: random.Random) -> None:
        """End one of the parents of trees without a word, if there is one."""
        if parents := await trio.to_thread.run_sync(find_parents, self.store):
            end_supervisor(dice.choice(sorted(parents)))

    async def kill_farm(self) -> None:
        """Lose the farm with all that it knew; another one stands in its place."""
        lost = self.farm_lost
        lost.set()
        self.relay.cut_all()
        while self.farm_lost is lost:
            await trio.lowlevel.checkpoint()

    def jump(self, seconds: float) -> None:
        """Put the agent's wall clock so many seconds off the right time."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(struct.pack("<d", seconds))

    async def keep_farm(self, task_status: trio.TaskStatus[None]) -> None:
        """Have a farm, and another one whenever it dies."""
        while True:
            self.farm_lost, self.ends = trio.Event(), Counter()
            async with open_farm(None, settings=SETTINGS) as self.farm:
                _count_ends(self.farm, self.ends)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await self.farm_lost.wait()

    async def serve_link(self, link: ServerLink) -> None:
        await self.farm.serve_link(link)

    async def start_agent(self) -> None:
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
        self.born += 1


def _count_ends(farm: Farm, ends: Counter[TaskKey]) -> None:
    """Count what the farm tells of ends where it tells its listeners."""
    tell = farm._listeners.end

    def end(key: TaskKey) -> None:
        ends[key] += 1
        tell(key)

    farm._listeners.end = end  # type: ignore[method-assign]  # a spy, for this farm alone


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    """Start all of it in `folder`; leaving ends it, the agent by SIGTERM."""
    token = make_token()
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(token.secret)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "clock").write_bytes(struct.pack("<d", 0.0))
    with open_small_disk(folder / "disk") as disk:
        world = World(folder, disk)

        async def serve(task_status: trio.TaskStatus[BoundAddress]) -> None:
            tokens = TokenTable.single(token, "chaos")
            await serve_websocket(
                world.serve_link, tokens=tokens, keepalive=ZOMBIE, task_status=task_status
            )

        async with trio.open_nursery() as nursery:
            await nursery.start(world.keep_farm)
            bound: BoundAddress = await nursery.start(serve)
            world.relay = Relay(bound.port)
            await nursery.start(world.relay.run)
            await world.start_agent()
            try:
                yield world
            finally:
                with trio.CancelScope(shield=True):
                    await _end(world.process)
            nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(PATIENCE):
        await process.wait()
    process.kill()
    await process.wait()

"""A farm, a bad network and an agent's process that live through many rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import psutil
import trio

from chaos.proxy import Proxy
from trio_afrender.farm import Farm, FarmSettings, open_farm
from trio_afrender.link.serve import Bound, serve_websocket
from trio_afrender.link.tokens import TokenTable, make_token

__all__ = ("Footprint", "World", "open_world")

ZOMBIE = 3.0
SETTINGS = FarmSettings(zombie_time=ZOMBIE, errors_retries=0, pause=0.05, pause_limit=0.2)
CONFIG = {
    "cgru_config": {
        "trio_afrender": {
            "max_tasks": 8,
            "capacity": 8000,
            "timing": {"grace": 0.3, "drain": 0.2, "zombie": ZOMBIE, "heartbeat": 0.2},
        }
    }
}


@attrs.frozen
class Footprint:
    """What an agent's process holds."""

    descriptors: int
    threads: int
    resident: int
    """Bytes."""


@attrs.define(eq=False)
class World:
    """All that a round plays with."""

    farm: Farm
    proxy: Proxy
    folder: Path
    process: trio.Process

    @property
    def log(self) -> str:
        """What all its agents have said."""
        return (self.folder / "agent.log").read_text()

    async def kill_agent(self) -> None:
        """End the agent without a word and start the next one of that name."""
        self.process.kill()
        await self.process.wait()
        self.process = await _start_agent(self.folder, self.proxy.port)

    def footprint(self) -> Footprint:
        agent = psutil.Process(self.process.pid)
        with agent.oneshot():
            return Footprint(agent.num_fds(), agent.num_threads(), agent.memory_info().rss)


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    """Start all three in `folder`; leaving ends them, the agent by SIGTERM."""
    token = make_token()
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(token.secret)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    async with open_farm(None, settings=SETTINGS) as farm, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[Bound]) -> None:
            tokens = TokenTable.single(token, "chaos")
            await serve_websocket(
                farm.serve_link, tokens=tokens, keepalive=ZOMBIE, task_status=task_status
            )

        bound: Bound = await nursery.start(serve)
        proxy = Proxy(bound.port)
        await nursery.start(proxy.run)
        world = World(farm, proxy, folder, await _start_agent(folder, proxy.port))
        try:
            yield world
        finally:
            with trio.CancelScope(shield=True):
                world.process.terminate()
                with trio.move_on_after(30):
                    await world.process.wait()
                world.process.kill()
                await world.process.wait()
        nursery.cancel_scope.cancel()


async def _start_agent(folder: Path, port: int) -> trio.Process:
    words = ("--server", f"ws://127.0.0.1:{port}", "--token-file", "token", "--name", "chaos")
    with (folder / "agent.log").open("ab") as output:
        return await trio.lowlevel.open_process(
            [
                *(sys.executable, "-m", "trio_afrender", "agent", *words),
                *("--store", "store", "--config", "config.json"),
            ],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

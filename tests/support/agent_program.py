"""A farm on loopback, and an agent of it that the command line starts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from support.cli import Command, open_command
from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_server import BoundAddress, serve_websocket

__all__ = ("open_agent", "open_server", "submit", "write_job", "write_token")


@asynccontextmanager
async def open_server(
    tmp_path: Path, settings: FarmSettings | None = None, store: Path | None = None
) -> AsyncIterator[tuple[Farm, str]]:
    """Open a farm, in the folder `store` or in memory; yield it and its URL.

    The token is in the file ``token``.
    """
    token = make_token()
    write_token(tmp_path / "token", token.secret)
    settings = settings if settings is not None else FarmSettings()
    async with open_farm(store, settings=settings) as farm, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[BoundAddress]) -> None:
            tokens = TokenTable.single(token, "render-*")
            await serve_websocket(farm.serve_link, tokens=tokens, task_status=task_status)

        bound: BoundAddress = await nursery.start(serve)
        yield farm, bound.url
        nursery.cancel_scope.cancel()


def write_token(path: Path, secret: str, mode: int = 0o600) -> None:
    path.touch(mode=mode)
    path.write_text(secret)


@asynccontextmanager
async def open_agent(
    tmp_path: Path,
    url: str,
    *words: str,
    name: str = "render-1",
    leaves: bool = False,
    wrapper: Sequence[str] = (),
) -> AsyncIterator[Command]:
    words = ("--server", url, "--token-file", "token", "--name", name, "--store", "store", *words)
    async with open_command(*words, home=tmp_path, leaves=leaves, wrapper=wrapper) as command:
        yield command


def submit(farm: Farm, *commands: str) -> int:
    tasks = [{"name": f"t{i}", "command": command} for i, command in enumerate(commands)]
    return farm.submit(parse_job({"job": {"name": "j", "blocks": [{"name": "b", "tasks": tasks}]}}))


def write_job(folder: Path, *tasks: str, **keys: object) -> Path:
    """Write a job of one block with a task for each command."""
    listed = [{"name": f"t{i}", "command": command} for i, command in enumerate(tasks)]
    block = {"name": "b", "service": "generic", "tasks": listed, **keys}
    path = folder / "job.json"
    path.write_text(json.dumps({"job": {"name": "j", "blocks": [block]}}))
    return path

"""Helpers for tests of plugins: specs, workers, and the folder of plugins that misbehave."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trio_afrender.config import PluginSettings
from trio_afrender.plugins.interfaces import ParserState, PluginSpec
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.tasklog.memory_log import MemoryLogStore

PLUGINS = Path(__file__).parents[1] / "data" / "plugins"
GUARD = 30.0
"""Seconds after which a hanging test is ended; no test measures by it."""


def make_spec(parser: str = "", service: str = "generic", **info: object) -> PluginSpec:
    """The plugins of a task. `info` overrides values of its taskInfo."""
    task_info: dict[str, object] = {
        "wdir": tempfile.gettempdir(),
        "service": service,
        "parser": parser,
        "command_block": "render -f @#@",
        "command_task": "",
        "capacity": 1000,
        "capacity_coeff": 0,
        "files_block": [],
        "files_task": [],
        "hosts": [],
        "parsed_files": [],
        "environment": {"A": "b"},
        "tickets": {},
        "frame_start": 1,
        "frame_finish": 10,
        "frame_inc": 1,
        "frames_num": 10,
        "task_id": 0,
        "block_id": 0,
        "job_id": 1,
        "block_flags": 1,
        "task_name": "1",
        "block_name": "block",
        "job_name": "job",
        "user_name": "user",
        "store_dir": "",
    }
    task_info.update(info)
    return PluginSpec(service=service, parser=parser, task_info=task_info)


def make_worker(
    spec: PluginSpec, data: bytes = b"", folder: Path = PLUGINS
) -> tuple[TaskWorker, MemoryLogStore]:
    """A worker with a log in memory."""
    store = MemoryLogStore()
    store.append(data)
    return TaskWorker(spec, store.reader(), PluginSettings(), (folder,)), store


def parse_all(spec: PluginSpec, data: bytes, mode: str = "0:0") -> ParserState:
    """A parser's state after a whole log."""
    worker, _ = make_worker(spec, data)
    return worker.parse(len(data), mode=mode)

"""The test harness for users: servers, hosts and processes in memory, and checks of plugins.

`docs/testing.md` and `docs/plugins.md` have complete examples.
"""

from __future__ import annotations

from trio_afrender.devtools import (
    Event,
    Replay,
    Report,
    ServiceView,
    check_meter,
    check_plugins,
    make_service,
    read_tasks,
    replay_parser,
)
from trio_afrender.tasklog.memory_log import MemoryLog
from trio_afrender.testing.fake_afserver.records import NativeRender, NativeState, NativeTask
from trio_afrender.testing.fake_afserver.server import Fault, NativeServer, open_native_server
from trio_afrender.testing.fake_process import FakeChild, FakeSpawn
from trio_afrender.testing.memory_host import MemoryHost, MemoryRunFolder, virtual_wall
from trio_afrender.testing.memory_server import (
    MemoryServer,
    ScriptedLink,
    ScriptedServer,
    open_memory_server,
    open_scripted_server,
)

__all__ = (
    "Event",
    "FakeChild",
    "FakeSpawn",
    "Fault",
    "MemoryHost",
    "MemoryLog",
    "MemoryRunFolder",
    "MemoryServer",
    "NativeRender",
    "NativeServer",
    "NativeState",
    "NativeTask",
    "Replay",
    "Report",
    "ScriptedLink",
    "ScriptedServer",
    "ServiceView",
    "check_meter",
    "check_plugins",
    "make_service",
    "open_memory_server",
    "open_native_server",
    "open_scripted_server",
    "read_tasks",
    "replay_parser",
    "virtual_wall",
)

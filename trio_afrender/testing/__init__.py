"""The harness that users' tests import: servers, hosts and children that exist in memory alone.

`docs/testing.md` has a complete example.
"""

from __future__ import annotations

from trio_afrender.output.memory import MemoryLog
from trio_afrender.testing.children import FakeChild, FakeSpawn
from trio_afrender.testing.hosts import MemoryHost, MemoryPlace, virtual_wall
from trio_afrender.testing.servers import (
    MemoryServer,
    ScriptedLink,
    ScriptedServer,
    open_memory_server,
    open_scripted_server,
)

__all__ = (
    "FakeChild",
    "FakeSpawn",
    "MemoryHost",
    "MemoryLog",
    "MemoryPlace",
    "MemoryServer",
    "ScriptedLink",
    "ScriptedServer",
    "open_memory_server",
    "open_scripted_server",
    "virtual_wall",
)

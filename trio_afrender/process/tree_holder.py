"""What holds process trees on this platform, and what there is of an earlier agent's: chosen here, once.

On Unix that is the supervisor, which outlives the agent; on Windows job objects, which do not.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from trio_afrender.process.interfaces import TreeHolder

if sys.platform == "win32":
    from trio_afrender.process.windows.job_trees import open_job_trees
    from trio_afrender.process.windows.no_takeover import (
        find_task_supervisors,
        has_record,
        kill_leftovers,
        stop_trees,
        wait_gone,
    )
    from trio_afrender.process.windows.owner_commands import (
        ask_command,
        probe_host,
        spawn_detached,
    )
else:
    from trio_afrender.process.host_commands import ask_command, spawn_detached
    from trio_afrender.process.host_probe import probe_host
    from trio_afrender.process.leftover_processes import kill_leftovers, wait_gone
    from trio_afrender.process.supervisor_client import (
        find_task_supervisors,
        has_record,
        open_supervisor,
        stop_trees,
    )

__all__ = (
    "ask_command",
    "find_task_supervisors",
    "has_record",
    "kill_leftovers",
    "open_tree_holder",
    "probe_host",
    "spawn_detached",
    "stop_trees",
    "wait_gone",
)


@asynccontextmanager
async def open_tree_holder(store: Path, titles: Sequence[str]) -> AsyncIterator[TreeHolder]:
    """Open what starts and holds the trees of the agent with that state directory.

    On Windows it closes windows with one of the `titles`, too.

    Raises `SupervisorError`.
    """
    if sys.platform == "win32":
        async with open_job_trees(titles) as trees:
            yield trees
    else:
        async with open_supervisor(store) as supervisor:
            yield supervisor

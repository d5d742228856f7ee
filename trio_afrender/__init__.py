"""A render agent for Afanasy farms, built on trio.

Public names are imported when they are first used: plugin hosts import this package too, and must
not load trio, because their memory is limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_afrender.version import __version__

if TYPE_CHECKING:
    from trio_afrender.agent.agent import AgentHandle, RunView, run_agent
    from trio_afrender.agent.load_config import load_config
    from trio_afrender.agent.run_events import (
        AgentEvent,
        AgentEvents,
        RunLogLine,
        RunOutcome,
        RunProgress,
        RunStarted,
    )
    from trio_afrender.config import (
        Checks,
        Config,
        GpuSlots,
        Limits,
        MemoryGuard,
        SentAmounts,
        Stuck,
        Timing,
        Token,
    )
    from trio_afrender.errors import (
        AfRenderError,
        ConfigError,
        EditRefused,
        InvalidSetting,
        JobError,
        JobGone,
        LinkLost,
        LinkRefused,
        OutputError,
        PluginError,
        PluginNotFound,
        ProtocolError,
        SpawnError,
        StoreError,
        StoreInUse,
    )
    from trio_afrender.farm import (
        BlockSpec,
        Farm,
        FarmSettings,
        HostNeeds,
        JobSpec,
        JobView,
        RenderView,
        TaskSpec,
        TaskView,
        load_job,
        make_report,
        open_farm,
        parse_job,
    )
    from trio_afrender.protocol.messages import (
        Reason,
        TaskExec,
        TaskKey,
        TaskStatus,
        TaskUpdate,
        TaskUsage,
    )
    from trio_afrender.transport.tokens import TokenTable, make_token
    from trio_afrender.transport.websocket_server import serve_websocket


__all__ = (
    "AfRenderError",
    "AgentEvent",
    "AgentEvents",
    "AgentHandle",
    "BlockSpec",
    "Checks",
    "Config",
    "ConfigError",
    "EditRefused",
    "Farm",
    "FarmSettings",
    "GpuSlots",
    "HostNeeds",
    "InvalidSetting",
    "JobError",
    "JobGone",
    "JobSpec",
    "JobView",
    "Limits",
    "LinkLost",
    "LinkRefused",
    "MemoryGuard",
    "OutputError",
    "PluginError",
    "PluginNotFound",
    "ProtocolError",
    "Reason",
    "RenderView",
    "RunLogLine",
    "RunOutcome",
    "RunProgress",
    "RunStarted",
    "RunView",
    "SentAmounts",
    "SpawnError",
    "StoreError",
    "StoreInUse",
    "Stuck",
    "TaskExec",
    "TaskKey",
    "TaskSpec",
    "TaskStatus",
    "TaskUpdate",
    "TaskUsage",
    "TaskView",
    "Timing",
    "Token",
    "TokenTable",
    "__version__",
    "load_config",
    "load_job",
    "make_report",
    "make_token",
    "open_farm",
    "parse_job",
    "run_agent",
    "serve_websocket",
)

_NAMES = {
    "agent.agent": ("AgentHandle", "RunView", "run_agent"),
    "agent.load_config": ("load_config",),
    "agent.run_events": (
        *("AgentEvent", "AgentEvents"),
        *("RunLogLine", "RunOutcome", "RunProgress", "RunStarted"),
    ),
    "config": (
        *("Checks", "Config", "GpuSlots", "Limits", "MemoryGuard"),
        *("SentAmounts", "Stuck", "Timing", "Token"),
    ),
    "farm.farm": ("Farm", "FarmSettings", "open_farm"),
    "jobs.job_file": ("load_job", "parse_job"),
    "jobs.job_spec": ("BlockSpec", "HostNeeds", "JobSpec", "TaskSpec"),
    "jobs.report": ("make_report",),
    "jobs.views": ("JobView", "RenderView", "TaskView"),
    "protocol.messages": (
        *("Reason", "TaskExec", "TaskKey", "TaskStatus", "TaskUpdate", "TaskUsage"),
    ),
    "transport.tokens": ("TokenTable", "make_token"),
    "transport.websocket_server": ("serve_websocket",),
}
"""The names that are not in `errors`, by module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    value: object = getattr(module, name)
    globals()[name] = value  # The next use does not come here.
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

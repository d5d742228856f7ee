"""A render agent for Afanasy farms, built on trio.

Public names are imported when they are first used: plugin hosts import this package too, and must
not load trio, because their memory is limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_afrender.version import __version__

if TYPE_CHECKING:
    from trio_afrender.agent.agent import AgentHandle, run_agent
    from trio_afrender.config import Config, Timing, Token
    from trio_afrender.errors import (
        AfRenderError,
        ConfigError,
        JobError,
        LinkLost,
        LinkRefused,
        PluginError,
        PluginNotFound,
        ProtocolError,
        SpawnError,
        StoreError,
        StoreInUse,
    )


__all__ = (
    "AfRenderError",
    "AgentHandle",
    "Config",
    "ConfigError",
    "JobError",
    "LinkLost",
    "LinkRefused",
    "PluginError",
    "PluginNotFound",
    "ProtocolError",
    "SpawnError",
    "StoreError",
    "StoreInUse",
    "Timing",
    "Token",
    "__version__",
    "run_agent",
)

_MODULES = {
    "AgentHandle": "trio_afrender.agent.agent",
    "run_agent": "trio_afrender.agent.agent",
    "Config": "trio_afrender.config",
    "Timing": "trio_afrender.config",
    "Token": "trio_afrender.config",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES.get(name, "trio_afrender.errors")), name)

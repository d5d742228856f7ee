"""The settings of an agent and their sources: config files, environment, command line."""

from __future__ import annotations

from trio_afrender.config.settings import (
    Config,
    GpuSlots,
    Limits,
    MemoryGuard,
    PluginSettings,
    Stuck,
    Timing,
    Token,
)

__all__ = (
    "Config",
    "GpuSlots",
    "Limits",
    "MemoryGuard",
    "PluginSettings",
    "Stuck",
    "Timing",
    "Token",
)

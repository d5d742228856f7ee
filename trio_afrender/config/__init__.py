"""The settings of an agent and their sources: config files, environment, command line."""

from __future__ import annotations

from trio_afrender.config.settings import (
    Checks,
    Config,
    GpuSlots,
    Limits,
    MemoryGuard,
    PluginSettings,
    SentAmounts,
    Stuck,
    TaskProcesses,
    Timing,
    Token,
)

__all__ = (
    "Checks",
    "Config",
    "GpuSlots",
    "Limits",
    "MemoryGuard",
    "PluginSettings",
    "SentAmounts",
    "Stuck",
    "TaskProcesses",
    "Timing",
    "Token",
)

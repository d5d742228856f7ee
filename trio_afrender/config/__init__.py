"""The settings of an agent, and where they come from."""

from __future__ import annotations

from trio_afrender.config.limits import Limits, MemoryGuard, Stuck
from trio_afrender.config.settings import Config, GpuSlots, PluginSettings, Timing, Token

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

"""The settings of an agent, and where they come from."""

from __future__ import annotations

from trio_afrender.config.settings import Config, Limits, PluginSettings, Timing, Token

__all__ = ("Config", "Limits", "PluginSettings", "Timing", "Token")

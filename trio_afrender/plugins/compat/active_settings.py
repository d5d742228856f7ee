"""The settings that ``cgruconfig.VARS`` shows: those of the agent whose plugins run here.

A plugin host serves one agent. Where several agents share a process the last one that made a
service counts; the base classes do not depend on this, they hold their agent's settings.
"""

from __future__ import annotations

from collections.abc import Callable

from trio_afrender.config.settings import PluginSettings

__all__ = ("follow", "settings", "use")

_settings = PluginSettings()
_followers: list[Callable[[PluginSettings], None]] = []


def settings() -> PluginSettings:
    """The settings in use."""
    return _settings


def use(new: PluginSettings) -> None:
    """Make these the settings in use; tells followers if they differ."""
    global _settings
    if new is _settings or new == _settings:
        return
    _settings = new
    for follower in _followers:
        follower(new)


def follow(follower: Callable[[PluginSettings], None]) -> None:
    """Call `follower` now, and with each change from now on."""
    _followers.append(follower)
    follower(_settings)

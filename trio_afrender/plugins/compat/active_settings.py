"""The settings that ``cgruconfig.VARS`` shows: those of the agent whose plugins run here.

A plugin host serves one agent. Where several agents share a process, the settings of the last
service or meter that was created apply. The base classes do not depend on this: each object has the
settings of its agent.
"""

from __future__ import annotations

from collections.abc import Callable

from trio_afrender.config.settings import PluginSettings

__all__ = ("follow", "settings", "use")

_settings = PluginSettings()
_followers: list[Callable[[PluginSettings], None]] = []


def settings() -> PluginSettings:
    """The active settings."""
    return _settings


def use(new: PluginSettings) -> None:
    """Activate these settings. Followers are called if they differ from the active ones."""
    global _settings
    if new is _settings or new == _settings:
        return
    _settings = new
    for follower in _followers:
        follower(new)


def follow(follower: Callable[[PluginSettings], None]) -> None:
    """Call `follower` with the active settings, now and after each change."""
    _followers.append(follower)
    follower(_settings)

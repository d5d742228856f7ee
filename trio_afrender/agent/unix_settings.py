"""Settings that this system cannot honour: refused by name before anything starts."""

from __future__ import annotations

import os

from trio_afrender.config import Config, Limits
from trio_afrender.errors import ConfigError
from trio_afrender.windows_files import find_reserved_name

__all__ = ("refuse_unix_settings",)

WINDOWS = not hasattr(os, "fork")
MAX_STORE = 120
"""Characters of an agent's folder on Windows, where a process starts in a folder of at most 258. Those of the
runs add at most 109, and the tasks need some for their files."""


def refuse_unix_settings(config: Config, *, windows: bool = WINDOWS) -> None:
    """Raise `ConfigError` on Windows for a setting that is Unix's own."""
    if not windows:
        return
    if reason := find_reserved_name(config.name):
        raise ConfigError(f'the name "{config.name}" {reason}; use another --name')
    folder = config.store / "trio_afrender" / config.name
    if len(str(folder)) > MAX_STORE:
        raise ConfigError(
            f"the store {folder} has {len(str(folder))} characters; on Windows it may have {MAX_STORE},"
            " because the folders of tasks are in it; use another --store"
        )
    if config.drain == "leave":
        raise ConfigError(
            'trio_afrender.drain: "leave" is not possible on Windows, where tasks end with the agent;'
            ' use "finish" or "stop"'
        )
    if config.tasks.user or config.tasks.users or config.tasks.umask:
        raise ConfigError(
            "trio_afrender.tasks: tasks run as the agent's own user on Windows, which has no umask;"
            " leave user, users and umask out"
        )
    found: dict[str, object] = {"limits.files": config.limits.files}
    for service, table in config.service_limits.items():
        found[f"limits.services.{service}.files"] = table.get("files", 0)
    for key, files in found.items():
        if files and files != Limits().files:
            raise ConfigError(
                f"trio_afrender.{key}: Windows has no limit of open files; leave the setting out"
            )

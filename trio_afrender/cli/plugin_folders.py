"""Checks the plugin folders of a command before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trio_afrender.errors import ConfigError

__all__ = ("check_folders",)


def check_folders(folders: Sequence[Path]) -> None:
    """Raise `ConfigError` for a plugin folder that does not exist."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"plugin folder {folder} does not exist")

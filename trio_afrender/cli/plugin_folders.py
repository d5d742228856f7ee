"""Checks the plugin folders of a command before anything starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from trio_afrender.errors import ConfigError

__all__ = ("check_folders", "explain_folder")


def check_folders(folders: Sequence[Path]) -> None:
    """Raise `ConfigError` for a plugin folder that cannot be used."""
    for folder in folders:
        if problem := explain_folder(folder):
            raise ConfigError(f"plugin folder {folder} {problem}")


def explain_folder(folder: Path) -> str:
    """Return what is wrong with a plugin folder, as the end of a sentence; '' if it can be used."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be used: {error.strerror or error}"
    if not stat.S_ISDIR(mode):
        return "is not a folder"
    return "" if os.access(folder, os.X_OK) else "cannot be entered by this user"

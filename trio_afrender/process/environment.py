"""What the processes in which plugins live are given of the agent's environment."""

from __future__ import annotations

import fnmatch
import os
import site
from collections.abc import Mapping
from pathlib import Path

import trio_afrender

__all__ = ("clean_environment",)

WITHHELD_PATTERNS = ("*TOKEN*", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*")
"""Names of variables that are not for children."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment without secrets and without what speaks to its service manager.

    PYTHONPATH stays: plugins of studios import from there.
    """
    cleaned = {
        name: value
        for name, value in environment.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHHELD_PATTERNS)
    }
    root = Path(trio_afrender.__file__).resolve().parents[1]
    places = (*site.getsitepackages(), site.getusersitepackages())
    installed = {Path(place).resolve() for place in places}
    if root not in installed:
        # A source tree, or an application that brings us along: the child must find us too.
        known = cleaned.get("PYTHONPATH")
        cleaned["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else str(root)
    return cleaned

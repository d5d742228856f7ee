"""The environment of plugin processes: the agent's own, without secrets."""

from __future__ import annotations

import fnmatch
import os
import site
from collections.abc import Mapping
from pathlib import Path

__all__ = ("clean_environment",)

WITHHELD_PATTERNS = ("*TOKEN*", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*")
"""Names of variables that no child may inherit."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without secrets and without the variables of the service manager.

    A process that has ``NOTIFY_SOCKET`` or ``WATCHDOG_*`` could report to the manager in the agent's
    place. PYTHONPATH stays, because plugins of studios import from there.
    """
    cleaned = {
        name: value
        for name, value in environment.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHHELD_PATTERNS)
    }
    root = Path(__file__).resolve().parents[2]
    folders = (*site.getsitepackages(), site.getusersitepackages())
    installed = {Path(folder).resolve() for folder in folders}
    if root not in installed:
        # A source tree, or an application that contains this package: the child's interpreter would
        # not find the package there.
        known = cleaned.get("PYTHONPATH")
        cleaned["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else str(root)
    return cleaned

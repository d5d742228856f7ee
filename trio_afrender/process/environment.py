"""What child processes inherit of the agent's environment."""

from __future__ import annotations

import fnmatch
import os
import site
from collections.abc import Mapping
from pathlib import Path

__all__ = ("clean_environment", "find_inheritable")

# The agent's own tokens, and the variables through which a child could report to the service manager
# in the agent's place or use the sockets passed to the agent. Tokens of a studio (LICENCE_TOKEN) reach
# tasks and plugins: renderers and plugins of studios need them, as with Afanasy's afrender. Hiding
# them from plugins alone protects nothing, because a service chooses the command that its task runs.
# The setting `redact` masks their values in what leaves the host.
WITHHELD_PATTERNS = (
    "AFRENDER_TOKEN*",
    "TRIO_AFRENDER_TOKEN*",
    "TRIO_AFRENDER__TOKEN*",
    "AF_SERVER_TOKEN*",
    "NOTIFY_SOCKET",
    "WATCHDOG_*",
    "LISTEN_*",
)


def find_inheritable(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tasks, plugin hosts and other child processes may inherit."""
    return {
        name: value
        for name, value in environment.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in WITHHELD_PATTERNS)
    }


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a Python process that runs a module of this package.

    PYTHONPATH stays, because plugins of studios import from there.
    """
    cleaned = find_inheritable(environment)
    root = Path(__file__).resolve().parents[2]
    folders = (*site.getsitepackages(), site.getusersitepackages())
    installed = {Path(folder).resolve() for folder in folders}
    if root not in installed:
        # A source tree, or an application that contains this package: the child's interpreter would
        # not find the package there.
        known = cleaned.get("PYTHONPATH")
        cleaned["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else str(root)
    return cleaned

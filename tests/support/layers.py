"""The order in which the packages may import each other."""

from __future__ import annotations

from pathlib import Path

__all__ = ("BASE", "LAYERS", "OWN_PACKAGES", "PACKAGE", "ROOT")

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trio_afrender"
OWN_PACKAGES = ("trio_afrender", "parsers", "services", "resmeters")

BASE = (
    "version",
    "errors",
    "text",
    "backoff",
    "path_map",
    "frame_ranges",
    "message_framing",
    "windows_files",
    "cmd_words",
    "safe_files",
    "extras",
    "user_files",
    "user_switch",
    "private_folder",
    "thumbnail",
)
LAYERS = (
    BASE,
    ("async_helpers",),
    ("protocol",),
    ("config",),
    ("jobs",),
    ("tasklog",),
    ("supervisor",),
    ("process",),
    ("hostinfo",),
    ("plugins",),
    ("task",),
    ("transport",),
    ("metrics",),
    ("afserver",),
    ("agent",),
    ("farm",),
    ("gateway",),
    ("web",),
    ("devtools",),
    ("testing",),
    ("cli", "__main__"),
)
"""Each layer may import from the layers above it and from itself, never from below."""

"""A pytest plugin for the run under Wine: which tests are Unix's own, and why. Each is shown as skipped.

Names are patterns: of a file's path below ``tests``, with ``::`` and a test's name behind it for single ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

__all__ = ("FILES", "TESTS")

ROOT = Path(__file__).resolve().parents[1]

SUPERVISOR = (
    "the supervisor and what it starts exist on Unix alone; the trees of Windows are test_windows_*"
)
PROC = "it reads /proc, /sys or a device, which Linux alone has"
SIGNALS = "signals of Unix, which Windows does not have"
FIFO = "FIFOs, sockets in the file system or links, which Windows does not have or does not let a user make"
MODES = "modes and owners of files; on Windows an access list has their place (test_windows_files)"
RESOURCE = "the module `resource`, which Unix alone has"
SHELL = "commands for a shell of Unix; those of Windows are test_windows_trees and test_windows_run"
SOURCE = "it reads the source alone and gives the same result on Linux"

FILES: dict[str, str] = {}
"""Files that are not even imported, with the reason."""
TESTS: dict[str, str] = {}
"""Tests that are skipped, with the reason."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the files of `FILES`."""
    return True if _find(collection_path, FILES) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of `TESTS`."""
    for item in items:
        name = f"{_relative(item.path)}::{item.name}"
        for pattern, reason in TESTS.items():
            if fnmatchcase(name, pattern):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which files were left out."""
    terminalreporter.section("files that are Unix's own")
    for name, reason in _left_out():
        terminalreporter.line(f"{name}: {reason}")


def _left_out() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("test_*.py")):
        if reason := _find(path, FILES):
            yield _relative(path), reason


def _find(path: Path, patterns: dict[str, str]) -> str:
    name = _relative(path)
    return next((why for pattern, why in patterns.items() if fnmatchcase(name, pattern)), "")


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()

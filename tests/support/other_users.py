"""Users beside the one of the tests, for tests that only root can run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_afrender.process.task_user import TaskUser, find_user
from trio_afrender.supervisor.run_folders import remove_folders
from trio_afrender.user_switch import find_missing_capabilities

__all__ = ("NEEDS_ROOT", "USERS", "get_user", "open_place")

USERS = ("nobody", "daemon")
"""Users that every host has."""


def _explain_missing() -> str:
    """Why tests with other users cannot run here; '' if they can."""
    if os.geteuid() != 0:
        return "only root can start processes of other users"
    missing = find_missing_capabilities()
    if missing:
        return f"root has not the capabilities {', '.join(missing)} here"
    lacking = [name for name in USERS if find_user(name) is None]
    return f"this host has no user {lacking[0]}" if lacking else ""


NEEDS_ROOT = pytest.mark.skipif(bool(_explain_missing()), reason=_explain_missing())


def get_user(name: str = USERS[0]) -> TaskUser:
    """Return one of `USERS`."""
    user = find_user(name)
    assert user is not None
    return user


@contextmanager
def open_place() -> Iterator[Path]:
    """Make a folder that all users can pass through, as pytest's own cannot; removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="trio_afrender-users-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        remove_folders([str(place)])

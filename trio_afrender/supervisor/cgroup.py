"""A cgroup (version 2) for each tree, where we may make one: killed, frozen and measured as a whole.

We may where a service manager delegated its cgroup to us (``Delegate=yes``) or where we are root. The
tree of processes stays the proof; this makes ends faster and surer, and tells the peak of memory.
Facts: the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

__all__ = ("Cgroup", "find_base", "make_cgroup", "move_self_to_subcgroup", "remove_stale")

_SUBGROUP = "supervisor"
"""Where agent and supervisor live, so that the delegated cgroup holds no process itself: only then may it
hand controllers to its children."""
_TASKS_GROUP = "afrender-tasks"


def move_self_to_subcgroup() -> bool:
    """Move this process into a sub-cgroup of the one that was delegated to it; False where none was.

    For a program of ours, before it starts anything: what it starts is born there.
    """
    try:
        mount, own = _find_mount(), _find_own()
        if mount is None or own is None:
            return False
        home = mount / own.lstrip("/")
        # systemd's word for it (since 251), also to root, who could write to any.
        if os.getxattr(home, "user.delegate") != b"1":
            return False
        (home / _SUBGROUP).mkdir(exist_ok=True)
        (home / _SUBGROUP / "cgroup.procs").write_text("0")
    except OSError:
        return False
    return True


def find_base() -> Path | None:
    """Make the cgroup below which those of trees are made; None where we may not."""
    try:
        mount, own = _find_mount(), _find_own()
    except OSError:
        return None
    if mount is None or own is None:
        return None
    home = mount / own.lstrip("/")
    if home.name == _SUBGROUP and os.access(home.parent, os.W_OK):
        home = home.parent
    base = home / _TASKS_GROUP
    try:
        base.mkdir(exist_ok=True)
        _enable_memory(home)
        _enable_memory(base)
    except OSError:
        return None
    return base if os.access(base / "cgroup.procs", os.W_OK) else None


def _find_mount() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


def _find_own() -> str | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def _enable_memory(folder: Path) -> None:
    # Refused where processes live in `folder` itself, or the controller is not ours: then the
    # peak of memory is not told, and all else works.
    with contextlib.suppress(OSError):
        (folder / "cgroup.subtree_control").write_text("+memory")


def make_cgroup(base: str, name: str) -> Cgroup | None:
    """Make the cgroup of one tree; None where that is refused."""
    if not base:
        return None
    folder = f"{base}/{name}"
    try:
        os.mkdir(folder)  # noqa: PTH102 - here and below: once a task, and a Path is dearer than that
    except OSError:
        return None
    return Cgroup(folder)


def remove_stale(base: str) -> None:
    """Remove what parents left below `base` that were killed. What anybody is in stays: the kernel
    refuses to remove it."""
    if not base:
        return
    for folder in Path(base).glob("[0-9]*-*"):
        if not Path(f"/proc/{folder.name.partition('-')[0]}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


class Cgroup:
    """The cgroup of one tree. Whoever made it calls `remove`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def take(self, pids: Collection[int]) -> None:
        """Put processes in; their children to come are born there. A refusal changes nothing."""
        for pid in pids:
            with contextlib.suppress(OSError):
                self._write("cgroup.procs", f"{pid}")

    def kill(self) -> bool:
        """Kill everything in it at once; False where the kernel (before 5.14) can't."""
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", "1")
            return True
        return False

    def freeze(self, *, on: bool) -> bool:
        """Stop or go on with everything in it; False where that is refused."""
        with contextlib.suppress(OSError):
            self._write("cgroup.freeze", "1" if on else "0")
            return True
        return False

    def peak(self) -> int:
        """Bytes of memory at the highest moment, 0 where the kernel does not tell."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._read("memory.peak"))
        return 0

    def oom_kills(self) -> int:
        """How many members the kernel killed for lack of memory."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._read("memory.events").splitlines():
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
        return 0

    def remove(self) -> bool:
        """Take it away, when it is empty; False while it is not."""
        try:
            os.rmdir(self.folder)  # noqa: PTH106
        except FileNotFoundError:
            return True
        except OSError:
            # A member may have made cgroups of its own below.
            for below in sorted(Path(self.folder).glob("**/"), reverse=True):
                with contextlib.suppress(OSError):
                    below.rmdir()
            return not Path(self.folder).exists()
        return True

    def _write(self, name: str, text: str) -> None:
        handle = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)

    def _read(self, name: str) -> bytes:
        handle = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(handle, 4096)  # larger than what the kernel tells there
        finally:
            os.close(handle)

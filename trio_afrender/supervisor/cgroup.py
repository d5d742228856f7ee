"""A cgroup (version 2) for each process tree, where the host permits it: kill, freeze, measure.

It is permitted where a service manager delegated a cgroup to this program (``Delegate=yes``), or to
root. The proof that a tree is empty never depends on it: a cgroup makes the end faster, and it
counts the peak of the tree's memory. Facts: the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

__all__ = (
    "Cgroup",
    "find_base",
    "find_own",
    "make_cgroup",
    "move_self_to_subcgroup",
    "parse_groups",
    "parse_mounts",
    "read_names",
    "remove_stale",
)

_SUBGROUP = "supervisor"
"""The cgroup of agent and supervisor, below the delegated one."""
_TASKS_GROUP = "afrender-tasks"


def move_self_to_subcgroup() -> bool:
    """Move this process into a sub-cgroup of the one that was delegated to it; False without one.

    Call it in a program of this package before it starts anything: children are born in the cgroup
    of their parent.
    """
    try:
        delegated = find_own()
        if delegated is None:
            return False
        # systemd (since 251) marks what it delegates. Root could write to any cgroup, so write
        # access proves nothing.
        if os.getxattr(delegated, "user.delegate") != b"1":
            return False
        # Only a cgroup without member processes may enable controllers for its children ("no
        # internal processes"), so the delegated one must become empty.
        (delegated / _SUBGROUP).mkdir(exist_ok=True)
        (delegated / _SUBGROUP / "cgroup.procs").write_text("0")  # 0 is the writing process
    except OSError:
        return False
    return True


def find_base() -> Path | None:
    """Make the cgroup that will hold those of the trees; None where that is not permitted."""
    try:
        parent = find_own()
    except OSError:
        return None
    if parent is None:
        return None
    if parent.name == _SUBGROUP and os.access(parent.parent, os.W_OK):
        parent = parent.parent  # see `move_self_to_subcgroup`
    base = parent / _TASKS_GROUP
    try:
        base.mkdir(exist_ok=True)
        # A controller reaches a cgroup only if every cgroup above it enables that controller.
        for controller in ("memory", "pids"):
            _enable(parent, controller)
            _enable(base, controller)
    except OSError:
        return None
    return base if os.access(base / "cgroup.procs", os.W_OK) else None


def find_own(proc: Path = Path("/proc/self")) -> Path | None:
    """Return the cgroup of this process, None without version 2. Raises `OSError`."""
    mounts = parse_mounts(read_names(proc / "mountinfo"))
    groups = parse_groups(read_names(proc / "cgroup"))
    if "" not in mounts or "" not in groups:
        return None
    # A container may mount a part of the tree alone; the path begins at the root of the whole.
    shown, point = mounts[""]
    return Path(point) / groups[""].removeprefix(shown.rstrip("/")).lstrip("/")


def read_names(path: Path) -> str:
    """Return a file of ``/proc`` that has names in it. Raises `OSError`."""
    # The name of a mount point or of a cgroup may have any bytes, and users choose some of them
    # (a disk's label, a folder for FUSE): one that is not UTF-8 is no reason to know none of the others.
    return path.read_bytes().decode("utf-8", "surrogateescape")


def parse_groups(text: str) -> dict[str, str]:
    """Parse ``/proc/self/cgroup``: the path in each controller's tree; '' is the unified one."""
    found = {}
    for line in text.split("\n"):  # `splitlines` has other ends, too, which a name may contain
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if not path:
            continue  # the end of the text
        for name in names.split(","):
            found[name] = path
    return found


def parse_mounts(text: str) -> dict[str, tuple[str, str]]:
    """Parse ``/proc/self/mountinfo``: by controller, the mounted part of its tree, and where."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.split("\n"):  # as above
        before, _, after = line.partition(" - ")
        words, kinds = before.split(), after.split()
        if len(words) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            found.setdefault("", (words[3], words[4]))
        elif kinds[0] == "cgroup":
            for name in kinds[2].split(","):
                found.setdefault(name, (words[3], words[4]))
    return found


def _enable(folder: Path, controller: str) -> None:
    # Refused where `folder` itself has member processes, or where the controller is not delegated:
    # then the peak of memory is unknown, or processes are not counted, and everything else works.
    with contextlib.suppress(OSError):
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def make_cgroup(base: str, name: str) -> Cgroup | None:
    """Make the cgroup of one tree; None where the kernel refuses, or with an empty `base`."""
    if not base:
        return None
    folder = f"{base}/{name}"
    try:
        os.mkdir(folder)  # noqa: PTH102 - here and below: once a task, and a Path is slower
    except OSError:
        return None
    return Cgroup(folder)


def remove_stale(base: str) -> None:
    """Remove the cgroups below `base` that killed task supervisors left behind.

    Their names begin with the pid of their task supervisor, see `process_pool`.
    """
    if not base:
        return
    for folder in Path(base).glob("[0-9]*-*"):
        # A cgroup that still has members survives this: the kernel refuses to remove it.
        if not Path(f"/proc/{folder.name.partition('-')[0]}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


class Cgroup:
    """The cgroup of one tree. The caller of `make_cgroup` calls `remove`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add(self, pids: Collection[int]) -> None:
        """Move processes into it; children that they fork later are born in it.

        A process that the kernel refuses to move stays where it is.
        """
        for pid in pids:
            with contextlib.suppress(OSError):
                self._write("cgroup.procs", f"{pid}")

    def outside(self, pids: Iterable[int]) -> list[int]:
        """Return those of the processes that are neither in it nor in a cgroup below it."""
        # The last two names identify it: the path in /proc begins elsewhere than the one of the
        # mounted file system.
        own = "/" + "/".join(self.folder.rsplit("/", 2)[1:]) + "/"
        found = []
        for pid in pids:
            with contextlib.suppress(OSError):  # it has ended
                groups = parse_groups(read_names(Path(f"/proc/{pid}/cgroup")))
                if own not in f"{groups.get('', '')}/":
                    found.append(pid)
        return found

    def kill(self) -> bool:
        """Kill all members at once; False where the kernel cannot (before Linux 5.14)."""
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", "1")
            return True
        return False

    def freeze(self) -> bool:
        """Freeze all members; False where the kernel refuses.

        The kernel freezes asynchronously: members may run for some moments after the call.
        """
        with contextlib.suppress(OSError):
            self._write("cgroup.freeze", "1")
            return True
        return False

    def thaw(self) -> None:
        """Thaw what `freeze` has frozen. Raises `OSError`, with nothing done."""
        self._write("cgroup.freeze", "0")

    def limit_processes(self, most: int) -> bool:
        """Let it have so many processes and threads at once; False where the kernel does not count."""
        with contextlib.suppress(OSError):
            self._write("pids.max", f"{most}")
            return True
        return False

    def peak(self) -> int:
        """Largest memory of all members together, in bytes; 0 where it is unknown.

        `memory.peak` exists since Linux 5.19, and only with the memory controller enabled.
        """
        with contextlib.suppress(OSError, ValueError):
            return int(self._read("memory.peak"))
        return 0

    def oom_kills(self) -> int:
        """Count the members that the kernel killed for lack of memory; 0 where it is unknown."""
        return self._read_event("memory.events", b"oom_kill ")

    def refused_forks(self) -> int:
        """Count the forks that the kernel refused for `limit_processes`; 0 where it is unknown."""
        return self._read_event("pids.events", b"max ")

    def _read_event(self, name: str, start: bytes) -> int:
        with contextlib.suppress(OSError, ValueError):
            for line in self._read(name).splitlines():
                if line.startswith(start):
                    return int(line.split()[1])
        return 0

    def remove(self) -> bool:
        """Remove the cgroup if it has no members; False while it has some."""
        try:
            os.rmdir(self.folder)  # noqa: PTH106
        except FileNotFoundError:
            return True
        except OSError:
            # A member may have made cgroups of its own below. Deepest first: only a cgroup without
            # children can be removed (test_cgroups_made_by_a_member_are_removed_too).
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
            return os.read(handle, 4096)  # more than any of these files has
        finally:
            os.close(handle)

"""Looks at the machine for `machine`'s rules. Blocking; what cannot be seen keeps its default."""

from __future__ import annotations

import getpass
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trio_afrender.cli.doctor.machine import Cards, Debuggers, Groups, Kernel, Limits, Pipes
from trio_afrender.config import Config
from trio_afrender.hostinfo.cgroup_limits import parse_groups, parse_mounts
from trio_afrender.hostinfo.gpu import Cards as CardReader
from trio_afrender.process.local_spawn import become_subreaper
from trio_afrender.process.procfs import PIDFD

__all__ = (
    "look_at_cards",
    "look_at_debuggers",
    "look_at_groups",
    "look_at_kernel",
    "look_at_limits",
    "look_at_pipes",
)

PROC = Path("/proc")
TRIAL = "trio_afrender-doctor"
DEVICES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dri/renderD*")


def look_at_kernel() -> Kernel:
    return Kernel(
        python=sys.version_info[:3],
        release=platform.release(),
        pidfd=PIDFD,
        subreaper=become_subreaper(),
        proc=os.geteuid() == 0 or not PROC.exists() or (PROC / "1" / "stat").exists(),
    )


def look_at_groups(proc: Path = PROC, root: Path = Path("/")) -> Groups:
    """Look at our control group, and try to make one below it, which is removed at once."""
    try:
        paths = parse_groups((proc / "self" / "cgroup").read_text())
        mounts = parse_mounts((proc / "self" / "mountinfo").read_text())
    except OSError:
        return Groups(version=0)
    systemd = (root / "run" / "systemd" / "system").is_dir()
    if "" not in mounts or "" not in paths:
        return Groups(version=1 if mounts else 0, by_systemd=systemd)
    shown, point = mounts[""]
    path = paths[""]
    folder = root / point.lstrip("/") / path.removeprefix(shown.rstrip("/")).strip("/")
    trial = folder / f"{TRIAL}-{os.getpid()}"
    kill = freeze = False
    try:
        trial.mkdir()
    except OSError:
        may = False
    else:
        may, kill = True, (trial / "cgroup.kill").exists()
        freeze = (trial / "cgroup.freeze").exists()
        with suppress(OSError):
            trial.rmdir()
    controllers = ""
    with suppress(OSError):
        controllers = (folder / "cgroup.controllers").read_text()
    last = path.rpartition("/")[2]
    return Groups(
        version=2,
        path=path,
        may_create=may,
        kill=kill,
        freeze=freeze,
        memory="memory" in controllers.split(),
        hybrid="memory" in mounts,
        by_systemd=systemd,
        user=os.getuid(),
        unit=last if last.endswith(".service") and not last.startswith("user@") else "",
    )


def look_at_limits(config: Config) -> Limits:
    return Limits(
        files=_limit(resource.RLIMIT_NOFILE),
        processes=_limit(resource.RLIMIT_NPROC),
        locked=_limit(resource.RLIMIT_MEMLOCK),
        root=os.geteuid() == 0,
        max_tasks=config.max_tasks,
        group_processes=_group_processes(),
    )


def _limit(which: int) -> tuple[int | None, int | None]:
    soft, hard = resource.getrlimit(which)
    return tuple(None if each == resource.RLIM_INFINITY else each for each in (soft, hard))  # type: ignore[return-value]  # two of them


def _group_processes() -> int | None:
    """The tightest ``pids.max`` around us in the unified tree."""
    found = None
    with suppress(OSError):
        shown, point = parse_mounts((PROC / "self" / "mountinfo").read_text())[""]
        path = parse_groups((PROC / "self" / "cgroup").read_text())[""]
        folder = Path(point) / path.removeprefix(shown.rstrip("/")).strip("/")
        for level in (folder, *folder.parents):
            text = _read(level / "pids.max")
            if text.isdigit() and (found is None or int(text) < found):
                found = int(text)
    return found


def look_at_pipes(config: Config) -> Pipes:
    pages, size = (
        _read(PROC / "sys" / "fs" / name) for name in ("pipe-user-pages-soft", "pipe-max-size")
    )
    return Pipes(
        user_pages=int(pages) if pages.isdigit() else None,
        max_size=int(size) if size.isdigit() else None,
        page=resource.getpagesize(),
        root=os.geteuid() == 0,
        max_tasks=config.max_tasks,
    )


def look_at_debuggers(find: Callable[[str], str | None] = shutil.which) -> Debuggers:
    scope = _read(PROC / "sys" / "kernel" / "yama" / "ptrace_scope")
    return Debuggers(
        found=tuple(name for name in ("py-spy", "gdb") if find(name) is not None),
        ptrace_scope=int(scope) if scope.isdigit() else 0,
        root=os.geteuid() == 0,
    )


def look_at_cards(config: Config, folder: Path = Path("/dev")) -> Cards:
    devices = [path for pattern in DEVICES for path in sorted(folder.glob(pattern))]
    names: tuple[str, ...] = ()
    problem = ""
    try:
        names = tuple(card.name for card in CardReader(config.gpu_command, config.shell).read())
    except OSError as error:
        problem = str(error)
    return Cards(
        names=names,
        devices=tuple(map(str, devices)),
        forbidden=tuple(str(path) for path in devices if not os.access(path, os.R_OK | os.W_OK)),
        problem=problem,
        user=_login(),
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name in the database, as in bare containers
        return str(os.getuid())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

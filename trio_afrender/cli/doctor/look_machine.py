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

from trio_afrender.cli.doctor.machine import (
    CgroupFacts,
    DebuggerFacts,
    GpuFacts,
    KernelFacts,
    LimitFacts,
    PipeFacts,
)
from trio_afrender.config import Config
from trio_afrender.hostinfo.cgroup_limits import parse_groups, parse_mounts
from trio_afrender.hostinfo.gpu import GpuSampler
from trio_afrender.process.local_spawn import become_subreaper
from trio_afrender.process.procfs import PIDFD

__all__ = (
    "probe_cgroup",
    "probe_debuggers",
    "probe_gpus",
    "probe_kernel",
    "probe_limits",
    "probe_pipes",
)

PROC = Path("/proc")
TRIAL = "trio_afrender-doctor"
DEVICES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dri/renderD*")


def probe_kernel() -> KernelFacts:
    return KernelFacts(
        python=sys.version_info[:3],
        release=platform.release(),
        pidfd=PIDFD,
        subreaper=become_subreaper(),
        proc=os.geteuid() == 0 or not PROC.exists() or (PROC / "1" / "stat").exists(),
    )


def probe_cgroup(proc: Path = PROC, root: Path = Path("/")) -> CgroupFacts:
    """Look at our control group, and try to make one below it, which is removed at once."""
    try:
        paths = parse_groups((proc / "self" / "cgroup").read_text())
        mounts = parse_mounts((proc / "self" / "mountinfo").read_text())
    except OSError:
        return CgroupFacts(version=0)
    systemd = (root / "run" / "systemd" / "system").is_dir()
    if "" not in mounts or "" not in paths:
        return CgroupFacts(version=1 if mounts else 0, by_systemd=systemd)
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
    return CgroupFacts(
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


def probe_limits(config: Config) -> LimitFacts:
    return LimitFacts(
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


def probe_pipes(config: Config) -> PipeFacts:
    pages, size = (
        _read(PROC / "sys" / "fs" / name) for name in ("pipe-user-pages-soft", "pipe-max-size")
    )
    return PipeFacts(
        user_pages=int(pages) if pages.isdigit() else None,
        max_size=int(size) if size.isdigit() else None,
        page=resource.getpagesize(),
        root=os.geteuid() == 0,
        max_tasks=config.max_tasks,
    )


def probe_debuggers(find: Callable[[str], str | None] = shutil.which) -> DebuggerFacts:
    scope = _read(PROC / "sys" / "kernel" / "yama" / "ptrace_scope")
    return DebuggerFacts(
        found=tuple(name for name in ("py-spy", "gdb") if find(name) is not None),
        ptrace_scope=int(scope) if scope.isdigit() else 0,
        root=os.geteuid() == 0,
    )


def probe_gpus(config: Config, folder: Path = Path("/dev")) -> GpuFacts:
    devices = [path for pattern in DEVICES for path in sorted(folder.glob(pattern))]
    names: tuple[str, ...] = ()
    problem = ""
    try:
        names = tuple(card.name for card in GpuSampler(config.gpu_command, config.shell).read())
    except OSError as error:
        problem = str(error)
    return GpuFacts(
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

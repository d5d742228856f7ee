"""Checks of the machine: Python, kernel, control groups, limits, pipes, debuggers, GPUs.

A fact that a ``probe_*`` function cannot read keeps its default, which is good.
"""

from __future__ import annotations

import getpass
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding, drop_in
from trio_afrender.config import Config
from trio_afrender.hostinfo.gpu import GpuSampler
from trio_afrender.process.procfs import PIDFD
from trio_afrender.supervisor.cgroup import parse_groups, parse_mounts
from trio_afrender.supervisor.prctl import adopt_orphans

__all__ = (
    "CgroupFacts",
    "DebuggerFacts",
    "GpuFacts",
    "KernelFacts",
    "LimitFacts",
    "PipeFacts",
    "check_cgroup",
    "check_debuggers",
    "check_gpus",
    "check_kernel",
    "check_limits",
    "check_pipes",
    "probe_cgroup",
    "probe_debuggers",
    "probe_gpus",
    "probe_kernel",
    "probe_limits",
    "probe_pipes",
)

PROC = Path("/proc")
PYTHON = (3, 11)
FILES_NEEDED, FILES_WANTED = 1024, 4096
"""Open files below which a finding is an error, a warning."""
PROCESSES_WANTED = 4096
MEMLOCK_WANTED = 1024**2
"""Bytes."""
PIPE_SIZE_WANTED = 1024**2
"""Bytes of the pipe for the output of each task."""
TRIAL = "trio_afrender-doctor"
"""The beginning of the name of a control group that is created for a test."""
DEVICES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dri/renderD*")
"""Patterns of GPU device files in /dev."""
UNIT = "trio_afrender.service"
KERNEL_COMMAND = "apt-get install linux-image-amd64 && reboot"
UNIFY_COMMAND = (
    """echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX systemd.unified_cgroup_hierarchy=1"'"""
    " >> /etc/default/grub && update-grub && reboot"
)


@attrs.frozen(slots=True, kw_only=True)
class KernelFacts:
    """What the kernel and Python of this host support."""

    python: tuple[int, int, int] = (3, 11, 0)
    release: str = ""
    pidfd: bool = True
    subreaper: bool = True
    proc: bool = True
    """Whether ``/proc`` also shows processes of other users."""


def probe_kernel() -> KernelFacts:
    return KernelFacts(
        python=sys.version_info[:3],
        release=platform.release(),
        pidfd=PIDFD,
        subreaper=adopt_orphans(),
        proc=os.geteuid() == 0 or not PROC.exists() or (PROC / "1" / "stat").exists(),
    )


def check_kernel(facts: KernelFacts) -> Iterator[Finding]:
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < PYTHON:
        yield Finding("python", ERROR, f"Python {version} is too old: 3.11 is needed",
                      "apt-get install python3.11")  # fmt: skip
    else:
        yield Finding("python", OK, f"Python {version}")
    if lacking := _lacking(("pidfd", facts.pidfd), ("subreaper", facts.subreaper)):
        text = (
            f"the kernel {facts.release} lacks {lacking} (Linux 5.3): the agent cannot prove that"
            " all processes of a task have ended"
        )
        yield Finding("kernel", WARNING, text, KERNEL_COMMAND)
    else:
        yield Finding("kernel", OK, f"kernel {facts.release} with pidfd and subreaper")
    if not facts.proc:
        text = (
            "/proc hides processes of other users (hidepid): orphaned processes of an embedded"
            " agent's tasks are not found"
        )
        yield Finding("proc", WARNING, text, "mount -o remount,hidepid=0 /proc")


@attrs.frozen(slots=True, kw_only=True)
class CgroupFacts:
    """The control group of this process."""

    version: int = 2
    """0: none is mounted."""
    path: str = "/"
    may_create: bool = True
    kill: bool = True
    freeze: bool = True
    memory: bool = True
    """Whether the group has the memory controller, so that its children can use it."""
    hybrid: bool = False
    """Whether the memory controller is in the hierarchy of version 1."""
    by_systemd: bool = True
    unit: str = UNIT
    user: int = 0


def probe_cgroup(proc: Path = PROC, root: Path = Path("/")) -> CgroupFacts:
    """Examine our control group; create a child group for a test and remove it at once."""
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
        # The root group has neither file, so they are looked for in the child group.
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


def check_cgroup(facts: CgroupFacts) -> Iterator[Finding]:
    signals = "the processes of a task are ended by signals alone"
    if facts.version == 0:
        text, fix = "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"
        yield Finding("cgroup", WARNING, f"{text}: {signals}", fix)
    elif facts.version == 1:
        text = f"control groups are of version 1: {signals}"
        yield Finding("cgroup", WARNING, text, UNIFY_COMMAND)
    elif not facts.may_create:
        text = f"this user may not create control groups below {facts.path}: {signals}"
        yield Finding("cgroup", WARNING, text, _delegate(facts))
    elif lacking := _lacking(("cgroup.kill", facts.kill), ("the freezer", facts.freeze)):
        text = f"control groups lack {lacking}: a newer kernel (5.14) has it"
        yield Finding("cgroup", WARNING, text, KERNEL_COMMAND)
    elif facts.hybrid:
        text = (
            "control groups are mixed: the memory controller is in version 1, where tasks have no"
            " groups of their own"
        )
        yield Finding("cgroup", WARNING, text, UNIFY_COMMAND)
    elif not facts.memory:
        text = (
            f"the memory controller is not enabled for {facts.path}: memory peaks are only sampled"
        )
        parent = facts.path.rpartition("/")[0]
        fix = f"echo +memory > /sys/fs/cgroup{parent}/cgroup.subtree_control"
        yield Finding("cgroup", WARNING, text, _delegate(facts) if facts.by_systemd else fix)
    else:
        text = f"control groups below {facts.path}, with cgroup.kill, freezer and memory"
        yield Finding("cgroup", OK, text)


def _lacking(*things: tuple[str, bool]) -> str:
    """Return the names of things that are missing, joined."""
    return " and ".join(name for name, there in things if not there)


def _delegate(facts: CgroupFacts) -> str:
    """Return the command that lets this user create control groups."""
    if not facts.by_systemd:
        return f"chown -R {facts.user} /sys/fs/cgroup{facts.path}  # as root"
    if facts.unit:
        return drop_in(facts.unit, "Delegate", "yes", user="user@" in facts.path)
    return "systemd-run --user --scope -p Delegate=yes trio_afrender agent"


@attrs.frozen(slots=True, kw_only=True)
class LimitFacts:
    """Resource limits of this process, as pairs (soft, hard); None: no limit."""

    files: tuple[int | None, int | None] = (65536, 65536)
    processes: tuple[int | None, int | None] = (None, None)
    locked: tuple[int | None, int | None] = (None, None)
    root: bool = False
    max_tasks: int = 4
    group_processes: int | None = None
    """``pids.max`` of the control group."""


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
    """Return the smallest ``pids.max`` of our group and those above it, in the unified tree."""
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


def check_limits(facts: LimitFacts) -> Iterator[Finding]:
    files, hard = facts.files
    if files is not None and files < FILES_NEEDED:
        text = f"only {files} open files are allowed: an agent needs {FILES_NEEDED}"
        yield Finding("nofile", ERROR, text, _raise("n", FILES_WANTED, hard))
    elif files is not None and files < FILES_WANTED and facts.max_tasks > files // 16:
        text = (
            f"only {files} open files are allowed: they can be too few for {facts.max_tasks}"
            " tasks at once"
        )
        yield Finding("nofile", WARNING, text, _raise("n", FILES_WANTED, hard))
    else:
        yield Finding("nofile", OK, f"{_figure(files)} open files are allowed")
    processes = None if facts.root else facts.processes[0]  # the kernel ignores it for root
    counts = [each for each in (processes, facts.group_processes) if each is not None]
    least = min(counts, default=None)
    if least is not None and least < PROCESSES_WANTED:
        text = (
            f"only {least} processes are allowed: each thread counts, and renderers start hundreds"
        )
        fix = _raise("u", PROCESSES_WANTED, facts.processes[1])
        if least == facts.group_processes:
            fix = f"systemctl set-property {UNIT} TasksMax=infinity"
        yield Finding("nproc", WARNING, text, fix)
    else:
        yield Finding("nproc", OK, f"{_figure(least)} processes are allowed")
    locked = facts.locked[0]
    if locked is not None and locked < MEMLOCK_WANTED and not facts.root:
        text = f"only {locked} bytes of memory may be locked: renderers on GPUs can need more"
        yield Finding(
            "memlock", WARNING, text, "ulimit -l unlimited  # in a unit: LimitMEMLOCK=infinity"
        )
    else:
        yield Finding("memlock", OK, f"{_figure(locked)} bytes of memory may be locked")


def _figure(count: int | None) -> str:
    return "any number of" if count is None else str(count)


def _raise(letter: str, wanted: int, hard: int | None) -> str:
    """Return the command that raises a limit; above the hard limit only root can."""
    name = {"n": "nofile", "u": "nproc"}[letter]
    if hard is None or hard >= wanted:
        return f"ulimit -{letter} {wanted}  # in a unit: Limit{name.upper()}={wanted}"
    return (
        f'echo "* - {name} {wanted}" >> /etc/security/limits.d/trio_afrender.conf'
        "  # as root; then log in again"
    )


@attrs.frozen(slots=True, kw_only=True)
class PipeFacts:
    """The kernel's limits on the size of pipes."""

    user_pages: int | None = 16384
    """Pages in all pipes of a user, above which a new pipe has one page; 0: no limit."""
    max_size: int | None = 1024**2
    """Bytes of one pipe."""
    page: int = 4096
    """Bytes of a page."""
    root: bool = False
    max_tasks: int = 4


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


def check_pipes(facts: PipeFacts) -> Iterator[Finding]:
    good = f"the output of each task has a pipe of {PIPE_SIZE_WANTED} bytes"
    # Neither limit holds for root.
    if facts.root or facts.user_pages is None or facts.max_size is None:
        yield Finding("pipes", OK, good)
        return
    wanted = facts.max_tasks * PIPE_SIZE_WANTED // facts.page
    if facts.user_pages and facts.user_pages < wanted:
        text = (
            f"all pipes of a user may have {facts.user_pages} pages, and {facts.max_tasks} tasks need"
            f" {wanted}: with smaller pipes, tasks with much output wait for the agent more often"
        )
        yield Finding("pipes", WARNING, text, f"sysctl -w fs.pipe-user-pages-soft={wanted * 2}")
    elif facts.max_size < PIPE_SIZE_WANTED:
        text = (
            f"a pipe may have {facts.max_size} bytes instead of {PIPE_SIZE_WANTED}: tasks with much"
            " output wait for the agent more often"
        )
        yield Finding("pipes", WARNING, text, f"sysctl -w fs.pipe-max-size={PIPE_SIZE_WANTED}")
    else:
        yield Finding("pipes", OK, good)


@attrs.frozen(slots=True, kw_only=True)
class DebuggerFacts:
    """The debuggers that can read the stacks of a stuck task."""

    found: tuple[str, ...] = ()
    ptrace_scope: int = 0
    root: bool = False


def probe_debuggers(find: Callable[[str], str | None] = shutil.which) -> DebuggerFacts:
    scope = _read(PROC / "sys" / "kernel" / "yama" / "ptrace_scope")
    return DebuggerFacts(
        found=tuple(name for name in ("py-spy", "gdb") if find(name) is not None),
        ptrace_scope=int(scope) if scope.isdigit() else 0,
        root=os.geteuid() == 0,
    )


def check_debuggers(facts: DebuggerFacts) -> Iterator[Finding]:
    consequence = "reports on stuck tasks have no stacks"
    if not facts.found:
        text = f"neither py-spy nor gdb is installed: {consequence}"
        yield Finding("stacks", WARNING, text, "apt-get install gdb")
    elif facts.ptrace_scope == 3 or (facts.ptrace_scope and not facts.root):
        text = (
            f"{' and '.join(facts.found)} may not trace tasks (kernel.yama.ptrace_scope is"
            f" {facts.ptrace_scope}): {consequence}"
        )
        fix = "sysctl -w kernel.yama.ptrace_scope=0"
        if facts.ptrace_scope == 3:
            fix = "reboot  # 3 holds until then; remove ptrace_scope from /etc/sysctl.d first"
        yield Finding("stacks", WARNING, text, fix)
    else:
        yield Finding(
            "stacks", OK, f"{' and '.join(facts.found)} can read the stacks of a stuck task"
        )


@attrs.frozen(slots=True, kw_only=True)
class GpuFacts:
    """GPUs, and whether this user may use them."""

    names: tuple[str, ...] = ()
    """The GPUs that the driver reports."""
    devices: tuple[str, ...] = ()
    """Existing device files."""
    forbidden: tuple[str, ...] = ()
    """Those of them that this user may not open."""
    problem: str = ""
    """The driver's error."""
    user: str = "root"


def probe_gpus(config: Config, folder: Path = Path("/dev")) -> GpuFacts:
    devices = [path for pattern in DEVICES for path in sorted(folder.glob(pattern))]
    names: tuple[str, ...] = ()
    problem = ""
    try:
        names = tuple(gpu.name for gpu in GpuSampler(config.gpu_command, config.shell).read())
    except OSError as error:
        problem = str(error)
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # the user is not in the database, as in bare containers
        user = str(os.getuid())
    return GpuFacts(
        names=names,
        devices=tuple(map(str, devices)),
        forbidden=tuple(str(path) for path in devices if not os.access(path, os.R_OK | os.W_OK)),
        problem=problem,
        user=user,
    )


def check_gpus(facts: GpuFacts) -> Iterator[Finding]:
    nvidia = [name for name in facts.devices if "nvidia" in name]
    if facts.forbidden:
        text = f"this user may not open {', '.join(facts.forbidden)}"
        fix = f"usermod -aG video,render {facts.user}  # as root; then log in again"
        yield Finding("gpu", ERROR, text, fix)
    elif facts.names:
        count = f"{len(facts.names)} GPU{'s' * (len(facts.names) > 1)}"
        yield Finding("gpu", OK, f"{count}: {', '.join(facts.names)}")
    elif nvidia:
        why = facts.problem or "the driver reports no GPU"
        yield Finding("gpu", ERROR, f"{nvidia[0]} exists, but {why}", "nvidia-smi")
    elif facts.devices:
        text = f"{', '.join(facts.devices)}: usable, but only NVIDIA GPUs are measured"
        yield Finding("gpu", OK, text)
    else:
        yield Finding("gpu", OK, "no GPU on this host")


def _read(path: Path) -> str:
    """Return the text of a small file; '' if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""

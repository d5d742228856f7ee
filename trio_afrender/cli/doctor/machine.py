"""Checks of the machine: Python, kernel, control groups, limits, pipes, debuggers, GPUs.

A fact that cannot be read counts as good.
"""

from __future__ import annotations

import getpass
import grp
import os
import platform
import resource
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TypeAlias

from trio_afrender.cli.doctor.finding import (
    ERROR,
    HAND,
    LOOK,
    OK,
    ROOT,
    RUN,
    WARNING,
    Finding,
    drop_in,
    persistent_sysctl,
)
from trio_afrender.config import Config
from trio_afrender.hostinfo.gpu import GpuSampler
from trio_afrender.process.procfs import PIDFD
from trio_afrender.supervisor.cgroup import find_own, parse_groups, parse_mounts, read_names
from trio_afrender.supervisor.prctl import can_adopt_orphans

__all__ = (
    "check_cgroup",
    "check_debuggers",
    "check_gpus",
    "check_kernel",
    "check_limits",
    "check_pipes",
    "compare_limits",
)

Limit: TypeAlias = tuple[int | None, int | None]
"""Soft and hard limit; None: no limit."""
PROC = Path("/proc")
FILES_NEEDED, FILES_WANTED = 1024, 4096
"""Open files below which a finding is an error, a warning."""
PROCESSES_WANTED = 4096
MEMLOCK_WANTED = 1024**2
"""Bytes."""
PIPE_SIZE_WANTED = 1024**2
"""Bytes of the pipe for the output of each task."""
SYS = "/sys/fs/cgroup"
TRIAL = "trio_afrender-doctor"
"""The beginning of the name of a control group that is created for a test."""
DEVICES = ("nvidia[0-9]*", "nvidiactl", "kfd", "dri/renderD*")
"""Patterns of GPU device files in /dev."""
KERNEL_COMMAND = "uname -r; cat /etc/os-release  # a newer kernel counts after the next boot"
UNIFY_COMMAND = (
    """echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX systemd.unified_cgroup_hierarchy=1"'"""
    " >> /etc/default/grub && update-grub  # it counts after the next boot"
)
INSTALLERS = (("apt-get", "apt-get install"), ("dnf", "dnf install"), ("zypper", "zypper install"))


def check_kernel(*, pidfd: bool = PIDFD) -> Iterator[Finding]:
    yield Finding("python", OK, f"Python {platform.python_version()}")
    release = platform.release()
    if lacking := _join_missing(("pidfd", pidfd), ("subreaper", can_adopt_orphans())):
        text = (
            f"the kernel {release} lacks {lacking} (Linux 5.3): the agent cannot prove that"
            " all processes of a task have ended"
        )
        yield Finding("kernel", WARNING, text, KERNEL_COMMAND)
    else:
        yield Finding("kernel", OK, f"kernel {release} with pidfd and subreaper")
    if os.geteuid() != 0 and PROC.exists() and not (PROC / "1" / "stat").exists():
        text = (
            "/proc hides processes of other users (hidepid): orphaned processes of an embedded"
            " agent's tasks are not found"
        )
        yield Finding("proc", WARNING, text, "mount -o remount,hidepid=0 /proc", ROOT)


def _join_missing(*things: tuple[str, bool]) -> str:
    return " and ".join(name for name, there in things if not there)


def check_cgroup(proc: Path = PROC, root: Path = Path("/")) -> Iterator[Finding]:
    """Examine our control group; create a child group for a test and remove it at once."""

    def warn(text: str, fix: str, how: str = ROOT) -> Finding:
        return Finding("cgroup", WARNING, text, fix, how)

    paths: dict[str, str] = {}
    mounts: dict[str, tuple[str, str]] = {}
    with suppress(OSError):
        paths = parse_groups(read_names(proc / "self" / "cgroup"))
        mounts = parse_mounts(read_names(proc / "self" / "mountinfo"))
    signals = "the processes of a task are ended by signals alone"
    if not mounts:
        fix = "mount -t cgroup2 none /sys/fs/cgroup"
        yield warn(f"no control groups are mounted: {signals}", fix)
        return
    if "" not in mounts or "" not in paths:
        yield warn(f"control groups are of version 1: {signals}", UNIFY_COMMAND)
        return
    shown, point = mounts[""]
    path = paths[""]
    folder = root / point.lstrip("/") / path.removeprefix(shown.rstrip("/")).strip("/")
    by_systemd = (root / "run" / "systemd" / "system").is_dir()
    files = _list_new_group(folder)
    controllers = ""
    with suppress(OSError):
        controllers = (folder / "cgroup.controllers").read_text()
    if files is None:
        text = f"this user may not create control groups below {path}: {signals}"
        if by_systemd:
            yield warn(text, *_delegate(path))
        else:
            yield warn(text, f"chown -R {os.getuid()} {SYS}{path}")
    elif lacking := _join_missing(
        ("cgroup.kill", "cgroup.kill" in files), ("the freezer", "cgroup.freeze" in files)
    ):
        text = f"control groups lack {lacking}: a newer kernel (5.14) has it"
        yield warn(text, KERNEL_COMMAND, LOOK)
    elif "memory" in mounts:
        text = (
            "control groups are mixed: the memory controller is in version 1, where tasks have no"
            " groups of their own"
        )
        yield warn(text, UNIFY_COMMAND)
    elif "memory" not in controllers.split():
        text = f"the memory controller is not enabled for {path}: memory peaks are only sampled"
        fix = f"echo +memory > {SYS}{path.rpartition('/')[0]}/cgroup.subtree_control"
        yield warn(text, *(_delegate(path) if by_systemd else (fix, ROOT)))
    else:
        text = f"control groups below {path}, with cgroup.kill, freezer and memory"
        yield Finding("cgroup", OK, text)


def _list_new_group(folder: Path) -> Collection[str] | None:
    """Return the files of a new group below `folder`, which is removed; None if none can be made.

    The root group has neither ``cgroup.kill`` nor ``cgroup.freeze``, so they are looked for here.
    """
    trial = folder / f"{TRIAL}-{os.getpid()}"
    try:
        trial.mkdir()
    except OSError:
        return None
    files = [file.name for file in trial.iterdir()]
    with suppress(OSError):
        trial.rmdir()
    return files


def _delegate(path: str) -> tuple[str, str]:
    """Return the command by which systemd lets this user create groups below that of a unit."""
    unit = path.rpartition("/")[2]
    if unit.endswith(".service") and not unit.startswith("user@"):
        user = "user@" in path
        return drop_in(unit, "Delegate", "yes", user=user), RUN if user else ROOT
    return "systemd-run --user --scope -p Delegate=yes trio_afrender agent", HAND


def check_limits(config: Config) -> Iterator[Finding]:
    # The smallest ``pids.max`` of our group and those above it, in the unified tree.
    group_processes, group = None, Path()
    with suppress(OSError):
        folder = find_own()
        for level in (folder, *folder.parents) if folder is not None else ():
            limit = _read_number(level / "pids.max")
            if limit is not None and (group_processes is None or limit < group_processes):
                group_processes, group = limit, level
    return compare_limits(
        _read_limit(resource.RLIMIT_NOFILE),
        _read_limit(resource.RLIMIT_NPROC),
        _read_limit(resource.RLIMIT_MEMLOCK),
        root=os.geteuid() == 0,
        max_tasks=config.max_tasks,
        group_processes=group_processes,
        group=group,
    )


def _read_limit(which: int) -> Limit:
    soft, hard = resource.getrlimit(which)
    unlimited = resource.RLIM_INFINITY
    return (None if soft == unlimited else soft), (None if hard == unlimited else hard)


def compare_limits(
    files: Limit,
    processes: Limit,
    locked: Limit,
    *,
    root: bool,
    max_tasks: int,
    group_processes: int | None,
    group: Path = Path(),
) -> Iterator[Finding]:
    """`group_processes` is ``pids.max`` of the control group whose folder is `group`."""
    soft, hard = files
    if soft is not None and soft < FILES_NEEDED:
        text = f"only {soft} open files are allowed: an agent needs {FILES_NEEDED}"
        yield Finding("nofile", ERROR, text, *_raise_limit("n", FILES_WANTED, hard))
    elif soft is not None and soft < FILES_WANTED and max_tasks > soft // 16:
        text = (
            f"only {soft} open files are allowed: they can be too few for {max_tasks} tasks at once"
        )
        yield Finding("nofile", WARNING, text, *_raise_limit("n", FILES_WANTED, hard))
    else:
        yield Finding("nofile", OK, f"{_figure(soft)} open files are allowed")
    own = None if root else processes[0]  # the kernel ignores it for root
    least = min((each for each in (own, group_processes) if each is not None), default=None)
    if least is not None and least < PROCESSES_WANTED:
        text = (
            f"only {least} processes are allowed: each thread counts, and renderers start hundreds"
        )
        fix, how = _raise_limit("u", PROCESSES_WANTED, processes[1])
        if least == group_processes:
            how = ROOT
            fix = f"echo max > {quote(str(group / 'pids.max'))}"
            if group.name.endswith((".service", ".scope", ".slice")):
                fix = f"systemctl set-property {quote(group.name)} TasksMax=infinity"
        yield Finding("nproc", WARNING, text, fix, how)
    else:
        yield Finding("nproc", OK, f"{_figure(least)} processes are allowed")
    if locked[0] is not None and locked[0] < MEMLOCK_WANTED and not root:
        text = f"only {locked[0]} bytes of memory may be locked: renderers on GPUs can need more"
        fix = "ulimit -l unlimited  # in a unit: LimitMEMLOCK=infinity"
        yield Finding("memlock", WARNING, text, fix, HAND)
    else:
        yield Finding("memlock", OK, f"{_figure(locked[0])} bytes of memory may be locked")


def _figure(count: int | None) -> str:
    return "any number of" if count is None else str(count)


def _raise_limit(letter: str, wanted: int, hard: int | None) -> tuple[str, str]:
    """Return the command that raises a limit; above the hard limit only root can."""
    name = {"n": "nofile", "u": "nproc"}[letter]
    if hard is None or hard >= wanted:
        return f"ulimit -{letter} {wanted}  # in a unit: Limit{name.upper()}={wanted}", HAND
    return (
        (
            f'echo "* - {name} {wanted}" >> /etc/security/limits.d/trio_afrender.conf'
            f"  # it counts after the next login; in a unit: Limit{name.upper()}={wanted}"
        ),
        ROOT,
    )


def check_pipes(config: Config, proc: Path = PROC) -> Iterator[Finding]:
    pages, size = (
        _read_number(proc / "sys" / "fs" / name)
        for name in ("pipe-user-pages-soft", "pipe-max-size")
    )
    wanted = config.max_tasks * PIPE_SIZE_WANTED // resource.getpagesize()
    wait = "tasks with much output wait for the agent more often"
    # Neither limit holds for root. 0 pages means no limit.
    if os.geteuid() == 0 or pages is None or size is None:
        pages, size = 0, PIPE_SIZE_WANTED
    if pages and pages < wanted:
        text = (
            f"all pipes of a user may have {pages} pages, and {config.max_tasks} tasks need"
            f" {wanted}: with smaller pipes, {wait}"
        )
        fix = persistent_sysctl("fs.pipe-user-pages-soft", wanted * 2)
        yield Finding("pipes", WARNING, text, fix, ROOT)
    elif size < PIPE_SIZE_WANTED:
        text = f"a pipe may have {size} bytes instead of {PIPE_SIZE_WANTED}: {wait}"
        fix = persistent_sysctl("fs.pipe-max-size", PIPE_SIZE_WANTED)
        yield Finding("pipes", WARNING, text, fix, ROOT)
    else:
        text = f"the output of each task has a pipe of {PIPE_SIZE_WANTED} bytes"
        yield Finding("pipes", OK, text)


def check_debuggers(
    find: Callable[[str], str | None] = shutil.which, proc: Path = PROC
) -> Iterator[Finding]:
    found = " and ".join(name for name in ("py-spy", "gdb") if find(name) is not None)
    scope = _read_number(proc / "sys" / "kernel" / "yama" / "ptrace_scope")
    consequence = "reports on stuck tasks have no stacks"
    if not found:
        text = f"neither py-spy nor gdb is installed: {consequence}"
        programs = (command for program, command in INSTALLERS if find(program) is not None)
        install = next(programs, "")
        fix, how = (f"{install} gdb", ROOT) if install else ("command -v gdb py-spy", LOOK)
        yield Finding("stacks", WARNING, text, fix, how)
    elif scope == 3 or (scope and os.geteuid() != 0):
        text = f"{found} may not trace tasks (kernel.yama.ptrace_scope is {scope}): {consequence}"
        fix, how = persistent_sysctl("kernel.yama.ptrace_scope", 0), ROOT
        if scope == 3:  # no command lowers it before the next boot
            fix, how = "grep -rs ptrace_scope /etc/sysctl.conf /etc/sysctl.d", LOOK
            text += "; 3 holds until the next boot: set it to 0 where it is set"
        yield Finding("stacks", WARNING, text, fix, how)
    else:
        yield Finding("stacks", OK, f"{found} can read the stacks of a stuck task")


def check_gpus(config: Config, folder: Path = Path("/dev")) -> Iterator[Finding]:
    """`folder` has the device files."""
    devices = [path for pattern in DEVICES for path in sorted(folder.glob(pattern))]
    nvidia = [path for path in devices if "nvidia" in path.name]
    forbidden = [str(path) for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    names: list[str] = []
    problem = ""
    try:
        names = [gpu.name for gpu in GpuSampler(config.gpu_command, config.shell).read()]
    except OSError as error:
        problem = str(error)
    if forbidden:
        text = f"this user may not open {', '.join(forbidden)}"
        yield Finding("gpu", ERROR, text, *_join_groups(map(Path, forbidden)))
    elif names:
        text = f"{len(names)} GPU{'s' * (len(names) > 1)}: {', '.join(names)}"
        yield Finding("gpu", OK, text)
    elif nvidia:
        text = f"{nvidia[0]} exists, but {problem or 'the driver reports no GPU'}"
        yield Finding("gpu", ERROR, text, "nvidia-smi")
    elif devices and problem:
        text = f"{devices[0]} exists, but the GPU cannot be measured: {problem}"
        command = "trio_afrender config af_render_gpuinfo_nvidia_cmd"
        yield Finding("gpu", WARNING, text, command, LOOK)
    elif devices:
        paths = ", ".join(map(str, devices))
        yield Finding("gpu", OK, f"{paths}: usable, but only NVIDIA GPUs are measured")
    else:
        yield Finding("gpu", OK, "no GPU on this host")


def _join_groups(devices: Iterable[Path]) -> tuple[str, str]:
    """Return the command that adds this user to the groups that may open all of the devices."""
    groups = set()
    for device in devices:
        status = device.stat()
        if status.st_mode & 0o060 != 0o060 or status.st_gid == 0:
            return f"ls -l {quote(str(device))}", LOOK  # its group may not open it either
        with suppress(KeyError):
            groups.add(grp.getgrgid(status.st_gid).gr_name)
    user = str(os.getuid())
    with suppress(OSError, KeyError):  # not in the database of users, as in bare containers
        user = getpass.getuser()
    return f"usermod -aG {','.join(sorted(groups))} {user}  # it counts after the next login", ROOT


def _read_number(path: Path) -> int | None:
    """Return the number in a small file; None if it cannot be read or has none."""
    text = ""
    with suppress(OSError):
        text = path.read_text().strip()
    return int(text) if text.isdigit() else None

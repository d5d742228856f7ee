"""Rules about the machine: Python, kernel, control groups, limits, pipes, debuggers, cards. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding, drop_in

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
)

PYTHON = (3, 11)
FILES_NEEDED, FILES_WANTED = 1024, 4096
PROCESSES_WANTED = 4096
MEMLOCK_WANTED = 1024**2
PIPE_SIZE_WANTED = 1024**2
"""Bytes that each task's output pipe should hold."""
UNIT = "trio_afrender.service"
KERNEL_COMMAND = "apt-get install linux-image-amd64 && reboot"
UNIFY_COMMAND = (
    """echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX systemd.unified_cgroup_hierarchy=1"'"""
    " >> /etc/default/grub && update-grub && reboot"
)


@attrs.frozen(slots=True, kw_only=True)
class KernelFacts:
    """What this system's kernel and Python can do."""

    python: tuple[int, int, int] = (3, 11, 0)
    release: str = ""
    pidfd: bool = True
    subreaper: bool = True
    proc: bool = True
    """Whether ``/proc`` shows other users' processes, too."""


def check_kernel(facts: KernelFacts) -> Iterator[Finding]:
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < PYTHON:
        yield Finding("python", ERROR, f"Python {version} is too old: 3.11 is needed",
                      "apt-get install python3.11")  # fmt: skip
    else:
        yield Finding("python", OK, f"Python {version}")
    if lacking := _lacking(("pidfd", facts.pidfd), ("subreaper", facts.subreaper)):
        text = f"the kernel {facts.release} lacks {lacking} (Linux 5.3): no end of a tree is proven"
        yield Finding("kernel", WARNING, text, KERNEL_COMMAND)
    else:
        yield Finding("kernel", OK, f"kernel {facts.release} with pidfd and subreaper")
    if not facts.proc:
        text = "/proc hides processes of others (hidepid): orphans of an embedded agent's tasks are not found"
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
    """Whether the controller is there to be handed down."""
    hybrid: bool = False
    """Whether memory is still counted by version 1."""
    by_systemd: bool = True
    unit: str = UNIT
    user: int = 0


def check_cgroup(facts: CgroupFacts) -> Iterator[Finding]:
    signals = "trees are ended by signals alone"
    if facts.version == 0:
        text, mend = "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"
        yield Finding("cgroup", WARNING, f"{text}: {signals}", mend)
    elif facts.version == 1:
        text = f"control groups are of version 1: {signals}"
        yield Finding("cgroup", WARNING, text, UNIFY_COMMAND)
    elif not facts.may_create:
        text = f"we may not make control groups below {facts.path}: {signals}"
        yield Finding("cgroup", WARNING, text, _delegate(facts))
    elif lacking := _lacking(("cgroup.kill", facts.kill), ("the freezer", facts.freeze)):
        text = f"control groups lack {lacking}: a newer kernel (5.14) has it"
        yield Finding("cgroup", WARNING, text, KERNEL_COMMAND)
    elif facts.hybrid:
        text = (
            "control groups are mixed: memory is counted by version 1, of which tasks get no part"
        )
        yield Finding("cgroup", WARNING, text, UNIFY_COMMAND)
    elif not facts.memory:
        text = f"the memory controller is not handed down to {facts.path}: peaks are measured only"
        parent = facts.path.rpartition("/")[0]
        mend = f"echo +memory > /sys/fs/cgroup{parent}/cgroup.subtree_control"
        yield Finding("cgroup", WARNING, text, _delegate(facts) if facts.by_systemd else mend)
    else:
        text = f"control groups below {facts.path}, with cgroup.kill, freezer and memory"
        yield Finding("cgroup", OK, text)


def _lacking(*things: tuple[str, bool]) -> str:
    """The names of those that are not there, joined."""
    return " and ".join(name for name, there in things if not there)


def _delegate(facts: CgroupFacts) -> str:
    if not facts.by_systemd:
        return f"chown -R {facts.user} /sys/fs/cgroup{facts.path}  # as root"
    if facts.unit:
        return drop_in(facts.unit, "Delegate", "yes", user="user@" in facts.path)
    return "systemd-run --user --scope -p Delegate=yes trio_afrender agent"


@attrs.frozen(slots=True, kw_only=True)
class LimitFacts:
    """Resource limits of this process: soft, hard; None: none."""

    files: tuple[int | None, int | None] = (65536, 65536)
    processes: tuple[int | None, int | None] = (None, None)
    locked: tuple[int | None, int | None] = (None, None)
    root: bool = False
    max_tasks: int = 4
    group_processes: int | None = None
    """``pids.max`` of the control group."""


def check_limits(facts: LimitFacts) -> Iterator[Finding]:
    files, hard = facts.files
    if files is not None and files < FILES_NEEDED:
        text = f"{files} open files are allowed: an agent needs {FILES_NEEDED}"
        yield Finding("nofile", ERROR, text, _raise("n", FILES_WANTED, hard))
    elif files is not None and files < FILES_WANTED and facts.max_tasks > files // 16:
        text = (
            f"{files} open files are allowed: with {facts.max_tasks} tasks at once that may not do"
        )
        yield Finding("nofile", WARNING, text, _raise("n", FILES_WANTED, hard))
    else:
        yield Finding("nofile", OK, f"{_figure(files)} open files are allowed")
    processes = None if facts.root else facts.processes[0]
    counts = [each for each in (processes, facts.group_processes) if each is not None]
    least = min(counts, default=None)
    if least is not None and least < PROCESSES_WANTED:
        text = f"{least} processes are allowed: renderers start threads by the hundred, and each counts"
        mend = _raise("u", PROCESSES_WANTED, facts.processes[1])
        if least == facts.group_processes:
            mend = f"systemctl set-property {UNIT} TasksMax=infinity"
        yield Finding("nproc", WARNING, text, mend)
    else:
        yield Finding("nproc", OK, f"{_figure(least)} processes are allowed")
    locked = facts.locked[0]
    if locked is not None and locked < MEMLOCK_WANTED and not facts.root:
        text = f"{locked} bytes of memory may be locked: renderers on cards may want more"
        yield Finding(
            "memlock", WARNING, text, "ulimit -l unlimited  # in a unit: LimitMEMLOCK=infinity"
        )
    else:
        yield Finding("memlock", OK, f"{_figure(locked)} bytes of memory may be locked")


def _figure(count: int | None) -> str:
    return "any number of" if count is None else str(count)


def _raise(letter: str, wanted: int, hard: int | None) -> str:
    name = {"n": "nofile", "u": "nproc"}[letter]
    if hard is None or hard >= wanted:
        return f"ulimit -{letter} {wanted}  # in a unit: Limit{name.upper()}={wanted}"
    return f'echo "* - {name} {wanted}" >> /etc/security/limits.d/trio_afrender.conf  # then log in anew'


@attrs.frozen(slots=True, kw_only=True)
class PipeFacts:
    """How large pipes may be."""

    user_pages: int | None = 16384
    """Pages of all pipes of a user, beyond which each gets one page; 0: no limit."""
    max_size: int | None = 1024**2
    page: int = 4096
    root: bool = False
    max_tasks: int = 4


def check_pipes(facts: PipeFacts) -> Iterator[Finding]:
    if facts.root or facts.user_pages is None or facts.max_size is None:
        yield Finding("pipes", OK, f"each task's output has a pipe of {PIPE_SIZE_WANTED} bytes")
        return
    wanted = facts.max_tasks * PIPE_SIZE_WANTED // facts.page
    if facts.user_pages and facts.user_pages < wanted:
        text = (
            f"all pipes of a user may have {facts.user_pages} pages, {facts.max_tasks} tasks want {wanted}:"
            " tasks that print much wait for us more often"
        )
        yield Finding("pipes", WARNING, text, f"sysctl -w fs.pipe-user-pages-soft={wanted * 2}")
    elif facts.max_size < PIPE_SIZE_WANTED:
        text = f"a pipe may have {facts.max_size} bytes, we want {PIPE_SIZE_WANTED}"
        yield Finding("pipes", WARNING, text, f"sysctl -w fs.pipe-max-size={PIPE_SIZE_WANTED}")
    else:
        yield Finding("pipes", OK, f"each task's output has a pipe of {PIPE_SIZE_WANTED} bytes")


@attrs.frozen(slots=True, kw_only=True)
class DebuggerFacts:
    """Who can tell where a stuck task hangs."""

    found: tuple[str, ...] = ()
    ptrace_scope: int = 0
    root: bool = False


def check_debuggers(facts: DebuggerFacts) -> Iterator[Finding]:
    if not facts.found:
        text = "neither py-spy nor gdb is there: stuck tasks are told of without their stacks"
        yield Finding("stacks", WARNING, text, "apt-get install gdb")
    elif facts.ptrace_scope == 3 or (facts.ptrace_scope and not facts.root):
        text = (
            f"{' and '.join(facts.found)} may not look into tasks (ptrace_scope is"
            f" {facts.ptrace_scope}): stuck tasks are told of without their stacks"
        )
        mend = "sysctl -w kernel.yama.ptrace_scope=0"
        if facts.ptrace_scope == 3:
            mend = "reboot  # 3 cannot be taken back; look for ptrace_scope in /etc/sysctl.d"
        yield Finding("stacks", WARNING, text, mend)
    else:
        yield Finding(
            "stacks", OK, f"{' and '.join(facts.found)} can tell where a stuck task hangs"
        )


@attrs.frozen(slots=True, kw_only=True)
class GpuFacts:
    """Graphics cards, and whether we may use them."""

    names: tuple[str, ...] = ()
    """What the driver tells of."""
    devices: tuple[str, ...] = ()
    """Files of devices that are there."""
    forbidden: tuple[str, ...] = ()
    """Those of them that we may not open."""
    problem: str = ""
    """Why the driver tells nothing."""
    user: str = "root"


def check_gpus(facts: GpuFacts) -> Iterator[Finding]:
    nvidia = [name for name in facts.devices if "nvidia" in name]
    if facts.forbidden:
        text = f"we may not use {', '.join(facts.forbidden)}"
        yield Finding(
            "gpu",
            ERROR,
            text,
            f"usermod -aG video,render {facts.user}  # as root; then log in anew",
        )
    elif facts.names:
        yield Finding(
            "gpu",
            OK,
            f"{len(facts.names)} card{'s' * (len(facts.names) > 1)}: {', '.join(facts.names)}",
        )
    elif nvidia:
        why = facts.problem or "the driver tells of no card"
        yield Finding("gpu", ERROR, f"{nvidia[0]} is there, but {why}", "nvidia-smi")
    elif facts.devices:
        text = f"{', '.join(facts.devices)}: usable, but only NVIDIA's cards are measured"
        yield Finding("gpu", OK, text)
    else:
        yield Finding("gpu", OK, "no card on this host")

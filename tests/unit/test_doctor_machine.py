"""What the doctor says of a machine, by facts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.cli.doctor.machine import (
    CgroupFacts,
    DebuggerFacts,
    GpuFacts,
    KernelFacts,
    LimitFacts,
    PipeFacts,
    check_cgroup,
    check_debuggers,
    check_gpus,
    check_kernel,
    check_limits,
    check_pipes,
)


def bad(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Level and check of what is not in order; each of these has words, and the command."""
    found = [each for each in findings if each.level != "ok"]
    assert all(each.text and each.fix for each in found)
    return [(each.level, each.check) for each in found]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (KernelFacts(release="6.1"), []),
        (KernelFacts(python=(3, 10, 9)), [("error", "python")]),
        (KernelFacts(pidfd=False), [("warning", "kernel")]),
        (KernelFacts(subreaper=False, proc=False), [("warning", "kernel"), ("warning", "proc")]),
    ],
)
def test_kernel(facts: KernelFacts, said: list[tuple[str, str]]) -> None:
    assert bad(check_kernel(facts)) == said


def test_what_the_kernel_lacks_is_named() -> None:
    _, finding = check_kernel(KernelFacts(release="4.18", pidfd=False, subreaper=False))
    assert "4.18 lacks pidfd and subreaper" in finding.text


@pytest.mark.parametrize(
    ("facts", "text", "mend"),
    [
        (CgroupFacts(version=0), "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"),
        (CgroupFacts(version=1), "of version 1: trees are ended by signals", "unified_cgroup_hierarchy=1"),
        (CgroupFacts(hybrid=True), "mixed: memory is counted by version 1", "unified_cgroup_hierarchy=1"),
        (CgroupFacts(kill=False), "lack cgroup.kill: a newer kernel (5.14)", "reboot"),
        (CgroupFacts(kill=False, freeze=False), "lack cgroup.kill and the freezer", "reboot"),
        (
            CgroupFacts(may_create=False, path="/system.slice/trio_afrender.service"),
            "not make control groups below /system.slice/trio_afrender.service",
            ("mkdir -p /etc/systemd/system/trio_afrender.service.d && printf '[Service]\\nDelegate=yes\\n'"
            " > /etc/systemd/system/trio_afrender.service.d/delegate.conf && systemctl daemon-reload"
            " && systemctl restart trio_afrender.service"),
        ),
        (
            CgroupFacts(may_create=False, path="/user.slice/user@1000.service/app.slice/a.service", unit="a.service"),
            "not make",
            "systemctl --user daemon-reload",
        ),
        (CgroupFacts(may_create=False, unit=""), "not make", "systemd-run --user --scope -p Delegate=yes"),
        (CgroupFacts(may_create=False, by_systemd=False, path="/a", user=7), "not make", "chown -R 7 /sys/fs/cgroup/a"),
        (CgroupFacts(memory=False), "memory controller is not handed down", "Delegate=yes"),
        (
            CgroupFacts(memory=False, by_systemd=False, path="/a/b"),
            "handed down to /a/b",
            "echo +memory > /sys/fs/cgroup/a/cgroup.subtree_control",
        ),
    ],
)  # fmt: skip
def test_groups(facts: CgroupFacts, text: str, mend: str) -> None:
    [finding] = check_cgroup(facts)
    assert (finding.check, finding.level) == ("cgroup", "warning")
    assert text in finding.text
    assert mend in finding.fix


def test_delegated_groups_are_good() -> None:
    assert bad(check_cgroup(CgroupFacts())) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (LimitFacts(), []),
        (LimitFacts(files=(512, 4096)), [("error", "nofile")]),
        (LimitFacts(files=(1024, 4096)), []),
        (LimitFacts(files=(1024, 4096), max_tasks=100), [("warning", "nofile")]),
        (LimitFacts(files=(None, None), max_tasks=1000), []),
        (LimitFacts(processes=(1000, 1000)), [("warning", "nproc")]),
        (LimitFacts(processes=(1000, 1000), root=True), []),
        (LimitFacts(group_processes=400), [("warning", "nproc")]),
        (LimitFacts(group_processes=400, root=True), [("warning", "nproc")]),
        (LimitFacts(locked=(65536, 65536)), [("warning", "memlock")]),
        (LimitFacts(locked=(65536, 65536), root=True), []),
    ],
)
def test_limits(facts: LimitFacts, said: list[tuple[str, str]]) -> None:
    assert bad(check_limits(facts)) == said


def test_a_limit_is_mended_where_it_stands() -> None:
    [soft, *_] = check_limits(LimitFacts(files=(512, 65536)))
    assert soft.fix.startswith("ulimit -n 4096")
    [hard, *_] = check_limits(LimitFacts(files=(512, 1024)))
    assert "/etc/security/limits.d/trio_afrender.conf" in hard.fix
    [_, group, _] = check_limits(LimitFacts(group_processes=100, processes=(500, 500)))
    assert group.fix == "systemctl set-property trio_afrender.service TasksMax=infinity"


@pytest.mark.parametrize(
    ("facts", "mend"),
    [
        (PipeFacts(), ""),
        (PipeFacts(user_pages=0), ""),
        (PipeFacts(max_tasks=64), ""),
        (PipeFacts(max_tasks=65), "sysctl -w fs.pipe-user-pages-soft=33280"),
        (PipeFacts(max_tasks=65, root=True), ""),
        (PipeFacts(max_tasks=65, page=65536), ""),
        (PipeFacts(max_size=65536), "sysctl -w fs.pipe-max-size=1048576"),
        (PipeFacts(user_pages=None, max_size=None), ""),
    ],
)
def test_pipes(facts: PipeFacts, mend: str) -> None:
    [finding] = check_pipes(facts)
    assert finding.fix == mend
    assert (finding.level == "ok") == (not mend)


@pytest.mark.parametrize(
    ("facts", "mend"),
    [
        (DebuggerFacts(found=("gdb",)), ""),
        (DebuggerFacts(), "apt-get install gdb"),
        (DebuggerFacts(found=("py-spy",), ptrace_scope=1), "sysctl -w kernel.yama.ptrace_scope=0"),
        (DebuggerFacts(found=("py-spy",), ptrace_scope=1, root=True), ""),
        (DebuggerFacts(found=("gdb",), ptrace_scope=3, root=True), "reboot"),
    ],
)
def test_debuggers(facts: DebuggerFacts, mend: str) -> None:
    [finding] = check_debuggers(facts)
    assert (finding.level == "ok") == (not mend)
    assert finding.fix.startswith(mend)


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        (GpuFacts(), "ok", "no card"),
        (GpuFacts(names=("RTX 6000", "RTX 6000"), devices=("/dev/nvidia0",)), "ok", "2 cards: RTX 6000, "),
        (GpuFacts(devices=("/dev/nvidia0",), problem="Driver/library version mismatch"), "error", "mismatch"),
        (GpuFacts(devices=("/dev/nvidia0",)), "error", "the driver tells of no card"),
        (GpuFacts(devices=("/dev/dri/renderD128",)), "ok", "only NVIDIA's cards are measured"),
        (
            GpuFacts(devices=("/dev/kfd",), forbidden=("/dev/kfd",)),
            "error",
            "we may not use /dev/kfd",
        ),
    ],
)  # fmt: skip
def test_cards(facts: GpuFacts, level: str, text: str) -> None:
    [finding] = check_gpus(facts)
    assert finding.level == level
    assert text in finding.text

"""The doctor's findings about a machine, by facts."""

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
    """Return level and check of the findings that are not ok; each must have a text and a fix."""
    found = [each for each in findings if each.level != "ok"]
    assert all(each.text and each.fix for each in found)
    return [(each.level, each.check) for each in found]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (KernelFacts(release="6.1"), []),
        (KernelFacts(python=(3, 10, 9)), [("error", "python")]),
        (KernelFacts(pidfd=False), [("warning", "kernel")]),
        (KernelFacts(subreaper=False, proc=False), [("warning", "kernel"), ("warning", "proc")]),
    ],
)
def test_kernel(facts: KernelFacts, expected: list[tuple[str, str]]) -> None:
    assert bad(check_kernel(facts)) == expected


def test_features_that_the_kernel_lacks_are_named() -> None:
    _, finding = check_kernel(KernelFacts(release="4.18", pidfd=False, subreaper=False))
    assert "4.18 lacks pidfd and subreaper" in finding.text


@pytest.mark.parametrize(
    ("facts", "text", "fix"),
    [
        (CgroupFacts(version=0), "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"),
        (CgroupFacts(version=1), "of version 1: the processes of a task are ended by signals", "unified_cgroup_hierarchy=1"),
        (CgroupFacts(hybrid=True), "mixed: the memory controller is in version 1", "unified_cgroup_hierarchy=1"),
        (CgroupFacts(kill=False), "lack cgroup.kill: a newer kernel (5.14)", "reboot"),
        (CgroupFacts(kill=False, freeze=False), "lack cgroup.kill and the freezer", "reboot"),
        (
            CgroupFacts(may_create=False, path="/system.slice/trio_afrender.service"),
            "not create control groups below /system.slice/trio_afrender.service",
            ("mkdir -p /etc/systemd/system/trio_afrender.service.d && printf '[Service]\\nDelegate=yes\\n'"
            " > /etc/systemd/system/trio_afrender.service.d/delegate.conf && systemctl daemon-reload"
            " && systemctl restart trio_afrender.service"),
        ),
        (
            CgroupFacts(may_create=False, path="/user.slice/user@1000.service/app.slice/a.service", unit="a.service"),
            "not create",
            "systemctl --user daemon-reload",
        ),
        (CgroupFacts(may_create=False, unit=""), "not create", "systemd-run --user --scope -p Delegate=yes"),
        (CgroupFacts(may_create=False, by_systemd=False, path="/a", user=7), "not create", "chown -R 7 /sys/fs/cgroup/a"),
        (CgroupFacts(memory=False), "memory controller is not enabled", "Delegate=yes"),
        (
            CgroupFacts(memory=False, by_systemd=False, path="/a/b"),
            "not enabled for /a/b",
            "echo +memory > /sys/fs/cgroup/a/cgroup.subtree_control",
        ),
    ],
)  # fmt: skip
def test_groups(facts: CgroupFacts, text: str, fix: str) -> None:
    [finding] = check_cgroup(facts)
    assert (finding.check, finding.level) == ("cgroup", "warning")
    assert text in finding.text
    assert fix in finding.fix


def test_delegated_groups_are_good() -> None:
    assert bad(check_cgroup(CgroupFacts())) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
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
def test_limits(facts: LimitFacts, expected: list[tuple[str, str]]) -> None:
    assert bad(check_limits(facts)) == expected


def test_a_limit_is_raised_where_it_is_set() -> None:
    [soft, *_] = check_limits(LimitFacts(files=(512, 65536)))
    assert soft.fix.startswith("ulimit -n 4096")
    [hard, *_] = check_limits(LimitFacts(files=(512, 1024)))
    assert "/etc/security/limits.d/trio_afrender.conf" in hard.fix
    [_, group, _] = check_limits(LimitFacts(group_processes=100, processes=(500, 500)))
    assert group.fix == "systemctl set-property trio_afrender.service TasksMax=infinity"


@pytest.mark.parametrize(
    ("facts", "fix"),
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
def test_pipes(facts: PipeFacts, fix: str) -> None:
    [finding] = check_pipes(facts)
    assert finding.fix == fix
    assert (finding.level == "ok") == (not fix)


@pytest.mark.parametrize(
    ("facts", "fix"),
    [
        (DebuggerFacts(found=("gdb",)), ""),
        (DebuggerFacts(), "apt-get install gdb"),
        (DebuggerFacts(found=("py-spy",), ptrace_scope=1), "sysctl -w kernel.yama.ptrace_scope=0"),
        (DebuggerFacts(found=("py-spy",), ptrace_scope=1, root=True), ""),
        (DebuggerFacts(found=("gdb",), ptrace_scope=3, root=True), "reboot"),
    ],
)
def test_debuggers(facts: DebuggerFacts, fix: str) -> None:
    [finding] = check_debuggers(facts)
    assert (finding.level == "ok") == (not fix)
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        (GpuFacts(), "ok", "no GPU"),
        (GpuFacts(names=("RTX 6000", "RTX 6000"), devices=("/dev/nvidia0",)), "ok", "2 GPUs: RTX 6000, "),
        (GpuFacts(devices=("/dev/nvidia0",), problem="Driver/library version mismatch"), "error", "mismatch"),
        (GpuFacts(devices=("/dev/nvidia0",)), "error", "the driver reports no GPU"),
        (GpuFacts(devices=("/dev/dri/renderD128",)), "ok", "only NVIDIA GPUs are measured"),
        (
            GpuFacts(devices=("/dev/kfd",), forbidden=("/dev/kfd",)),
            "error",
            "this user may not open /dev/kfd",
        ),
    ],
)  # fmt: skip
def test_gpus(facts: GpuFacts, level: str, text: str) -> None:
    [finding] = check_gpus(facts)
    assert finding.level == level
    assert text in finding.text

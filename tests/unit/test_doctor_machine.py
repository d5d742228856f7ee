"""What the doctor says of a machine, by facts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.cli.doctor.machine import (
    Cards,
    Debuggers,
    Groups,
    Kernel,
    Limits,
    Pipes,
    judge_cards,
    judge_debuggers,
    judge_groups,
    judge_kernel,
    judge_limits,
    judge_pipes,
)


def bad(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Level and check of what is not in order; each of these has words, and the command."""
    found = [each for each in findings if each.level != "ok"]
    assert all(each.text and each.mend for each in found)
    return [(each.level, each.check) for each in found]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Kernel(release="6.1"), []),
        (Kernel(python=(3, 10, 9)), [("error", "python")]),
        (Kernel(pidfd=False), [("warning", "kernel")]),
        (Kernel(subreaper=False, proc=False), [("warning", "kernel"), ("warning", "proc")]),
    ],
)
def test_kernel(facts: Kernel, said: list[tuple[str, str]]) -> None:
    assert bad(judge_kernel(facts)) == said


def test_what_the_kernel_lacks_is_named() -> None:
    _, finding = judge_kernel(Kernel(release="4.18", pidfd=False, subreaper=False))
    assert "4.18 lacks pidfd and subreaper" in finding.text


@pytest.mark.parametrize(
    ("facts", "text", "mend"),
    [
        (Groups(version=0), "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"),
        (Groups(version=1), "of version 1: trees are ended by signals", "unified_cgroup_hierarchy=1"),
        (Groups(hybrid=True), "mixed: memory is counted by version 1", "unified_cgroup_hierarchy=1"),
        (Groups(kill=False), "lack cgroup.kill: a newer kernel (5.14)", "reboot"),
        (Groups(kill=False, freeze=False), "lack cgroup.kill and the freezer", "reboot"),
        (
            Groups(may_create=False, path="/system.slice/trio_afrender.service"),
            "not make control groups below /system.slice/trio_afrender.service",
            ("mkdir -p /etc/systemd/system/trio_afrender.service.d && printf '[Service]\\nDelegate=yes\\n'"
            " > /etc/systemd/system/trio_afrender.service.d/delegate.conf && systemctl daemon-reload"
            " && systemctl restart trio_afrender.service"),
        ),
        (
            Groups(may_create=False, path="/user.slice/user@1000.service/app.slice/a.service", unit="a.service"),
            "not make",
            "systemctl --user daemon-reload",
        ),
        (Groups(may_create=False, unit=""), "not make", "systemd-run --user --scope -p Delegate=yes"),
        (Groups(may_create=False, by_systemd=False, path="/a", user=7), "not make", "chown -R 7 /sys/fs/cgroup/a"),
        (Groups(memory=False), "memory controller is not handed down", "Delegate=yes"),
        (
            Groups(memory=False, by_systemd=False, path="/a/b"),
            "handed down to /a/b",
            "echo +memory > /sys/fs/cgroup/a/cgroup.subtree_control",
        ),
    ],
)  # fmt: skip
def test_groups(facts: Groups, text: str, mend: str) -> None:
    [finding] = judge_groups(facts)
    assert (finding.check, finding.level) == ("cgroup", "warning")
    assert text in finding.text
    assert mend in finding.mend


def test_delegated_groups_are_good() -> None:
    assert bad(judge_groups(Groups())) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Limits(), []),
        (Limits(files=(512, 4096)), [("error", "nofile")]),
        (Limits(files=(1024, 4096)), []),
        (Limits(files=(1024, 4096), max_tasks=100), [("warning", "nofile")]),
        (Limits(files=(None, None), max_tasks=1000), []),
        (Limits(processes=(1000, 1000)), [("warning", "nproc")]),
        (Limits(processes=(1000, 1000), root=True), []),
        (Limits(group_processes=400), [("warning", "nproc")]),
        (Limits(group_processes=400, root=True), [("warning", "nproc")]),
        (Limits(locked=(65536, 65536)), [("warning", "memlock")]),
        (Limits(locked=(65536, 65536), root=True), []),
    ],
)
def test_limits(facts: Limits, said: list[tuple[str, str]]) -> None:
    assert bad(judge_limits(facts)) == said


def test_a_limit_is_mended_where_it_stands() -> None:
    [soft, *_] = judge_limits(Limits(files=(512, 65536)))
    assert soft.mend.startswith("ulimit -n 4096")
    [hard, *_] = judge_limits(Limits(files=(512, 1024)))
    assert "/etc/security/limits.d/trio_afrender.conf" in hard.mend
    [_, group, _] = judge_limits(Limits(group_processes=100, processes=(500, 500)))
    assert group.mend == "systemctl set-property trio_afrender.service TasksMax=infinity"


@pytest.mark.parametrize(
    ("facts", "mend"),
    [
        (Pipes(), ""),
        (Pipes(user_pages=0), ""),
        (Pipes(max_tasks=64), ""),
        (Pipes(max_tasks=65), "sysctl -w fs.pipe-user-pages-soft=33280"),
        (Pipes(max_tasks=65, root=True), ""),
        (Pipes(max_tasks=65, page=65536), ""),
        (Pipes(max_size=65536), "sysctl -w fs.pipe-max-size=1048576"),
        (Pipes(user_pages=None, max_size=None), ""),
    ],
)
def test_pipes(facts: Pipes, mend: str) -> None:
    [finding] = judge_pipes(facts)
    assert finding.mend == mend
    assert (finding.level == "ok") == (not mend)


@pytest.mark.parametrize(
    ("facts", "mend"),
    [
        (Debuggers(found=("gdb",)), ""),
        (Debuggers(), "apt-get install gdb"),
        (Debuggers(found=("py-spy",), ptrace_scope=1), "sysctl -w kernel.yama.ptrace_scope=0"),
        (Debuggers(found=("py-spy",), ptrace_scope=1, root=True), ""),
        (Debuggers(found=("gdb",), ptrace_scope=3, root=True), "reboot"),
    ],
)
def test_debuggers(facts: Debuggers, mend: str) -> None:
    [finding] = judge_debuggers(facts)
    assert (finding.level == "ok") == (not mend)
    assert finding.mend.startswith(mend)


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        (Cards(), "ok", "no card"),
        (Cards(names=("RTX 6000", "RTX 6000"), devices=("/dev/nvidia0",)), "ok", "2 cards: RTX 6000, "),
        (Cards(devices=("/dev/nvidia0",), problem="Driver/library version mismatch"), "error", "mismatch"),
        (Cards(devices=("/dev/nvidia0",)), "error", "the driver tells of no card"),
        (Cards(devices=("/dev/dri/renderD128",)), "ok", "only NVIDIA's cards are measured"),
        (
            Cards(devices=("/dev/kfd",), forbidden=("/dev/kfd",)),
            "error",
            "we may not use /dev/kfd",
        ),
    ],
)  # fmt: skip
def test_cards(facts: Cards, level: str, text: str) -> None:
    [finding] = judge_cards(facts)
    assert finding.level == level
    assert text in finding.text

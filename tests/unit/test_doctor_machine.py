"""The doctor's findings about a machine, by facts."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from trio_afrender.cli.doctor import machine
from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.cli.doctor.machine import (
    check_debuggers,
    check_gpus,
    check_kernel,
    check_pipes,
    compare_limits,
)
from trio_afrender.config import Config

CONFIG = Config(name="n1")


def bad(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return level and check of the findings that are not ok; each must have a text and a fix."""
    found = [each for each in findings if each.level != "ok"]
    assert all(each.text and each.fix for each in found)
    return [(each.level, each.check) for each in found]


def test_features_that_the_kernel_lacks_are_named() -> None:
    findings = list(check_kernel(pidfd=False))
    assert ("warning", "kernel") in bad(findings)
    assert any("lacks pidfd (Linux 5.3)" in each.text for each in findings)


def test_the_check_of_the_kernel_does_not_make_this_process_a_subreaper() -> None:
    assert list(check_kernel())
    subreaper = ctypes.c_int(-1)
    assert (
        ctypes.CDLL(None).prctl(37, ctypes.byref(subreaper), 0, 0, 0) == 0
    )  # PR_GET_CHILD_SUBREAPER
    assert subreaper.value == 0


SERVICE = "/system.slice/trio_afrender.service"
FILES = ("cgroup.kill", "cgroup.freeze")
UNIFIED = "26 1 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
HYBRID = "25 1 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
DROP_IN = (
    "mkdir -p /etc/systemd/system/trio_afrender.service.d && printf '[Service]\\nDelegate=yes\\n'"
    " > /etc/systemd/system/trio_afrender.service.d/delegate.conf && systemctl daemon-reload"
)


@pytest.mark.parametrize(
    ("changes", "text", "fix"),
    [
        ({"mounts": ""}, "no control groups are mounted", "mount -t cgroup2 none /sys/fs/cgroup"),
        ({"mounts": HYBRID}, "of version 1: the processes of a task are ended by signals", "unified_cgroup_hierarchy=1"),
        ({"mounts": HYBRID + UNIFIED}, "mixed: the memory controller is in version 1", "unified_cgroup_hierarchy=1"),
        ({"files": FILES[1:]}, "lack cgroup.kill: a newer kernel (5.14)", "uname -r"),
        ({"files": ()}, "lack cgroup.kill and the freezer", "uname -r"),
        ({"files": None}, f"not create control groups below {SERVICE}", DROP_IN),
        (
            {"files": None, "path": "/user.slice/user@1000.service/app.slice/a.service"},
            "not create",
            "systemctl --user daemon-reload",
        ),
        ({"files": None, "path": "/user.slice/user@7.service"}, "not create", "systemd-run --user --scope -p Delegate=yes"),
        ({"files": None, "systemd": False, "path": "/a"}, "not create", f"chown -R {os.getuid()} /sys/fs/cgroup/a"),
        ({"controllers": "cpu"}, "memory controller is not enabled", "Delegate=yes"),
        (
            {"controllers": "cpu", "systemd": False, "path": "/a/b"},
            "not enabled for /a/b",
            "echo +memory > /sys/fs/cgroup/a/cgroup.subtree_control",
        ),
        ({}, "with cgroup.kill, freezer and memory", ""),
    ],
)  # fmt: skip
def test_groups(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    text: str,
    fix: str,
) -> None:
    facts: dict[str, Any] = {
        "mounts": UNIFIED,
        "path": SERVICE,
        "files": FILES,
        "controllers": "cpu memory",
    }
    facts |= {"systemd": True, **changes}
    proc = tmp_path / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(f"4:memory:/\n0::{facts['path']}\n")
    of_a_user = b"40 23 0:30 / /media/\xff\r rw - fuse.x x rw\n"  # a name of any bytes
    (proc / "mountinfo").write_bytes(facts["mounts"].encode() + of_a_user)
    if facts["systemd"]:
        (tmp_path / "run" / "systemd" / "system").mkdir(parents=True)
    (group := tmp_path / "sys" / "fs" / f"cgroup{facts['path']}").mkdir(parents=True)
    (group / "cgroup.controllers").write_text(facts["controllers"])
    monkeypatch.setattr(machine, "_list_new_group", lambda _: facts["files"])
    [finding] = machine.check_cgroup(proc.parent, tmp_path)
    assert (finding.check, finding.level) == ("cgroup", "warning" if fix else "ok")
    assert text in finding.text
    assert fix in finding.fix


def limits(**changes: Any) -> list[Finding]:  # noqa: ANN401 - as the arguments
    facts = {
        "files": (65536, 65536),
        "processes": (None, None),
        "locked": (None, None),
        "root": False,
        "max_tasks": 4,
        "group_processes": None,
    }
    return list(compare_limits(**{**facts, **changes}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"files": (512, 4096)}, [("error", "nofile")]),
        ({"files": (1024, 4096)}, []),
        ({"files": (1024, 4096), "max_tasks": 100}, [("warning", "nofile")]),
        ({"files": (None, None), "max_tasks": 1000}, []),
        ({"processes": (1000, 1000)}, [("warning", "nproc")]),
        ({"processes": (1000, 1000), "root": True}, []),
        ({"group_processes": 400}, [("warning", "nproc")]),
        ({"group_processes": 400, "root": True}, [("warning", "nproc")]),
        ({"locked": (65536, 65536)}, [("warning", "memlock")]),
        ({"locked": (65536, 65536), "root": True}, []),
    ],
)
def test_limits(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert bad(limits(**changes)) == expected


def test_a_limit_is_raised_where_it_is_set() -> None:
    [soft, *_] = limits(files=(512, 65536))
    assert soft.fix.startswith("ulimit -n 4096")
    [hard, *_] = limits(files=(512, 1024))
    assert "/etc/security/limits.d/trio_afrender.conf" in hard.fix
    for folder, fix in (
        (
            "/sys/fs/cgroup/user.slice/user-7.slice",
            "systemctl set-property user-7.slice TasksMax=infinity",
        ),
        ("/sys/fs/cgroup/a b", "echo max > '/sys/fs/cgroup/a b/pids.max'"),
    ):
        [_, group, _] = limits(group_processes=100, processes=(500, 500), group=Path(folder))
        assert (group.fix, group.how) == (fix, "root")


@pytest.fixture(params=[False, True], ids=["user", "root"])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if request.param else 1000)
    return bool(request.param)


def write(path: Path, number: int | None) -> None:
    if number is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")


@pytest.mark.parametrize(
    ("pages", "size", "max_tasks", "fix"),
    [
        (16384, 1024**2, 4, ""),
        (0, 1024**2, 100, ""),
        (16384, 1024**2, 64, ""),
        (
            16384,
            1024**2,
            65,
            "echo 'fs.pipe-user-pages-soft = 33280' > /etc/sysctl.d/60-pipe-user-pages-soft.conf && sysctl -w fs.pipe-user-pages-soft=33280",
        ),
        (
            16384,
            65536,
            4,
            "echo 'fs.pipe-max-size = 1048576' > /etc/sysctl.d/60-pipe-max-size.conf && sysctl -w fs.pipe-max-size=1048576",
        ),
        (None, None, 100, ""),
    ],
)
def test_pipes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pages: int | None,
    size: int | None,
    max_tasks: int,
    fix: str,
    root: bool,
) -> None:
    monkeypatch.setattr("resource.getpagesize", lambda: 4096)
    write(tmp_path / "sys" / "fs" / "pipe-user-pages-soft", pages)
    write(tmp_path / "sys" / "fs" / "pipe-max-size", size)
    [finding] = check_pipes(attrs.evolve(CONFIG, max_tasks=max_tasks), tmp_path)
    fix = "" if root else fix
    assert finding.fix == fix
    assert (finding.level == "ok") == (not fix)


@pytest.mark.parametrize(
    ("found", "scope", "fix", "fix_for_root"),
    [
        ("gdb", None, "", ""),
        ("apt-get", 0, "apt-get install gdb", "apt-get install gdb"),
        ("dnf", 0, "dnf install gdb", "dnf install gdb"),
        ("", 0, "command -v gdb py-spy", "command -v gdb py-spy"),
        ("py-spy", 1, "echo 'kernel.yama.ptrace_scope = 0' > /etc/sysctl.d/", ""),
        ("gdb", 3, "grep -rs ptrace_scope /etc/sysctl", "grep -rs ptrace_scope /etc/sysctl"),
    ],
)
def test_debuggers(
    tmp_path: Path, found: str, scope: int | None, fix: str, fix_for_root: str, root: bool
) -> None:
    write(tmp_path / "sys" / "kernel" / "yama" / "ptrace_scope", scope)
    [finding] = check_debuggers(lambda name: name if name == found else None, tmp_path)
    fix = fix_for_root if root else fix
    assert (finding.level == "ok") == (not fix)
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize(
    ("devices", "command", "level", "text"),
    [
        ([], "", "ok", "no GPU"),
        (
            ["nvidia0"],
            "echo 'Driver/library version mismatch' >&2; exit 9",
            "error",
            "exists, but ",
        ),
        (["dri/renderD128"], "", "ok", "only NVIDIA GPUs are measured"),
        (
            ["dri/renderD128"],
            "echo no card >&2; exit 9",
            "warning",
            "cannot be measured: /bin/sh failed with 9: no card",
        ),
        (["kfd"], "echo what", "warning", "cannot be measured: the command of the settings"),
        ([], "echo no card >&2; exit 9", "ok", "no GPU"),
    ],
)
def test_gpus(tmp_path: Path, devices: list[str], command: str, level: str, text: str) -> None:
    for name in devices:
        write(tmp_path / name, 0)
    [finding] = check_gpus(attrs.evolve(CONFIG, gpu_command=command), tmp_path)
    assert finding.level == level
    assert text in finding.text


def test_no_remedy_restarts_the_host_or_an_agent() -> None:
    """A host may run tasks: what counts from the next boot or start on says so instead."""
    for path in (Path(machine.__file__)).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            assert not re.search(r"&& (reboot|shutdown|(sudo )?systemctl (--user )?restart)", line)
            assert not re.search(r"""["'](reboot|shutdown)\b""", line)


@pytest.mark.parametrize(
    ("mode", "group", "fix", "how"),
    [
        (0o660, True, "usermod -aG {group} ", "root"),
        (0o600, True, "ls -l {path}", "look"),
        (0o660, False, "ls -l {path}", "look"),
    ],
)
def test_a_gpu_that_may_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: bool, fix: str, how: str
) -> None:
    write(tmp_path / "kfd", 0)
    (tmp_path / "kfd").chmod(mode)
    number = 44 if group else 0
    status = os.stat_result((mode, 0, 0, 1, 0, number, 0, 0, 0, 0))
    real = Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda path, **more: status if path.name == "kfd" else real(path, **more)
    )
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("grp.getgrgid", lambda gid: SimpleNamespace(gr_name=f"group{gid}"))
    [finding] = check_gpus(CONFIG, tmp_path)
    assert (finding.level, finding.text) == ("error", f"this user may not open {tmp_path}/kfd")
    assert finding.fix.startswith(fix.format(group="group44", path=tmp_path / "kfd"))
    assert finding.how == how

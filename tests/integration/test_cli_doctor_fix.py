"""Each remedy of ``doctor`` is run on a host with its fault, and the fault is gone.

Remedies for root run in a folder that stands for ``/``, with commands that only note their arguments.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.cli import make_environment, open_command, run_command

from trio_afrender.cli.doctor import files, machine, network
from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.config import Config

NOTED = ("systemctl", "sysctl", "chown", "mount", "umount", "usermod", "update-grub", "apt-get")


async def fix(home: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Run ``doctor --fix --yes --json``; return the exit code and the report."""
    line = ("doctor", "--fix", "--yes", "--json", "--name", "n1", *words)
    code, out, err = await run_command(*line, home=home)
    assert out, err
    return code, json.loads(out)


def faults_of(report: dict[str, Any], check: str) -> list[str]:
    return [row["text"] for row in report["findings"] if row["check"] == check and row["level"] != "ok"]  # fmt: skip


async def test_a_token_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "a token"
    path.write_text("x" * 32)
    path.chmod(0o644)
    _, report = await fix(tmp_path, "--token-file", path, "--store", "store")
    command = f"chmod 600 '{path}'"
    assert {"check": "token", "mend": command, "exit_code": 0} in report["fixed"]
    assert faults_of(report, "token") == []
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_store_that_others_can_read_or_exchange(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "trio_afrender" / "n1"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    folder.parent.chmod(0o777)
    _, report = await fix(tmp_path, "--store", "store")
    # The first fault hides the second one, which the next run finds.
    assert [row["mend"] for row in report["fixed"]] == [f"chmod go-w {folder.parent}"]
    _, report = await fix(tmp_path, "--store", "store")
    assert [row["mend"] for row in report["fixed"]] == [f"chmod 700 {folder}"]
    assert faults_of(report, "store") == []
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_store_that_is_a_file_is_kept_aside(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "trio_afrender"
    folder.mkdir(parents=True)
    (folder / "n1").write_text("precious")
    _, report = await fix(tmp_path, "--store", "store")
    assert faults_of(report, "store") == []
    assert (folder / "n1.old").read_text() == "precious"


async def test_a_mistyped_key(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text('{"cgru_config": {"af_render_nise": 3}}')
    (tmp_path / "c.json").symlink_to("real.json")
    _, report = await fix(tmp_path, "--config", "c.json", "--store", "store")
    assert faults_of(report, "config") == []
    assert (tmp_path / "c.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == {
        "cgru_config": {"af_render_nice": 3}
    }


async def test_a_unit_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shown = "LoadState=loaded\nKillMode=control-group\nDelegate=yes\nWatchdogUSec=1min\n"
    control = f"""#!/bin/sh
echo "$*" >> {tmp_path}/calls
[ "$1" = --user ] || exit 1
[ "$2" = show ] || exit 0
f=$HOME/.config/systemd/user/mine.service.d/killmode.conf
printf '{shown}'
[ -f $f ] && grep KillMode $f
exit 0
"""
    (tmp_path / "bin" / "systemctl").write_text(control)
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    line = (
        "doctor",
        "--fix",
        "--yes",
        "--json",
        "--name",
        "n1",
        "--store",
        "store",
        "--unit",
        "mine.service",
    )
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    async with open_command(*line, home=tmp_path, PATH=path) as command:
        await command.wait()
    report = json.loads(command.out)
    assert [row["exit_code"] for row in report["fixed"]] == [0]
    assert faults_of(report, "unit") == []
    calls = (tmp_path / "calls").read_text()
    assert "--user daemon-reload" in calls
    assert "restart" not in calls, "tasks of an agent with the wrong KillMode would end"


async def test_without_an_answer_nothing_is_done(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 32)
    path.chmod(0o644)
    words = ("doctor", "--fix", "--name", "n1", "--token-file", path, "--store", "store")
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 2
    assert f"run: chmod 600 {path}: give --yes to do it" in err
    assert path.stat().st_mode & 0o777 == 0o644


async def test_a_fix_that_fails_is_reported(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "chmod").write_text("#!/bin/sh\necho no permission >&2\nexit 7\n")
    (tmp_path / "bin" / "chmod").chmod(0o755)
    path = tmp_path / "token"
    path.write_text("x" * 32)
    path.chmod(0o644)
    words = ("doctor", "--fix", "--yes", "--name", "n1", "--token-file", path, "--store", "store")
    search = f"{tmp_path}/bin:{os.environ['PATH']}"
    async with open_command(*words, home=tmp_path, PATH=search) as command:
        assert await command.wait() == 1
    assert f"failed (exit code 7): chmod 600 {path}\nno permission\n" in command.err
    assert "after the fixes:" in command.out


def run_as_root(finding: Finding, root: Path) -> str:
    """Run a remedy for root with `root` in place of ``/``; return the commands that it called."""
    assert finding.how == "root"
    (root / "bin").mkdir(exist_ok=True)
    for name in NOTED:
        (root / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {root}/calls\n')
        (root / "bin" / name).chmod(0o755)
    command = finding.fix
    for folder in ("/etc/", "/sys/fs/"):
        command = command.replace(folder, f"{root}{folder}")
    environment = {**make_environment(root), "PATH": f"{root}/bin:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-c", command], check=True, env=environment, cwd=root)
    calls = root / "calls"
    return calls.read_text() if calls.exists() else ""


def test_remedies_for_root_set_what_the_check_reads(tmp_path: Path) -> None:
    config = Config(name="n1", max_tasks=100)
    (tmp_path / "etc" / "sysctl.d").mkdir(parents=True)
    proc = tmp_path / "proc"
    (proc / "sys" / "fs").mkdir(parents=True)
    (proc / "sys" / "fs" / "pipe-user-pages-soft").write_text("16384\n")
    (proc / "sys" / "fs" / "pipe-max-size").write_text("1048576\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        [finding] = machine.check_pipes(config, proc)
        assert "sysctl -w fs.pipe-user-pages-soft=" in run_as_root(finding, tmp_path)
        [line] = [path.read_text() for path in (tmp_path / "etc" / "sysctl.d").iterdir()]
        number = line.partition(" = ")[2]
        (proc / "sys" / "fs" / "pipe-user-pages-soft").write_text(number)
        [after] = machine.check_pipes(config, proc)
    assert after.level == "ok"


def test_remedies_for_units_of_the_host(tmp_path: Path) -> None:
    settings = {"KillMode": "mixed", "WatchdogUSec": "0", "TimeoutStopUSec": "10s"}
    for finding in network.compare_unit("r.service", settings):
        calls = run_as_root(finding, tmp_path)
    assert calls.splitlines() == ["systemctl daemon-reload"] * 3
    folder = tmp_path / "etc" / "systemd" / "system" / "r.service.d"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "killmode.conf": "[Service]\nKillMode=process\n",
        "watchdogsec.conf": "[Service]\nWatchdogSec=60\n",
        "timeoutstopsec.conf": "[Service]\nTimeoutStopSec=90\n",
    }


def test_remedies_for_limits_and_groups(tmp_path: Path) -> None:
    (tmp_path / "etc" / "security" / "limits.d").mkdir(parents=True)
    group = tmp_path / "sys" / "fs" / "cgroup" / "box"
    group.mkdir(parents=True)
    none = (None, None)
    found = machine.compare_limits(
        (512, 1024), none, none, root=False, max_tasks=4, group_processes=9,
        group=Path("/sys/fs/cgroup/box"),
    )  # fmt: skip
    for finding in found:
        if finding.level != "ok":
            run_as_root(finding, tmp_path)
    [limits] = (tmp_path / "etc" / "security" / "limits.d").iterdir()
    assert limits.read_text() == "* - nofile 4096\n"
    assert (group / "pids.max").read_text() == "max\n"


def test_remedies_for_mounts(tmp_path: Path) -> None:
    gone, hung = tmp_path / "mnt" / "a b", tmp_path / "mnt" / "hung"
    [missing, hangs] = files.check_mounts({str(gone): "missing", str(hung): "hangs"})
    assert run_as_root(missing, tmp_path) == f"mount {gone}\n"
    assert gone.is_dir(), "mount needs the folder"
    calls = run_as_root(hangs, tmp_path)
    assert calls.splitlines()[1:] == [f"umount -l {hung}", f"mount {hung}"]

"""What the doctor finds about the users of tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.cli.doctor.user_checks import check_task_users
from trio_afrender.config import Config, TaskProcesses
from trio_afrender.process.task_user import TaskUser
from trio_afrender.user_switch import CAPABILITIES, UserIds

OTHER = TaskUser(name="render", ids=UserIds(70001, 70001, (70001,)))
ROOT = TaskUser(name="root", ids=UserIds(0, 0, (0,)))


def check(
    user: str,
    *,
    users: Callable[[str], TaskUser | None] = lambda _: OTHER,
    missing: Collection[str] = (),
    granted: Collection[str] = (),
    store: Path = Path("/nonexistent/store"),
    python: Path = Path("/nonexistent/bin/python"),
) -> list[Finding]:
    config = Config(name="n", store=store, tasks=TaskProcesses(user=user))
    return list(
        check_task_users(
            config,
            find=users,
            missing=lambda: missing,
            granted=lambda _unit: granted,
            python=python,
        )
    )


def test_without_a_user_of_their_own_that_is_reported() -> None:
    (finding,) = check("")
    assert finding.level == ("warning" if os.geteuid() == 0 else "ok")
    assert "tasks.user is not set" in finding.text


def test_a_table_without_rows_is_an_error() -> None:
    (finding,) = check("job")
    assert (finding.level, finding.check) == ("error", "tasks-user")


@pytest.mark.parametrize(
    ("found", "text", "fix"),
    [
        (None, "which this host does not have", "useradd --system --create-home render"),
        (ROOT, "is root", "tasks.user render"),
    ],
)
def test_a_user_that_cannot_be_is_an_error(found: TaskUser | None, text: str, fix: str) -> None:
    findings = [each for each in check("render", users=lambda _: found) if each.level == "error"]
    assert len(findings) == 1
    assert text in findings[0].text
    assert fix in findings[0].fix


def test_capabilities_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (finding,) = (each for each in check("render", missing=["CAP_KILL"]) if each.level == "error")
    assert "lacks CAP_KILL" in finding.text
    assert f"AmbientCapabilities={' '.join(CAPABILITIES)}" in finding.fix
    findings = check("render", missing=list(CAPABILITIES), granted=list(CAPABILITIES))
    assert not [each for each in findings if each.level == "error"], "the unit grants them"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (finding,) = (
        each for each in check("render", missing=["CAP_SYS_PTRACE"]) if each.level == "error"
    )
    assert finding.fix == "docker run --cap-add=SYS_PTRACE ..."


def test_a_folder_that_the_user_cannot_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    findings = check("render", store=closed / "store")
    (finding,) = (each for each in findings if each.level == "error")
    # One of the parents may be closed as well, as pytest's own are.
    assert finding.text.startswith('user "render" cannot enter /')
    assert "--store" in finding.fix
    (finding,) = (each for each in check("render", python=closed / "python") if each.fix)
    assert (finding.level, "Python" in finding.text) == ("warning", True)


def test_a_user_that_can_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = check("render")[-1]
    assert (finding.level, finding.text) == (
        "ok",
        "tasks run as other users of this host, render",
    )

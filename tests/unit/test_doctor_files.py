"""The doctor's findings about folders, tokens, plugins and settings, by facts."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from trio_afrender.cli.doctor import files
from trio_afrender.cli.doctor.files import (
    StoreFacts,
    check_mounts,
    check_plugin_folders,
    check_settings,
    check_token,
    compare_store,
)
from trio_afrender.config import Config
from trio_afrender.devtools.plugin_check import Report

GIB = 1024**3


def store(**changes: object) -> StoreFacts:
    return StoreFacts(path="/s/it is", parent="/s", **changes)  # type: ignore[arg-type]  # as its fields


@pytest.mark.parametrize(
    ("facts", "check", "level", "text", "fix"),
    [
        (store(writable=False, user=7), "store", "error", "not write to /s/it is", "chown 7 '/s/it is'"),
        (store(writable=False, exists=False), "store", "error", "not write to /s", "mkdir -p '/s/it is'"),
        (store(folder=False), "store", "error", "is a link or a file", "rm '/s/it is'"),
        (store(owner=5), "store", "error", "belongs to user 5, and this is user 0", "chown -R 0 '/s/it is'"),
        (store(problem="Input/output error"), "store", "error", "Input/output error", "--store DIR"),
        (store(mode=0o755), "store", "warning", "read by others (mode 755)", "chmod 700 '/s/it is'"),
        (store(free=1024), "space", "error", "1.0 KiB are free", "du -xh --max-depth=2 '/s/it is'"),
        (store(inodes=0), "space", "error", "no file can be created", "du -xh"),
        (store(free=GIB), "space", "warning", "1.0 GiB are free", "du -xh"),
        (store(inodes=99), "space", "warning", "99 inodes are free", "du -xh"),
        (store(kind="nfs4"), "store-disk", "warning", "on a nfs4 mount", "--store /var/tmp/afanasy"),
        (store(kind="tmpfs"), "store-disk", "warning", "a power failure loses", "--store /var/tmp/afanasy"),
        (store(sync=2.0), "store-disk", "warning", "a sync to the disk of /s/it is took 2.0 s", "iostat"),
    ],
)  # fmt: skip
def test_store(facts: StoreFacts, check: str, level: str, text: str, fix: str) -> None:
    [finding] = [each for each in compare_store(facts) if each.level != "ok"]
    assert (finding.check, finding.level) == (check, level)
    assert text in finding.text
    assert fix in finding.fix


def test_a_good_store_names_the_agent_that_uses_it() -> None:
    assert [each.level for each in compare_store(store())] == ["ok", "ok"]
    [used, _] = compare_store(store(locked_by="77"))
    assert used.text.endswith("in use by the agent with pid 77")
    [new, _] = compare_store(store(exists=False, inodes=None, sync=None))
    assert "(not created yet)" in new.text


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ({}, [("ok", "the paths map is empty")]),
        ({"/p": ""}, [("ok", "folders of the paths map: 1, all accessible")]),
        (
            {"/p": "", "/q": "missing", "/r": "closed"},
            [
                ("error", "/q of the paths map does not exist"),
                ("error", "this user may not enter /r of the paths map"),
            ],
        ),
        (
            {"/q": "hangs"},
            [("error", "/q of the paths map does not answer: tasks that use it would hang")],
        ),
    ],
)
def test_mounts(problems: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert [(each.level, each.text) for each in check_mounts(problems)] == expected


@pytest.mark.parametrize(("server", "level"), [("af://farm", ""), ("wss://farm:1", "warning")])
def test_no_token(server: str, level: str) -> None:
    findings = list(check_token(Config(name="n1", server=server), ""))
    assert [each.level for each in findings] == ([level] if level else [])
    assert all("--token-file ~/.config/afrender.token" in each.fix for each in findings)


@pytest.mark.parametrize(
    ("token", "mode", "level", "fix"),
    [
        ("x" * 32, 0o600, "ok", ""),
        ("x" * 32, 0o644, "error", "chmod 600 "),
        ("", 0o600, "error", "ls -l "),
        (None, 0, "error", "ls -l "),
    ],
)
def test_token(tmp_path: Path, token: str | None, mode: int, level: str, fix: str) -> None:
    path = tmp_path / "it is"
    if token is not None:
        path.write_text(token)
        path.chmod(mode)
    [finding] = check_token(Config(name="n1"), str(path))
    assert (finding.level, finding.fix) == (level, f"{fix}'{path}'" if fix else "")


def test_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(name="n1")
    assert [each.level for each in check_plugin_folders(config)] == ["ok"]
    good = Report(kind="meter", name="a")
    bad = [
        Report(kind="parser", name="moth", problems=("Traceback:\n  ...\nSyntaxError\n",)),
        Report(kind="meter", name="m n", problems=("no",)),
    ]
    reports = [good]
    monkeypatch.setattr(files, "check_plugins", lambda *_args, **_options: reports)
    config = attrs.evolve(config, plugins=(tmp_path,))
    assert [each.level for each in check_plugin_folders(config)] == ["ok"]
    reports += bad
    config = attrs.evolve(config, plugins=(Path("/b c"), tmp_path))
    first, second, third = check_plugin_folders(config)
    assert (first.text, first.fix) == ("the plugin folder /b c does not exist", "ls -ld '/b c'")
    assert (second.text, second.fix) == (
        "parser moth: SyntaxError",
        f"trio_afrender check --plugins {tmp_path}",
    )
    assert third.fix == f"trio_afrender check meter 'm n' --plugins {tmp_path}"
    assert {each.level for each in (first, second, third)} == {"error"}


def test_settings() -> None:
    keys = ["af_render_nise", "af_render_nice", "studio_key", "af_completely_other"]
    [typo] = check_settings(keys, ())
    assert typo.text == ('the setting "af_render_nise" is unknown, did you mean "af_render_nice"?')
    [problem] = check_settings((), ("x.json: not JSON",))
    assert (problem.level, problem.text) == ("warning", "x.json: not JSON")
    assert [each.level for each in check_settings(keys[1:], ())] == ["ok"]

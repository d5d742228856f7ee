"""The doctor's findings about folders, tokens, plugins and settings, by facts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import attrs
import pytest

from trio_afrender import private_folder
from trio_afrender.cli.doctor import files
from trio_afrender.cli.doctor.files import (
    check_mounts,
    check_plugin_folders,
    check_settings,
    check_store,
    check_token,
    compare_disk,
    compare_space,
)
from trio_afrender.cli.doctor.finding import Finding
from trio_afrender.cli.doctor.windows_host import check_windows_store
from trio_afrender.config import Config
from trio_afrender.devtools.plugin_check import Report

GIB = 1024**3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an agent that is in good order; its disk, too."""
    monkeypatch.setattr(files, "_file_system_type", lambda _: "ext4")
    monkeypatch.setattr(files, "_time_sync", lambda _: 0.001)
    path = tmp_path / "it is" / "trio_afrender" / "n1"
    path.mkdir(parents=True, mode=0o700)
    return path


def store(folder: Path) -> list[Finding]:
    found = check_store(Config(name="n1", store=folder.parent.parent))
    return [each for each in found if each.check == "store"]


def test_a_good_store(folder: Path) -> None:
    [good] = store(folder)
    assert good.level == "ok"
    folder.rmdir()
    [new] = store(folder)
    assert (new.level, "(not created yet)" in new.text) == ("ok", True)


def test_a_store_that_is_not_a_folder(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to(folder.parent)
    [finding] = store(folder)
    assert (finding.level, finding.fix) == ("error", f"mv '{folder}' '{folder}.old'")
    assert "is a link or a file" in finding.text


def test_a_store_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 7)
    [finding] = store(folder)
    assert (finding.level, finding.fix) == ("error", f"chown -R {owner + 7} '{folder}'")
    assert finding.how == "root"
    assert f"belongs to user {owner}, and this is user {owner + 7}" in finding.text


def test_a_store_below_a_folder_that_others_may_write(folder: Path) -> None:
    above = folder.parent
    above.chmod(0o777)
    [finding] = store(folder)
    assert (finding.level, finding.fix) == ("error", f"chmod go-w '{above}'")
    assert finding.text.startswith(f"{above} can be written by others (mode 777)")
    above.chmod(0o700)


@pytest.mark.parametrize("name", ["a b", "..", "a/b", "é", "x" * 201])
def test_a_name_that_no_agent_can_have(tmp_path: Path, name: str) -> None:
    for check in (check_store, check_windows_store):
        [finding] = check(Config(name=name, store=tmp_path))
        assert (finding.check, finding.level, finding.how) == ("store", "error", "hand")
        assert finding.text.startswith(f'the name "{name}" cannot be a folder')
    assert [*tmp_path.iterdir()] == []


def test_a_store_that_cannot_be_looked_at(tmp_path: Path) -> None:
    # As below a folder that is closed to this user: `Path.exists` raises for both.
    [finding] = check_store(Config(name="n1", store=tmp_path / ("x" * 300)))
    assert (finding.check, finding.level) == ("store", "error")
    assert finding.text.endswith(f"{'x' * 300}/trio_afrender/n1 cannot be used: File name too long")


def test_a_store_that_may_not_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    [finding] = store(folder)
    assert (finding.level, finding.text) == ("error", f"this user may not write to {folder}")
    folder.rmdir()
    [finding] = store(folder)
    assert finding.text == f"this user may not write to {folder.parent}"
    assert finding.fix == f"mkdir -p '{folder}' && chown {os.getuid()} '{folder}'"
    assert finding.how == "root"


def test_a_store_on_a_broken_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> float:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "_time_sync", fail)
    [finding] = store(folder)
    assert (finding.level, finding.fix) == ("error", "trio_afrender agent --store DIR")
    assert finding.text.endswith("cannot be written, synced or locked: Input/output error")


def test_a_store_that_others_can_read(folder: Path) -> None:
    folder.chmod(0o755)
    [finding, _] = store(folder)
    assert (finding.level, finding.fix) == ("warning", f"chmod 700 '{folder}'")
    assert "read by others (mode 755)" in finding.text


@pytest.mark.parametrize(
    ("free", "inodes", "level", "text"),
    [
        (10 * GIB, None, "ok", "10.0 GiB are free"),
        (1024, None, "error", "only 1.0 KiB are free"),
        (10 * GIB, 0, "error", "no file can be created"),
        (GIB, None, "warning", "only 1.0 GiB are free"),
        (10 * GIB, 99, "warning", "only 99 inodes are free"),
    ],
)
def test_space(tmp_path: Path, free: int, inodes: int | None, level: str, text: str) -> None:
    [finding] = compare_space(tmp_path / "it is" / "n1", free, inodes)
    assert (finding.check, finding.level) == ("space", level)
    assert text in finding.text
    fix = f"du -xh --max-depth=2 {tmp_path} | sort -h | tail"
    assert finding.fix == ("" if level == "ok" else fix)


@pytest.mark.parametrize(
    ("kind", "sync", "text", "fix"),
    [
        ("ext4", 0.1, "", ""),
        ("nfs4", 0.1, "on a nfs4 mount", "--store /var/tmp/afanasy"),
        ("tmpfs", 0.1, "a power failure loses", "--store /var/tmp/afanasy"),
        ("ext4", 2.0, "a sync to the disk of /s took 2.0 s", "iostat"),
    ],
)
def test_disks(kind: str, sync: float, text: str, fix: str) -> None:
    findings = list(compare_disk(Path("/s"), kind, sync))
    assert [(each.check, each.level) for each in findings] == (
        [("store-disk", "warning")] if text else []
    )
    assert all(text in each.text and fix in each.fix for each in findings)


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
        ({"/q": "no thread"}, [("warning", "/q of the paths map was not looked at: no thread")]),
    ],
)
def test_mounts(problems: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert [(each.level, each.text) for each in check_mounts(problems)] == expected


@pytest.mark.parametrize(("server", "level"), [("af://farm", ""), ("wss://farm:1", "warning")])
def test_no_token(server: str, level: str) -> None:
    findings = list(check_token(Config(name="n1", server=server), ""))
    assert [each.level for each in findings] == ([level] if level else [])
    assert all(each.fix.startswith("trio_afrender token n1 --out") for each in findings)


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


def test_a_token_on_windows_has_no_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 32)
    path.chmod(0o666)  # what Windows shows for every file
    for name in ("getuid", "geteuid"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(private_folder, "_WINDOWS", True)
    [finding] = check_token(Config(name="n1"), str(path))
    assert (finding.level, finding.text) == ("ok", f"{path} has a token")


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
    long = attrs.evolve(config, plugins=(tmp_path / ("x" * 300),))
    [finding] = check_plugin_folders(long)
    assert finding.text.endswith("xxx cannot be used: File name too long")
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
    good = dict.fromkeys(["af_render_nice", "studio_key", "af_completely_other"], "/c.json")
    [typo] = check_settings({"af_render_nise": "/c.json", **good}, ())
    assert typo.text == (
        'the setting "af_render_nise" in /c.json is unknown, did you mean "af_render_nice"?'
    )
    [problem] = check_settings({}, ("x.json:7:1: not JSON",))
    assert (problem.level, problem.text) == ("warning", "x.json:7:1: not JSON")
    assert (problem.fix, problem.how) == ("sed -n 7p x.json", "look")
    assert [each.level for each in check_settings(good, ())] == ["ok"]

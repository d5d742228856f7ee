"""The doctor's findings about folders, tokens, plugins and settings, by facts."""

from __future__ import annotations

import pytest

from trio_afrender.cli.doctor.files import (
    MountFacts,
    PluginFacts,
    StoreFacts,
    TokenFacts,
    check_mounts,
    check_plugin_folders,
    check_settings,
    check_store,
    check_token,
)

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
    [finding] = [each for each in check_store(facts) if each.level != "ok"]
    assert (finding.check, finding.level) == (check, level)
    assert text in finding.text
    assert fix in finding.fix


def test_a_good_store_names_the_agent_that_uses_it() -> None:
    assert [each.level for each in check_store(store())] == ["ok", "ok"]
    [used, _] = check_store(store(locked_by="77"))
    assert used.text.endswith("in use by the agent with pid 77")
    [new, _] = check_store(store(exists=False, inodes=None, sync=None))
    assert "(not created yet)" in new.text


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ((), [("ok", "the paths map is empty")]),
        ((MountFacts(path="/p"),), [("ok", "folders of the paths map: 1, all accessible")]),
        (
            (
                MountFacts(path="/p"),
                MountFacts(path="/q", state="missing"),
                MountFacts(path="/r", state="closed"),
            ),
            [
                ("error", "/q of the paths map does not exist"),
                ("error", "this user may not enter /r of the paths map"),
            ],
        ),
        (
            (MountFacts(path="/q", state="hangs"),),
            [("error", "/q of the paths map does not answer: tasks that use it would hang")],
        ),
    ],
)
def test_mounts(mounts: tuple[MountFacts, ...], expected: list[tuple[str, str]]) -> None:
    assert [(each.level, each.text) for each in check_mounts(mounts)] == expected


@pytest.mark.parametrize(
    ("facts", "level", "fix"),
    [
        (TokenFacts(wanted=False), "", ""),
        (TokenFacts(), "warning", "--token-file ~/.config/afrender.token"),
        (TokenFacts(path="/t"), "ok", ""),
        (TokenFacts(path="/t", mode=0o644, problem="it is open"), "error", "chmod 600 /t"),
        (TokenFacts(path="/t", problem="token file /t does not exist"), "error", "ls -l /t"),
    ],
)
def test_token(facts: TokenFacts, level: str, fix: str) -> None:
    findings = list(check_token(facts))
    assert [each.level for each in findings] == ([level] if level else [])
    assert all(fix in each.fix for each in findings)


def test_plugins() -> None:
    assert [each.level for each in check_plugin_folders(PluginFacts())] == ["ok"]
    assert [each.level for each in check_plugin_folders(PluginFacts(folders=("/a",), good=3))] == [
        "ok"
    ]
    facts = PluginFacts(
        folders=("/a",), missing=("/b c",), bad=(("parser moth", "SyntaxError"), ("meter m", "no"))
    )
    first, second, third = check_plugin_folders(facts)
    assert (first.text, first.fix) == ("the plugin folder /b c does not exist", "ls -ld '/b c'")
    assert (second.text, second.fix) == (
        "parser moth: SyntaxError",
        "trio_afrender check --plugins /a",
    )
    assert third.fix == "trio_afrender check meter m --plugins /a"
    assert {each.level for each in (first, second, third)} == {"error"}


def test_settings() -> None:
    keys = ["af_render_nise", "af_render_nice", "studio_key", "af_completely_other"]
    [typo] = check_settings(keys, ())
    assert typo.text == ('the setting "af_render_nise" is unknown, did you mean "af_render_nice"?')
    [problem] = check_settings((), ("x.json: not JSON",))
    assert (problem.level, problem.text) == ("warning", "x.json: not JSON")
    assert [each.level for each in check_settings(keys[1:], ())] == ["ok"]

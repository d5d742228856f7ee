"""What the doctor makes of the facts of a Windows host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trio_afrender.cli.doctor.finding import OK, WARNING
from trio_afrender.cli.doctor.windows_host import (
    EXCLUSIONS,
    FILE_SYSTEM,
    WindowsFacts,
    compare_windows,
    is_network_path,
    parse_sleep,
    read_windows_facts,
)
from trio_afrender.config import Config

STORE = r"C:\temp\afanasy"


@pytest.mark.parametrize(
    ("facts", "check", "level", "text"),
    [
        (WindowsFacts(session=0), "session", WARNING, "session 0"),
        (WindowsFacts(session=0, titles=("x",)), "session", WARNING, "af_render_windowsmustdie"),
        (WindowsFacts(session=1), "session", OK, "session 1"),
        (WindowsFacts(sleeps_after=1800), "power", WARNING, "after 30 minutes"),
        (WindowsFacts(sleeps_after=0), "power", OK, "does not sleep"),
        (WindowsFacts(long_paths=False), "paths", WARNING, "260"),
        (WindowsFacts(long_paths=True), "paths", OK, "on"),
        (WindowsFacts(excluded=(), store=STORE), "scanner", WARNING, STORE),
        (WindowsFacts(excluded=("C:\\Temp",), store=STORE), "scanner", OK, "does not scan"),
        (WindowsFacts(excluded=("C:\\te",), store=STORE), "scanner", WARNING, STORE),
        (WindowsFacts(excluded=(STORE,), store="C:/temp/afanasy"), "scanner", OK, "does not"),
    ],
)
def test_facts_are_judged(facts: WindowsFacts, check: str, level: str, text: str) -> None:
    (found,) = compare_windows(facts)
    assert (found.check, found.level) == (check, level)
    assert text in found.text
    assert bool(found.fix) == (level == WARNING)


def test_what_cannot_be_read_is_no_finding() -> None:
    assert list(compare_windows(WindowsFacts())) == []


POWERCFG = """
Power Scheme GUID: 381b4222-f694-41f0-9685-ff5bb260df2e  (Balanced)
  Subgroup GUID: 238c9fa8-0aad-41ed-83f4-97be242c8f20  (Sleep)
    Power Setting GUID: 29f6c1db-86da-48c5-9fdb-f2b67b1f44da  (Sleep after)
      Minimum Possible Setting: 0x00000000
      Maximum Possible Setting: 0xffffffff
      Possible Settings increment: 0x00000001
    Current AC Power Setting Index: 0x00000708
    Current DC Power Setting Index: 0x00000384
"""


def test_the_time_until_sleep_on_mains() -> None:
    assert parse_sleep(POWERCFG) == 1800
    with pytest.raises(IndexError):
        parse_sleep("")


@pytest.mark.parametrize(
    ("drive", "kind", "network"),
    [
        ("C:", 3, False),
        ("P:", 4, True),
        ("\\\\server\\share", None, True),
        ("//server/share", 1, True),
        ("C:", None, False),
    ],
)
def test_which_folders_are_on_another_host(drive: str, kind: int | None, network: bool) -> None:
    assert is_network_path(drive, kind) is network


class Registry:
    """`winreg`, with a key's values."""

    HKEY_LOCAL_MACHINE = 1

    def __init__(self, values: dict[str, dict[str, object]]) -> None:
        self._values = values

    @contextmanager
    def OpenKey(self, root: int, name: str) -> Iterator[dict[str, object]]:
        if name not in self._values:
            raise PermissionError
        yield self._values[name]

    def QueryValueEx(self, key: dict[str, object], name: str) -> tuple[object, int]:
        if name not in key:
            raise FileNotFoundError
        return key[name], 4

    def QueryInfoKey(self, key: dict[str, object]) -> tuple[int, int, int]:
        return 0, len(key), 0

    def EnumValue(self, key: dict[str, object], index: int) -> tuple[str, object, int]:
        return list(key)[index], 0, 4


@pytest.mark.parametrize(
    ("values", "long_paths", "excluded"),
    [
        ({FILE_SYSTEM: {"LongPathsEnabled": 1}, EXCLUSIONS: {STORE: 0}}, True, (STORE,)),
        ({FILE_SYSTEM: {"LongPathsEnabled": 0}, EXCLUSIONS: {}}, False, ()),
        ({FILE_SYSTEM: {}}, None, None),
        ({}, None, None),
    ],
)
def test_what_the_registry_has(
    values: dict[str, dict[str, object]],
    long_paths: bool | None,
    excluded: tuple[str, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "winreg", Registry(values))
    facts = read_windows_facts(Config(name="r"))
    assert (facts.long_paths, facts.excluded) == (long_paths, excluded)

"""The manual for plugin authors: every file in it is written, loaded and run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsers import parser
from trio_afrender.plugins.lookup import load_class

MANUAL = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(kind: str) -> Iterator[str]:
    return (text for found, text in BLOCK.findall(MANUAL) if found == kind)


def _name(text: str) -> str:
    found = re.match(r"# file: (\S+)\n", text)
    assert found, text
    return found.group(1)


FILES = {_name(text): text for text in _blocks("python")}
MOTH_LOG, MOTH_SHOWN, SERVICE_SHOWN = _blocks("text")


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """The manual's files in a folder."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "moth.log").write_text(MOTH_LOG, encoding="utf-8")
    return tmp_path


def _run(folder: Path, name: str) -> str:
    done = subprocess.run(
        [sys.executable, name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_a_file_or_a_text() -> None:
    assert {kind for kind, _ in BLOCK.findall(MANUAL)} == {"python", "text"}
    assert set(FILES) == {
        "studio/parsers/lamp.py",
        "studio/parsers/moth.py",
        "studio/parsers/secretive.py",
        "studio/services/moth.py",
        "studio/resmeters/moths.py",
        "test_moth.py",
        "try_moth.py",
        "try_service.py",
    }


def test_the_first_parser_prints_what_is_shown(studio: Path) -> None:
    printed = [line.rstrip() for line in _run(studio, "try_moth.py").splitlines()]
    shown = MOTH_SHOWN.splitlines()
    assert printed[-len(shown) :] == shown
    assert len(printed) == len(MOTH_LOG.splitlines())


def test_the_first_parser_finds_its_files(studio: Path) -> None:
    (studio / "moths").mkdir()
    for name in ("one.png", "two.png"):
        (studio / "moths" / name).write_bytes(b"x")
    moth: Any = load_class("parser", "moth", [studio / "studio"])()
    moth.setTaskInfo({"frames_num": 3, "wdir": str(studio)})
    moth.parse({"data": MOTH_LOG, "mode": "0:0"})
    assert moth.getFiles() == [str(studio / "moths" / name) for name in ("one.png", "two.png")]
    assert (moth.warning, moth.error, moth.activity) == (True, True, "moth 3")
    assert moth.problem == ""


def test_the_first_test_passes(studio: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_moth.py"],
        cwd=studio,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout


def test_the_first_service_prints_what_is_shown(studio: Path) -> None:
    assert _run(studio, "try_service.py") == SERVICE_SHOWN


def test_a_parser_without_a_table(studio: Path) -> None:
    made: Any = load_class("parser", "secretive", [studio / "studio"])()
    made.setTaskInfo({"frames_num": 1})
    made.parse({"data": "one\nLepidoptera\n", "mode": "RUN"})
    assert made.result == "one\nL***********\n"
    assert (made.percent, made.error) == (2, False)
    made.parse({"data": "", "mode": "RUN"})
    assert made.result is None
    made.parse({"data": "No More Moths\n", "mode": "0:0"})
    assert (made.percent, made.error, made.problem) == (3, True, "")


def test_a_table_of_failures(studio: Path) -> None:
    made: Any = load_class("parser", "lamp", [studio / "studio"])()
    made.setTaskInfo({"frames_num": 1})
    made.parse({"data": "30% lit\nwick 'a.wick' not found\nlamp: error 3\n", "mode": "RUN"})
    assert (made.percent, made.warning) == (30, True)
    assert made.report == "lamp: error 3; 1 missing asset: a.wick"
    made.parse({"data": "blown out\nall lit\n", "mode": "RUN"})
    assert (made.percent, made.badresult, made.problem) == (30, True, "")
    assert made.deciding_line == (4, "blown out")


def test_the_meter(studio: Path) -> None:
    made: Any = load_class("meter", "moths", [studio / "studio"])()
    assert made.do() is made
    assert (made.value, made.label) == (1, "1 moths")


def test_every_action_is_in_the_manual() -> None:
    base = {"ACTIVITY", "REPORT", "parser"}
    types = {"Found", "Progress", "Rule", "RuleParser", "rule", "fraction"}
    actions = [name for name in parser.__all__ if name not in base | types]
    missing = [name for name in actions if f"`{name}" not in MANUAL]
    assert missing == []


@pytest.mark.parametrize("kind", ["parser", "service"])
def test_every_method_is_in_the_manual(kind: str) -> None:
    base = load_class(kind, kind)
    names = [
        name for name in vars(base) if not name.startswith("_") and not name.startswith("str_")
    ]
    inner = {
        "doBaseCheck", "findMarkers", "findImage", "findFiles", "processResources", "toHTMLline", "recheck",
        "settings", "load_parser", "isSkippingExistingFiles",
    }  # fmt: skip
    assert [name for name in names if name not in inner and name not in MANUAL] == []

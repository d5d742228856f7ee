"""Which font a contact sheet takes for names in other scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_afrender.thumbnail import fonts
from trio_afrender.thumbnail.fonts import FontChoice, choose_font, parse_charset


def test_the_built_in_font_needs_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert choose_font(["Müller, Ωλγα, Ольга… “x” 5 €", "a\nb"]) == FontChoice()


@pytest.fixture
def fontconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of `fc-match`, whose answer is the file ``answer``."""
    program = tmp_path / "fc-match"
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/asked\ncat {tmp_path}/answer\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(fonts, "USUAL_FILES", ())
    return tmp_path


def test_a_font_that_has_them_is_taken(fontconfig: Path) -> None:
    (fontconfig / "answer").write_text("/fonts/cjk.ttc\n20-7e 4e00-9fff\n")
    assert choose_font(["カット 中文", "a"]) == FontChoice("/fonts/cjk.ttc", frozenset("カット"))
    asked = (fontconfig / "asked").read_text().splitlines()[-1]
    assert asked == ":charset=20-7e 30ab 30c3 30c8 4e2d 6587"


def test_characters_that_no_font_has_are_spelled(fontconfig: Path) -> None:
    (fontconfig / "answer").write_text("/fonts/latin.ttf\n20-7e a0-17f\n")
    font = choose_font(["中.exr"])
    assert font == FontChoice("", frozenset("中"))
    assert font.spell("é中.exr") == "é\\u4e2d.exr"


def test_without_fontconfig_usual_files_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "font.ttc"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(fonts, "USUAL_FILES", ("/nowhere.ttc", str(file)))
    assert choose_font(["中"]) == FontChoice("", frozenset("中"))
    file.touch()
    assert choose_font(["中"]) == FontChoice(str(file))


def test_a_charset_may_have_wrong_parts() -> None:
    assert parse_charset("20-7e x a0 5-") == (range(0x20, 0x7F), range(0xA0, 0xA1))

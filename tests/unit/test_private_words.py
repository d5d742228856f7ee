"""The search for private words: what it finds, what it leaves alone, and on which line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import private_words
from support.private_words import WordList, check_file, load_words, main

WORDS = WordList(
    [
        "# a comment",
        "",
        "zork\tfrobnicator",
        "fizzy\tbubbling",
        "by and by\tsoon",
        "`Quux`\tParser",
        "`qux_*`\tparse_*",
    ]
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a zork, two Zorks", ["zork", "Zorks"]),
        ("the zork's end", ["zork"]),
        ("open_zork ZORK_LIMIT OpenZork zork2", ["zork", "ZORK", "Zork", "zork"]),
        ("zorkmid unzorked", []),
        ("fizzies", ["fizzies"]),
        ("by and\n    by", ["by and by"]),
        ("by_and_by", ["by_and_by"]),
        ("by and, by", []),
        ('{"zork": 1}', []),
        ("Quux qux_file", []),
        ("`Quux` and ``qux_file``", ["Quux", "qux_file"]),
        ("`quux` `Quuxes` `Qux_file`", []),
    ],
)
def test_words_in_prose(text: str, found: list[str]) -> None:
    assert [match.found for match in WORDS.find_in_prose(text)] == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Quux", ["Quux"]),
        ("quux", []),
        ("qux_one", ["qux_one"]),
        ("a.b.Quux", ["Quux"]),
        ("package.zork.Other", ["zork"]),
    ],
)
def test_words_in_identifiers(name: str, found: list[str]) -> None:
    assert [match.found for match in WORDS.find_in_name(name)] == found


def find(path: Path, text: str) -> list[tuple[int, str]]:
    path.write_text(text, encoding="utf-8")
    return [(finding.line, finding.found) for finding in check_file(path, WORDS)]


def test_a_python_file(tmp_path: Path) -> None:
    source = '''"""A module.

Its zork is here.
"""
from other.zorks import (
    Quux,
)
# by and
# by
NAME = "zork"  # a string without a space is data
MESSAGE = (
    "text"
    " and a zork"
)


def qux_name(zork: int) -> str:
    """zork"""
    return f"the {zork} {zork.fizzy} zork"


chain = (
    NAME
    .zork
)
'''
    assert find(tmp_path / "code.py", source) == [
        (3, "zork"),
        (5, "zorks"),
        (6, "Quux"),
        (8, "by and by"),
        (13, "zork"),
        (17, "qux_name"),
        (17, "zork"),
        (18, "zork"),
        (19, "fizzy"),
        (19, "zork"),
        (24, "zork"),
    ]


def test_a_page(tmp_path: Path) -> None:
    text = 'First line.\nA zork, the `Quux`.\n\n    {"zork": true} --no-zork\n'
    assert find(tmp_path / "page.md", text) == [(2, "Quux"), (2, "zork"), (4, "zork")]


def test_file_names_count_and_other_files_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_words, "ROOT", tmp_path)
    assert find(tmp_path / "open_zork.py", "") == [(1, "zork")]
    assert find(tmp_path / "zork.txt", "zork") == []


@pytest.mark.parametrize("line", ["zork", "zork\t", "\tword", "Zork\tword", "zork mid 2\tword"])
def test_a_wrong_line_of_the_list(line: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        WordList([line])


def test_an_entry_stands_once() -> None:
    with pytest.raises(ValueError, match="new entry"):
        WordList(["zork\tone", "zork\ttwo"])


def test_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry, replacement = next(iter(load_words().entries.items()))
    page = tmp_path / "page.md"
    page.write_text(f"one\ntwo {entry}\n", encoding="utf-8")
    assert main([str(page)]) == 1
    assert capsys.readouterr().out == f'{page}:2: "{entry}", better: {replacement}\n'
    page.write_text("one\n", encoding="utf-8")
    assert main([str(page)]) == 0
    assert capsys.readouterr().out == ""

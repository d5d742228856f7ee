"""Shapes of lines: what is found by them is what a search of each line finds."""

from __future__ import annotations

import re

import pytest
from support.parsers import NAMES, PARSERS, load, read

from parsers._messages import Messages, Scanner, like, make_scanner
from parsers._rules import RuleParser, _tables_of
from parsers._shapes import TextIndex, shapes_of
from parsers.parser import new_frame, rule

RULE_PARSERS = [name for name in PARSERS if issubclass(load(name), RuleParser)]


@pytest.mark.parametrize("name", RULE_PARSERS)
def test_a_scan_finds_the_lines_that_mean_anything_alone(name: str) -> None:
    scanner = make_scanner(_tables_of(load(name)))  # type: ignore[arg-type]  # a RuleParser
    for log in NAMES:
        text = read(log).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        alone = [
            (match.start(), match.end(), verdict)
            for match in re.finditer(r"[^\n]+", text)
            if (verdict := scanner.judge(match.group())) is not None
        ]
        # Lines without any of the words are not judged at all.
        assert [one for one in alone if _has_word(scanner, text[one[0] : one[1]])] == scanner.scan(
            text
        ), log


def _has_word(scanner: Scanner, line: str) -> bool:
    return any(word in line.lower() for word in scanner._triggers)


def test_texts_with_digits_are_found_in_shapes() -> None:
    index = TextIndex(["R90000", "100%", "done"])
    shapes = shapes_of("R90000  45%\nr12345 100%\nnothing\nDone\n")
    for _ in range(2):  # searched, then remembered
        assert index.look_up(shapes.different) == {
            "r00000  00%": ("R90000",),
            "r00000 000%": ("R90000", "100%"),
            "done": ("done",),
        }
    assert shapes_of("Gr\u00f6\u00dfe 12").lines == ["gr??e 00"]
    assert TextIndex(["\u00dfe"]).look_up({"gr??e 00"}) == {"gr??e 00": ("\u00dfe",)}


def test_more_shapes_than_are_kept_change_nothing() -> None:
    index = TextIndex(["error"])
    for number in range(0, 30_000, 3000):
        words = [chr(97 + part) * (number // 3000 + 1) for part in range(26)]
        lines = [f"{one} {two} {three}" for one in words for two in words for three in words[:5]]
        batch = "\n".join([*lines, "an error", "x" * 500 + " error"])
        shapes = shapes_of(batch)
        assert set(index.look_up(shapes.different)) == {"an error", "x" * 500 + " error"}


def test_positions_are_those_of_the_lines() -> None:
    scanner = Scanner((Messages(markers=(like("error", r"^Error \d+"),)),))
    text = "one\n\nError 12\ntwo\nError 7"
    assert [text[start:end] for start, end, _ in scanner.scan(text)] == ["Error 12", "Error 7"]
    assert scanner.scan("one\ntwo\n") == []


@pytest.mark.parametrize(
    ("text", "wanted", "chosen", "numbers"),
    [
        ("one\ntwo 1\nthree\n", {"two 0"}, "two 1\n", [1]),
        ("one\ntwo 1\nthree\nTwo 2", {"two 0"}, "two 1\nTwo 2", [1, 3]),
        ("one\n\nthree\n", {"three"}, "three\n", [2]),
        ("a\nb\nc\n", {"a", "b", "c"}, "a\nb\nc\n", None),
    ],
)
def test_lines_are_selected_by_their_shapes(
    text: str, wanted: set[str], chosen: str, numbers: list[int] | None
) -> None:
    selected, shapes, found = shapes_of(text).select(text, wanted)
    assert (selected, found) == (chosen, numbers)
    assert shapes.lines[: len(found or ())] == [
        line for line in shapes_of(text).lines if line in wanted and found
    ]


@pytest.mark.parametrize("name", RULE_PARSERS)
def test_lines_that_mean_nothing_change_nothing_but_numbers_of_lines(name: str) -> None:
    """A batch of mostly other lines is read without them."""
    for log in NAMES:
        lines = read(log).decode("utf-8", "replace").splitlines()[:60]
        results = []
        for plain in ("", "a plain line\n" * 9):
            made = load(name)()
            made.setTaskInfo({"frames_num": 10, "wdir": ""})
            made.parse({"data": "".join(f"{line}\n{plain}" for line in lines), "mode": "RUN"})
            deciding = made.deciding_line
            number = deciding and 1 + (deciding[0] - 1) // (10 if plain else 1)
            results.append(
                (made.percent, made.frame, made.percentframe, made.activity, made.report,
                 made.warning, made.error, made.badresult, made.fatalerror, made.files_all,
                 made.missing_assets, deciding and deciding[1], number)
            )  # fmt: skip
        assert results[0] == results[1], log


def test_a_token_of_digits_is_found_by_the_text_before_it() -> None:
    one = rule("100", r"R90000 +100 *%", new_frame)
    assert (one.token, one.anchor) == ("100", "R90000")
    assert rule("100", r"\d+ of 100", new_frame).anchor == "100"
    assert rule("100%", r"a 100%|b 100%", new_frame).anchor == "100%"

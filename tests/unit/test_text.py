"""Text made safe or short."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.text import (
    clean_name,
    compile_mask,
    find_near,
    json_size,
    name_renders,
    printable,
    quote_some,
    shorten,
    show_json,
    suggest,
    to_bytes,
    utc_time,
    whole_utf8_length,
    without_escapes,
)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.jpg", "a.jpg"),
        ("/x/a.jpg", "a.jpg"),
        ("C:\\x\\a.jpg", "a.jpg"),
        ("..", ""),
        (". .", ""),
        ("", ""),
        ("a/", ""),
        ("a\nb", ""),
        ("\udcff", ""),
        ("ä" * 100, "ä" * 100),
        ("ä" * 101, ""),
    ],
)
def test_only_base_names_are_file_names(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_text_of_a_peer_is_one_printable_line() -> None:
    assert printable("a\x1b[1m\nä\udcff") == "a?[1m?ä?"
    assert printable("abc", 2) == "ab"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\x1b[1;31mred\x1b[0m\x1b[Kb", "aredb"),
        ("\x1b]0;title\x07a\x1b]8;;http://b\x1b\\link", "alink"),
        ("\x1b(Ba\x1b=b\x1b", "ab"),
        ("[1m \u009b1m", "[1m \u009b1m"),
    ],
)
def test_escape_sequences_of_terminals_are_removed(text: str, plain: str) -> None:
    assert without_escapes(text) == plain


def test_of_many_names_the_first_are_given() -> None:
    names = [f"r{i}" for i in range(4)]
    assert name_renders(names[:1]) == 'render "r0"'
    assert name_renders(names[:3]) == 'each of 3 renders ("r0", "r1", "r2")'
    assert name_renders(names) == 'each of 4 renders ("r0", "r1", "r2", ...)'
    assert quote_some([]) == ""


def test_long_text_ends_with_dots() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abc..."
    assert show_json({"ä": object}, 20).startswith('{"ä": "')
    assert len(show_json("x" * 100)) == 60
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert show_json(deep) == "a value that is nested too deeply"


@given(st.text(st.characters()))
def test_the_size_in_json_is_not_underestimated(text: str) -> None:
    assert len(json.dumps(text)) - 2 <= json_size(text) <= len(json.dumps(text))


@given(st.binary())
def test_printed_bytes_are_restored(data: bytes) -> None:
    assert to_bytes(data.decode("utf-8", "surrogateescape")) == data


def test_a_surrogate_that_stands_for_no_byte_becomes_a_question_mark() -> None:
    assert to_bytes("a\ud800") == b"a?"


def test_near_names_ignore_case_and_come_best_first() -> None:
    known = ("Blender", "blend", "maya")
    assert find_near("BLENDER", known, count=3) == ("Blender", "blend")
    assert find_near("nimbi", ("NIMBY", "nimby")) == ("nimby",)
    assert find_near("x" * 100_000, known) == ()
    assert suggest("mya", known) == ', did you mean "maya"?'
    assert suggest("nuke", known) == ""


def test_a_mask_with_a_text_that_python_warns_of_is_taken_without_a_warning() -> None:
    """Warnings are errors in tests; a job file of `make fuzz` had such a mask."""
    with pytest.warns(FutureWarning, match="nested set"):
        re.compile("no[[u]ch")
    pattern = compile_mask("a[[b]c", re.IGNORECASE)
    assert pattern.fullmatch("A[C")
    with pytest.raises(re.error):
        compile_mask("a[")


@given(st.text(), st.text(min_size=1, max_size=1), st.integers(0, 3))
def test_a_cut_character_is_not_counted(text: str, last: str, kept: int) -> None:
    whole, cut = text.encode(), last.encode()
    assert whole_utf8_length(whole) == len(whole)
    assert whole_utf8_length(whole + cut) == len(whole + cut)
    if kept < len(cut):
        assert whole_utf8_length(whole + cut[:kept]) == len(whole)


@given(st.binary())
def test_of_any_bytes_at_most_three_are_not_counted(data: bytes) -> None:
    assert len(data) - 3 <= whole_utf8_length(data) <= len(data)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01 00:00:00Z"),
        (1_796_000_000.9, "2026-11-30 00:53:20Z"),
        (1e300, "1e+300 s"),
        (float("inf"), "inf s"),
        (float("nan"), "nan s"),
    ],
)
def test_times_of_peers_that_are_no_dates(seconds: float, text: str) -> None:
    assert utc_time(seconds) == text

"""The batches have the same text and the same lines, however the bytes of a run arrive."""

from __future__ import annotations

import codecs
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.tasklog.line_splitter import MAX_LINE, LineBatcher

SMALL = 8

tricky = st.binary(max_size=4) | st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\r",
        "ä€𝄞".encode(),
        b"abcdefg",
        b"abcdefgh",
        b"abcdefghi",
        b"x" * 30,
    ]
)
outputs = st.lists(tricky, max_size=30).map(b"".join)
cuts = st.lists(st.integers(min_value=0, max_value=200), max_size=20)


def feed_in_parts(data: bytes, at: list[int], piece: int) -> tuple[LineBatcher, list[str]]:
    batcher = LineBatcher(piece)
    batches: list[str] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    for start, stop in pairwise(edges):
        batches += batcher.feed(data[start:stop])
        assert batcher.fed + len(batcher._rest) == stop
        assert len(batcher._rest) <= piece + 1
    return batcher, batches


def fragments_of(data: bytes, piece: int) -> list[str]:
    """Return the lines, or pieces of lines, that batches consist of: a slow and simple reference."""
    found: list[str] = []
    for match in re.finditer(rb"([^\r\n]*)(\r\n|\r|\n|\Z)", data):
        line, end = match.groups()
        while len(line) > piece:
            text, used = codecs.utf_8_decode(line[:piece], "replace", False)
            found.append(text)
            line = line[used:]
        if line or end:
            found.append((line + end).decode("utf-8", "replace"))
    return found


@given(outputs, cuts)
def test_any_chunking_gives_the_same_text_and_the_same_lines(data: bytes, at: list[int]) -> None:
    batcher, batches = feed_in_parts(data, at, SMALL)
    batches += batcher.finish()
    assert "".join(batches) == data.decode("utf-8", "replace")
    assert batcher.fed == len(data)
    assert batcher.tail == ""
    fragments = fragments_of(data, SMALL)
    # Each batch consists of whole fragments: batches end only where they may.
    for batch in batches:
        taken = ""
        while len(taken) < len(batch):
            taken += fragments.pop(0)
        assert taken == batch
    assert not fragments


@given(outputs, cuts)
def test_only_one_unfinished_line_is_held_back(data: bytes, at: list[int]) -> None:
    batcher, _ = feed_in_parts(data, at, SMALL)
    waiting = data[batcher.fed :]
    assert not re.search(rb"[\r\n].", waiting, re.DOTALL)
    assert batcher.tail == codecs.utf_8_decode(waiting, "replace", False)[0]


def test_a_character_split_by_reads_is_whole() -> None:
    batcher = LineBatcher()
    euro = "€".encode()
    assert batcher.feed(b"5 " + euro[:1]) == []
    assert batcher.tail == "5 "
    assert batcher.feed(euro[1:2]) == []
    assert batcher.feed(euro[2:] + b"\nrest") == ["5 €\n"]
    assert batcher.tail == "rest"
    assert batcher.finish() == ["rest"]


@pytest.mark.parametrize(
    ("chunks", "batches"),
    [
        ([b"a\r\nb\n"], ["a\r\nb\n"]),
        ([b"a\r", b"\nb\n"], ["a\r\nb\n"]),
        ([b"a\r", b"b\r", b"c\n"], ["a\r", "b\rc\n"]),
        ([b"a\nb\r", b"\n"], ["a\n", "b\r\n"]),
        ([b"\r", b"\r", b"\n"], ["\r", "\r\n"]),
        ([b"a\r"], ["a\r"]),
        ([b"", b"a", b"", b"\n", b""], ["a\n"]),
        ([b"\xff\xfe\n", b"\xe2\x82\n"], ["��\n", "�\n"]),
    ],
)
def test_line_ends(chunks: list[bytes], batches: list[str]) -> None:
    batcher = LineBatcher()
    assert [
        batch for chunk in chunks for batch in batcher.feed(chunk)
    ] + batcher.finish() == batches


def test_long_lines_come_in_pieces_from_their_own_start() -> None:
    long = b"x" * (2 * MAX_LINE + 10)
    batcher = LineBatcher()
    batches = batcher.feed(b"short\n" + long + b"\nnext\n")
    assert [len(batch) for batch in batches] == [6 + MAX_LINE, MAX_LINE, 10 + 6]
    assert "".join(batches) == "short\n" + long.decode() + "\nnext\n"


def test_a_line_of_exactly_one_piece_is_whole() -> None:
    batcher = LineBatcher()
    assert batcher.feed(b"x" * MAX_LINE) == []
    assert batcher.feed(b"\r") == []
    assert batcher.feed(b"\n") == ["x" * MAX_LINE + "\r\n"]


def test_a_program_that_never_ends_a_line_takes_no_memory() -> None:
    batcher = LineBatcher()
    shown = 0
    for _ in range(100):
        shown += sum(map(len, batcher.feed(b"." * 50_000)))
        assert len(batcher._rest) <= MAX_LINE
    assert shown + len(batcher.tail) == 5_000_000
    assert batcher.fed == shown


def test_a_batcher_can_be_used_again_after_finish() -> None:
    batcher = LineBatcher()
    batcher.feed(b"one")
    assert batcher.finish() == ["one"]
    assert batcher.finish() == []
    assert batcher.feed(b"two\n") == ["two\n"]
    assert batcher.fed == 7

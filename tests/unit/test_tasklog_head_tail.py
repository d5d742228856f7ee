"""Windows: the two ends of a log, and an exact statement of what is left out."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.tasklog import head_tail
from trio_afrender.tasklog.head_tail import make_window, missing_marker
from trio_afrender.tasklog.interfaces import Chunk, LogReader, Missing, Window
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.tasklog.redact import REDACTION_MARK, Redactor
from trio_afrender.tasklog.writer import open_writer

SECRET = "sekrit-ä-€-42"  # noqa: S105 - a value to redact


def store_of(data: bytes) -> MemoryLogStore:
    store = MemoryLogStore()
    store.append(data)
    return store


@attrs.frozen
class GappyLog:
    """A log with missing ranges."""

    data: bytes
    gaps: tuple[tuple[int, int], ...]

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, limit: int) -> Chunk:
        for start, stop in self.gaps:
            if offset < start:
                return Chunk(offset, self.data[offset : min(start, offset + limit)])
            offset = max(offset, stop) if offset < stop else offset
        return Chunk(offset, self.data[offset : offset + limit])

    def missing(self, before: int) -> Missing:
        cut = [self.data[start : min(stop, before)] for start, stop in self.gaps if start < before]
        return Missing(sum(map(len, cut)), sum(part.count(b"\n") for part in cut))


def split_at_marker(window: Window) -> tuple[bytes, bytes]:
    marker = missing_marker(window.left_out_bytes, window.left_out_lines)
    head, tail = window.text.split(marker)
    return head.encode("utf-8", "surrogateescape"), tail.encode("utf-8", "surrogateescape")


def test_a_log_that_fits_is_shown_whole() -> None:
    window = make_window(store_of("a\nä\0b\n".encode() + b"\xff\xfe"), 100)
    assert window == Window(text="a\nä\u2400b\n\udcff\udcfe", size=9)
    assert make_window(store_of(b""), 100) == Window(text="", size=0)
    assert make_window(store_of(b"x" * 100), 100).text == "x" * 100


def test_the_middle_is_left_out_between_lines() -> None:
    data = b"".join(b"%09d\n" % number for number in range(1000))
    window = make_window(store_of(data), 1234)
    head, tail = split_at_marker(window)
    assert data.startswith(head)
    assert data.endswith(tail)
    assert len(head) == len(tail) == 610
    assert window.left_out_bytes == 10_000 - 1220
    assert window.left_out_lines == 1000 - 122
    assert window.size == 10_000


def test_the_marker_is_a_line_of_its_own() -> None:
    window = make_window(store_of(b"x" * 100), 10)
    assert window.text == f"xxxxx\n{missing_marker(90, 0)}xxxxx"
    assert window.left_out_bytes == 90
    assert missing_marker(1, 1) == "--- trio_afrender: 1 byte, 1 line of output left out here ---\n"


def test_no_character_is_split() -> None:
    window = make_window(store_of("€".encode() * 100), 20)
    head, tail = split_at_marker(window)
    assert (head.decode(), tail.decode()) == ("€€€\n", "€€€")
    assert window.left_out_bytes == 300 - 18


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_tiny_limits(limit: int) -> None:
    window = make_window(store_of(b"\n" * 50), limit)
    assert window.left_out_bytes + limit >= 50
    assert window.left_out_bytes == window.left_out_lines


hostile = st.lists(
    st.sampled_from(
        [b"\n", b"\0", b"a", b"\xff", b"\xe2\x82", "€".encode(), SECRET.encode(), b"word " * 5]
    )
    | st.binary(max_size=6),
    max_size=60,
).map(b"".join)


@given(hostile, st.integers(0, 80), st.lists(st.integers(0, 400), max_size=4))
def test_the_numbers_are_exact_and_the_text_is_bounded(
    data: bytes, limit: int, edges: list[int]
) -> None:
    places = sorted({min(edge, len(data)) for edge in edges})
    gaps = tuple(zip(places[::2], places[1::2], strict=False))
    window = make_window(GappyLog(data, gaps), limit)
    marker = missing_marker(window.left_out_bytes, window.left_out_lines)
    assert window.size == len(data)
    if marker not in window.text:
        assert window.left_out_bytes == window.left_out_lines == 0
        assert not gaps
        text = data.decode("utf-8", "surrogateescape").replace("\0", "\u2400")
        assert window.text == text
        assert len(window.text) <= limit
        return
    head_text, tail_text = window.text.split(marker)
    head, tail = (
        part.replace("\u2400", "\0").encode("utf-8", "surrogateescape")
        for part in (head_text, tail_text)
    )
    if len(head) + len(tail) + window.left_out_bytes > len(data):
        head = head[:-1]  # the line feed between it and the marker
    assert data.startswith(head)
    assert data.endswith(tail)
    assert len(head_text) + len(tail_text) <= limit + 1
    middle = data[len(head) : len(data) - len(tail)]
    assert window.left_out_bytes == len(middle)
    assert window.left_out_lines == middle.count(b"\n")


@given(hostile, st.integers(0, 80), st.lists(st.integers(0, 400), max_size=2))
def test_no_part_of_a_secret_is_shown(data: bytes, limit: int, edges: list[int]) -> None:
    data = data.replace(b"sekrit", b"") + SECRET.encode() * 3
    places = sorted({min(edge, len(data)) for edge in edges})
    gaps = tuple(zip(places[::2], places[1::2], strict=False))
    window = make_window(GappyLog(data, gaps), limit, Redactor([SECRET]))
    marker = missing_marker(window.left_out_bytes, window.left_out_lines)
    assert len(window.text) <= limit + len(marker) + 1
    # Three characters of the secret in a row do not occur elsewhere in these texts.
    shown = window.text.replace(marker, "").replace(REDACTION_MARK, "")
    whole = data.decode("utf-8", "surrogateescape").replace(SECRET, "")
    for at in range(len(SECRET) - 2):
        assert SECRET[at : at + 3] not in shown or SECRET[at : at + 3] in whole


def test_a_secret_that_the_cuts_split_is_left_out() -> None:
    data = b"x" * 40 + SECRET.encode() + b"y" * 40 + SECRET.encode() + b"z" * 40
    shown = make_window(store_of(data), 100, Redactor([SECRET]))
    head, tail = split_at_marker(shown)
    assert head == b"x" * 40 + b"\n"
    assert tail == b"z" * 40


def test_secrets_shorter_than_their_mark_do_not_break_the_limit() -> None:
    window = make_window(store_of(b"123456" * 100), 600, Redactor(["123456"]))
    marker = missing_marker(window.left_out_bytes, window.left_out_lines)
    head, tail = window.text.split(marker)
    assert len(head) <= 301
    assert len(tail) <= 300
    assert head.replace(REDACTION_MARK, "") == "\n"
    assert tail.replace(REDACTION_MARK, "") == ""
    assert tail.count(REDACTION_MARK) == 30


@pytest.mark.parametrize("chunk", [1, 5, 12, 13, 20, 31, 1000])
def test_a_secret_named_where_lines_are_left_out_is_found(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its line is divided by the reads that count lines."""
    monkeypatch.setattr(head_tail, "_CHUNK", chunk)
    for filler in range(13):
        middle = b"." * filler + b"\n::add-mask::hunter2-of-task\r\nlater\n"
        data = b"begin\n" * 20 + middle + b"hunter2-of-task\n" + b"end\n" * 20
        redactor = Redactor(())
        window = make_window(store_of(data).reader(), 120, redactor)
        assert redactor.learned == ("hunter2-of-task",)
        assert window.left_out_lines == data.count(b"\n") - window.text.count("\n") + 1


def test_dropped_segments_are_counted(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, quota=4000, segment=1000, held=10)
    data = b"".join(b"%d\n" % number for number in range(5000))
    for at in range(0, len(data), 777):
        writer.append(data[at : at + 777])
    window = make_window(writer.reader(), 500)
    head, tail = split_at_marker(window)
    assert data.startswith(head)
    assert data.endswith(tail)
    assert window.left_out_bytes == len(data) - len(head) - len(tail)
    assert window.left_out_lines == 5000 - head.count(b"\n") - tail.count(b"\n")


@attrs.define
class Shrinking:
    """A log that drops a segment while its window is made, `times` times."""

    log: LogReader
    times: int
    calls: int = 0

    def size(self) -> int:
        return self.log.size()

    def read(self, offset: int, limit: int) -> Chunk:
        return self.log.read(offset, limit)

    def missing(self, before: int) -> Missing:
        self.calls += 1
        return Missing(0, 1000 + self.calls) if self.calls <= self.times else Missing()


def test_a_drop_while_counting_means_counting_again() -> None:
    log = store_of(b"line\n" * 1000)
    window = make_window(Shrinking(log, 3), 100)
    assert window.left_out_lines == window.left_out_bytes // 5
    # A log that drops segments all the time has a window too.
    assert make_window(Shrinking(log, 10**6), 100).left_out_bytes == window.left_out_bytes

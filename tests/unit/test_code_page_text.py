"""Output of programs in the code page of a console: stored as UTF-8, whatever the parts it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.process.windows.code_page_text import MAX_UNFINISHED, CodePageText


def convert(code_page: int, *parts: bytes) -> bytes:
    text = CodePageText(code_page)
    return b"".join([*map(text.feed, parts), text.finish()])


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("code_page", "printed", "stored"),
    [
        (1252, b"caf\xe9 5 \x80\r\n", "caf\xe9 5 \u20ac\r\n".encode()),
        (850, b"caf\x82\n", "caf\xe9\n".encode()),
        (932, b"\x83\x5c\x83t\x83g 100 %\n", "\u30bd\u30d5\u30c8 100 %\n".encode()),
        (1252, "gr\xfcn\n".encode() + b"gr\xfcn\n", "gr\xfcn\ngr\xfcn\n".encode()),
        (1252, b"gr\xfcn\r" + "gr\xfcn\n".encode(), "gr\xfcn\rgr\xfcn\n".encode()),
        (1252, b"no end \xe9", "no end \xe9".encode()),
        (1252, b"\x81\xe9\n", b"\x81" + "\xe9\n".encode()),
        (65001, b"\xff\xfe\n", b"\xff\xfe\n"),
        (4711, b"caf\xe9\n", b"caf\xe9\n"),
        (932, b"\x83", b"\x83"),
        (1252, b"", b""),
    ],
)
def test_lines_that_are_not_utf8(code_page: int, printed: bytes, stored: bytes) -> None:
    assert convert(code_page, printed) == stored


@pytest.mark.parametrize(
    "printed", [b"caf\xe9\n", b"\xe9\xe9\n", b"a\nb \xe9 c\nd \xe9", b"\xe2\x82"]
)
def test_single_bytes_of_a_code_page(printed: bytes) -> None:
    assert convert(1252, *single_bytes(printed)) == printed.decode("cp1252").encode()


@given(st.text(), st.integers(1, 8))
def test_utf8_stays_as_it_is_in_parts_of_any_size(text: str, size: int) -> None:
    data = text.encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert convert(1252, *parts) == data


@given(st.lists(st.binary()))
def test_no_byte_is_lost_and_few_wait(parts: list[bytes]) -> None:
    text = CodePageText(437)  # has a character for each byte, so that length shows a loss
    fed = stored = 0
    for part in parts:
        fed += len(part)
        stored += len(text.feed(part))
        assert stored >= fed - MAX_UNFINISHED
    assert stored + len(text.finish()) >= fed

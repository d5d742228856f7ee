"""Chunks of a log: a parser's final state does not depend on them, and their offsets are exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.plugins import make_spec, make_worker, parse_all

from trio_afrender.plugins import log_chunks
from trio_afrender.plugins.log_chunks import LogChunks
from trio_afrender.tasklog.memory_log import MemoryLogStore

PIECES = st.sampled_from(
    [
        b"FRAME",
        b"\n",
        b"\r",
        b"\r\n",
        b"BADFRAME",
        b"#",
        "é€😀".encode(),
        b"\xff",
        b"\xe2\x82",
        b"\xf0",
    ]
)
LOGS = st.lists(st.one_of(PIECES, st.binary(max_size=5)), max_size=40).map(b"".join)
LONG = st.tuples(LOGS, st.integers(0, 3), LOGS).map(
    lambda parts: parts[0] + (b"y\xe2\x82#FRAME" * 8000) * parts[1] + parts[2]
)


@given(st.one_of(LOGS, LONG), st.lists(st.integers(0, 300_000), max_size=12))
def test_the_final_state_does_not_depend_on_the_chunks(data: bytes, cuts: list[int]) -> None:
    spec = make_spec("counts")
    whole = parse_all(spec, data)
    worker, store = make_worker(spec)
    start, warned = 0, False
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        store.append(data[start:cut])
        start = cut
        warned = worker.parse(cut).warning or warned
    store.append(data[start:])
    last = worker.parse(len(data), mode="0:0")
    assert last.resources == whole.resources
    assert last.frame == whole.frame
    assert last.consumed == whole.consumed == len(data)
    assert (warned or last.warning) == whole.warning
    assert worker.problems() == ()


@given(LOGS, st.lists(st.integers(0, 200), max_size=8), st.integers(0, 200))
def test_spans_are_contiguous_and_decode_to_their_texts(
    data: bytes, cuts: list[int], last: int
) -> None:
    store = MemoryLogStore()
    store.append(data)
    chunks = LogChunks(store)
    end = 0
    for cut in [*sorted(cuts), len(data)]:
        for chunk in chunks.read(min(cut, len(data))):
            for index, text in enumerate(chunk.texts):
                start, stop = chunk.span(index)
                assert start == end
                assert data[start:stop].decode("utf-8", "replace") == text
                end = stop
        assert chunks.consumed == end
    chunk = chunks.finish()
    assert "".join(chunk.texts) == data[end:].decode("utf-8", "replace")
    assert chunks.consumed == len(data)


def test_a_large_log_is_read_in_several_chunks() -> None:
    store = MemoryLogStore()
    line = b"z" * 99 + b"\n"
    store.append(line * (3 * log_chunks.CHUNK_SIZE // 100))
    chunks = list(LogChunks(store).read(store.size()))
    assert len(chunks) == 3
    assert max(len(chunk.raw) for chunk in chunks) <= log_chunks.CHUNK_SIZE + 100
    assert (
        "".join(text for chunk in chunks for text in chunk.texts).encode()
        == store.read(0, store.size()).data
    )

"""However a log arrives, a parser knows the same in the end."""

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
def test_any_cutting_of_a_log_parses_alike(data: bytes, cuts: list[int]) -> None:
    spec = make_spec("counts")
    whole = parse_all(spec, data)
    worker, store = make_worker(spec)
    at, warned = 0, False
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        store.append(data[at:cut])
        at = cut
        warned = worker.parse(cut).warning or warned
    store.append(data[at:])
    last = worker.parse(len(data), mode="0:0")
    assert last.resources == whole.resources
    assert last.frame == whole.frame
    assert last.consumed == whole.consumed == len(data)
    assert (warned or last.warning) == whole.warning
    assert worker.problems() == ()


@given(LOGS, st.lists(st.integers(0, 200), max_size=8), st.integers(0, 200))
def test_spans_join_and_decode_to_their_texts(data: bytes, cuts: list[int], last: int) -> None:
    store = MemoryLogStore()
    store.append(data)
    reading = LogChunks(store)
    end = 0
    for cut in [*sorted(cuts), len(data)]:
        for block in reading.read(min(cut, len(data))):
            for index, text in enumerate(block.texts):
                start, stop = block.span(index)
                assert start == end
                assert data[start:stop].decode("utf-8", "replace") == text
                end = stop
        assert reading.consumed == end
    block = reading.finish()
    assert "".join(block.texts) == data[end:].decode("utf-8", "replace")
    assert reading.consumed == len(data)


def test_a_log_larger_than_a_piece_is_read_in_pieces() -> None:
    store = MemoryLogStore()
    line = b"z" * 99 + b"\n"
    store.append(line * (3 * log_chunks.CHUNK_SIZE // 100))
    blocks = list(LogChunks(store).read(store.size()))
    assert len(blocks) == 3
    assert max(len(block.raw) for block in blocks) <= log_chunks.CHUNK_SIZE + 100
    assert (
        "".join(text for block in blocks for text in block.texts).encode()
        == store.read(0, store.size()).data
    )

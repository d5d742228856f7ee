"""The sizes of websocket messages, read from bytes that the library's own codec has written."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Ping, TextMessage

from trio_afrender.transport.message_sizes import MessageSizes

MESSAGES = st.lists(
    st.lists(st.sampled_from((0, 1, 5, 125, 126, 127, 65_535, 65_536, 70_000)), min_size=1),
    max_size=6,
)
"""The lengths of the fragments of each message."""


def encode(messages: Sequence[Sequence[int]], kind: ConnectionType) -> tuple[bytes, list[int]]:
    """Return the bytes of messages with pings in between, and the size of each message."""
    peer, wire, sizes = Connection(kind), b"", list[int]()
    for fragments in messages:
        size = 0
        for number, length in enumerate(fragments):
            last = number == len(fragments) - 1
            part = peer.send(TextMessage(data="x" * length, message_finished=last))
            size += len(part)
            wire += part + peer.send(Ping(payload=b"1234"))
        sizes.append(size)
    return wire, sizes


@given(MESSAGES, st.sampled_from(ConnectionType), st.lists(st.integers(1, 70_000)))
def test_sizes_are_found_at_any_chunking(
    messages: list[list[int]], kind: ConnectionType, steps: list[int]
) -> None:
    wire, expected = encode(messages, kind)
    sizes, fed = MessageSizes(), 0
    for step in [*steps, len(wire)]:
        sizes.feed(wire[fed : fed + step])
        fed += step
        assert sizes.pending == sum(sizes.finished) + sizes.unfinished <= fed
    assert list(sizes.finished) == expected
    assert sizes.unfinished == 0
    for _ in range(len(expected) + 1):
        sizes.consume()
    assert sizes.pending == 0


def test_bytes_of_an_unfinished_message_are_counted() -> None:
    wire, _ = encode([[70_000]], ConnectionType.CLIENT)
    sizes = MessageSizes()
    sizes.feed(wire[:50_000])
    assert (sizes.unfinished, len(sizes.finished)) == (50_000, 0)


def test_empty_fragments_are_counted_by_their_headers() -> None:
    wire, _ = encode([[0] * 1000 + [1]], ConnectionType.CLIENT)
    sizes = MessageSizes()
    sizes.feed(wire[:-20])
    assert sizes.unfinished > 5900

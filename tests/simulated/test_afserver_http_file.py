"""Files of tasks from a server: what it sends beside and behind them, and what it sends in their place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.http_file import fetch_file
from trio_afrender.afserver.json_api import to_json
from trio_afrender.errors import AfRenderError, LinkLost, LinkRefused, ProtocolError
from trio_afrender.transport.address import NativeAddress

HEAD = (
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\nContent-Type: image/png\r\n\r\n"
)


@asynccontextmanager
async def open_server(
    *parts: bytes, hangs: bool = False, host: str = "farm"
) -> AsyncIterator[tuple[Dialer, list[bytes]]]:
    """A server that answers everything with some bytes."""
    asked: list[bytes] = []
    async with trio.open_nursery() as nursery:

        async def serve(stream: trio.abc.Stream) -> None:
            asked.append(bytes(await stream.receive_some()))
            for part in parts:
                await stream.send_all(part)
            if hangs:
                await trio.sleep_forever()
            await stream.aclose()

        async def connect(_host: str, _port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve, theirs)
            return ours

        yield Dialer(NativeAddress(host=host, port=51000), open_stream=connect), asked
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("behind", [b"", b"\0" * 41])
async def test_a_file(behind: bytes, autojump_clock: MockClock) -> None:
    """An afserver 3.4.1 sends some bytes of its buffer behind each file."""
    async with open_server(HEAD, b"ab", b"cd" + behind) as (dialer, asked):
        assert await fetch_file(dialer, "/srv/2/0.0/files/a b\n.png", "the-token") == b"abcd"
    assert asked[0].startswith(b"GET /@TMP@/srv/2/0.0/files/a%20b%0A.png HTTP/1.1\r\n")
    assert b"Authorization: Bearer the-token\r\n" in asked[0]


@pytest.mark.parametrize(
    ("host", "header"),
    [("f\u00e5rm", b"xn--frm-ula"), ("fd00::7", b"[fd00::7]"), ("fe80::1%eth0", b"[fe80::1]")],
)
async def test_a_host_and_a_path_of_any_characters(
    host: str, header: bytes, autojump_clock: MockClock
) -> None:
    async with open_server(HEAD, b"abcd", host=host) as (dialer, asked):
        assert await fetch_file(dialer, "/\ud800.png") == b"abcd"
    assert asked[0].startswith(b"GET /@TMP@/%3F.png HTTP/1.1\r\n")
    assert json.loads(to_json({"name": "\ud800"})) == {"name": "?"}
    assert b"\r\nHost: " + header + b":51000\r\n" in asked[0]


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ((b"HTTP/1.1 404 Not Found\r\n\r\n",), LinkRefused),
        ((HEAD, b"abc"), ProtocolError),
        ((b"AFANASY 2 JSON{}",), ProtocolError),
        ((b"",), ProtocolError),
        ((b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 1_000_000] * 6), LinkLost),
    ],
)
async def test_what_is_no_file(
    parts: tuple[bytes, ...], error: type[AfRenderError], autojump_clock: MockClock
) -> None:
    async with open_server(*parts) as (dialer, _):
        with pytest.raises(error):
            await fetch_file(dialer, "/a.png")


async def test_a_server_that_leaves_the_connection_open(autojump_clock: MockClock) -> None:
    async with open_server(HEAD, b"abcd", hangs=True) as (dialer, _):
        assert await fetch_file(dialer, "/a.png") == b"abcd"
    assert trio.current_time() == 0


async def test_a_server_that_hangs(autojump_clock: MockClock) -> None:
    async with open_server(HEAD, b"ab", hangs=True) as (dialer, _):
        with pytest.raises(LinkLost, match="no answer within 12 s"):
            await fetch_file(dialer, "/a.png")

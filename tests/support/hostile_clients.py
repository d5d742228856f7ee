"""Clients that keep to no limit: raw sockets, so that the attack itself costs next to nothing."""

from __future__ import annotations

import socket
import struct

import trio

from trio_afrender.config import Token
from trio_afrender.protocol.json_codec import SUBPROTOCOL, decode_from_server, encode
from trio_afrender.protocol.messages import Register, Registered

__all__ = ("make_frame", "open_from", "open_session")


async def open_from(source: str, port: int) -> trio.SocketStream:
    """Connect to a port of 127.0.0.1 from another address of the loopback network."""
    connection = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await connection.bind((source, 0))
    await connection.connect(("127.0.0.1", port))
    return trio.SocketStream(connection)


async def open_session(port: int, token: Token, name: str) -> trio.SocketStream:
    """Register by websocket on loopback, without TLS; return the stream after the answer."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    head = (
        "GET / HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        f"Authorization: Bearer {token.secret}",
        "\r\n",
    )
    await stream.send_all("\r\n".join(head).encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _receive(stream)
    await stream.send_all(make_frame(encode(Register(name=name)).encode()))
    answer = received.partition(b"\r\n\r\n")[2]
    while b"}" not in answer:
        answer += await _receive(stream)
    text = answer[answer.index(b"{") : answer.rindex(b"}") + 1].decode()
    assert isinstance(decode_from_server(text), Registered), text
    return stream


async def _receive(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some()
    assert data, "the server hung up"
    return bytes(data)


def make_frame(payload: bytes) -> bytes:
    """Return one masked text frame; a mask of zeros leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = bytes([0x80 | 126]) + struct.pack(">H", size)
    else:
        length = bytes([0x80 | 127]) + struct.pack(">Q", size)
    return b"\x81" + length + b"\0\0\0\0" + payload

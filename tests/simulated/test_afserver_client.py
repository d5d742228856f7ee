"""One exchange with an afserver: request, answer, and the error if there is no answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from trio_afrender.afserver import AnswerLost, Dialer
from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.protocol.afanasy import Json, Message, RenderId, RenderUpdate, encode
from trio_afrender.transport.address import parse_native

ADDRESS = parse_native("af://farm")
REQUEST = encode(RenderUpdate(id=1))
ANSWER = encode(RenderId(id=1))
Stream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]
Script = Callable[[Stream], Awaitable[None]]


async def ask(script: Script, request: bytes = REQUEST) -> Message:
    """Make one exchange with a server that runs a script."""

    async def play(stream: Stream) -> None:
        with suppress(trio.BrokenResourceError):  # The render has closed the connection.
            await script(stream)

    async with open_bare_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            assert (host, port) == ("farm", 51000)
            near, far = memory_stream_pair()
            nursery.start_soon(play, far)
            await trio.lowlevel.checkpoint()
            return near

        return await Dialer(ADDRESS, open_stream=connect).ask(request)


async def expect_lost(kind: type[Exception], text: str, script: Script) -> None:
    with pytest.raises(kind, match=text) as caught:
        await ask(script)
    assert type(caught.value) is kind


async def receive_request(stream: Stream) -> None:
    received = b""
    while len(received) < len(REQUEST):
        received += await stream.receive_some(100)
    assert received == REQUEST


async def test_the_answer_is_read_up_to_its_length(autojump_clock: MockClock) -> None:
    """Bytes after it are ignored, and the end of the stream is not awaited."""

    async def script(stream: Stream) -> None:
        await receive_request(stream)
        await stream.send_all(ANSWER + b"  ")
        assert await stream.receive_some() == b"", "the render closes"

    assert await ask(script) == RenderId(id=1)
    assert trio.current_time() == 0


@pytest.mark.parametrize("size", [1, 5, 12])
async def test_an_answer_may_arrive_in_pieces(autojump_clock: MockClock, size: int) -> None:
    answer = encode(Json(body=b'{"info":7}', text=True))

    async def script(stream: Stream) -> None:
        await receive_request(stream)
        for start in range(0, len(answer), size):
            await stream.send_all(answer[start : start + size])
            await trio.sleep(0.1)

    assert await ask(script) == Json(body=b'{"info":7}', text=True)


async def test_a_silent_server_is_given_up_after_twelve_seconds(autojump_clock: MockClock) -> None:
    await expect_lost(AnswerLost, r"^af://farm:51000: no answer within 12 s$", receive_request)
    assert trio.current_time() == 12


async def test_an_endless_answer_is_given_up_after_twelve_seconds(
    autojump_clock: MockClock,
) -> None:
    async def script(stream: Stream) -> None:
        await receive_request(stream)
        while True:
            await stream.send_all(b"\0\0\0\x51\0\0\0\x24\x00\xff\xff\xff"[:12])
            await trio.sleep(1)

    await expect_lost(AnswerLost, "no answer within 12 s", script)
    assert trio.current_time() == 12


async def test_a_hang_up_without_an_answer_is_a_lost_answer(autojump_clock: MockClock) -> None:
    async def script(stream: Stream) -> None:
        await receive_request(stream)
        await stream.aclose()

    await expect_lost(AnswerLost, "hung up without an answer", script)


async def test_half_an_answer_is_a_lost_answer(autojump_clock: MockClock) -> None:
    async def script(stream: Stream) -> None:
        await receive_request(stream)
        await stream.send_all(ANSWER[:7])
        await stream.aclose()

    await expect_lost(AnswerLost, "hung up in the middle of its answer", script)


async def test_a_hang_up_before_the_request_is_read_is_a_lost_answer(
    autojump_clock: MockClock,
) -> None:
    """The server may have received the request nevertheless."""
    await expect_lost(AnswerLost, "hung up", Stream.aclose)


async def test_an_answer_of_another_protocol_is_a_protocol_error(autojump_clock: MockClock) -> None:
    async def script(stream: Stream) -> None:
        await receive_request(stream)
        await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n")

    await expect_lost(ProtocolError, r"^af://farm:51000: not the Afanasy protocol", script)


async def test_a_refused_connect_is_no_lost_answer(autojump_clock: MockClock) -> None:
    async def refuse(host: str, port: int) -> trio.abc.Stream:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(LinkLost, match=r"no server listens there \(connection refused\)") as caught:
        await Dialer(ADDRESS, open_stream=refuse).ask(REQUEST)
    assert not isinstance(caught.value, AnswerLost), "nothing was sent"


async def test_a_name_that_no_thread_can_look_up_is_no_lost_answer(
    autojump_clock: MockClock,
) -> None:
    """A command that follows a job, and a gateway, wait until the host has threads again."""

    async def fail(host: str, port: int) -> trio.abc.Stream:
        raise RuntimeError("can't start new thread")

    with pytest.raises(LinkLost, match=r"^af://farm:51000: can't start new thread$") as caught:
        await Dialer(ADDRESS, open_stream=fail).ask(REQUEST)
    assert not isinstance(caught.value, AnswerLost)


async def test_a_connect_that_hangs_is_no_lost_answer(autojump_clock: MockClock) -> None:
    async def hang(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep_forever()

    with pytest.raises(LinkLost, match="no answer within 12 s") as caught:
        await Dialer(ADDRESS, open_stream=hang).ask(REQUEST)
    assert not isinstance(caught.value, AnswerLost)


async def test_a_gate_limits_concurrent_exchanges(autojump_clock: MockClock) -> None:
    """A gateway makes the exchanges of many renders."""
    open_now, most = 0, 0

    async def connect(host: str, port: int) -> trio.abc.Stream:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        near, far = memory_stream_pair()
        nursery.start_soon(answer, far)
        await trio.lowlevel.checkpoint()
        return near

    async def answer(stream: Stream) -> None:
        nonlocal open_now
        await trio.sleep(1)
        await stream.send_all(ANSWER)
        open_now -= 1

    gate = trio.CapacityLimiter(2)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            dialer = Dialer(ADDRESS, open_stream=connect, gate=gate)
            nursery.start_soon(partial(dialer.ask, REQUEST))
    assert most == 2
    assert trio.current_time() == 3


async def test_waiting_at_the_gate_is_not_a_silent_server(autojump_clock: MockClock) -> None:
    gate = trio.CapacityLimiter(1)
    gate.acquire_on_behalf_of_nowait("another render")
    with trio.move_on_after(60) as scope:
        await Dialer(ADDRESS, gate=gate).ask(REQUEST)
    assert scope.cancelled_caught

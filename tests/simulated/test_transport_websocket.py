"""Both ends of a link over streams in memory, under virtual time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config.settings import Config, Timing, Token
from trio_afrender.errors import LinkLost, LinkRefused, ProtocolError
from trio_afrender.protocol.json_codec import MAX_FRAME, SUBPROTOCOL
from trio_afrender.protocol.messages import (
    Ack,
    Deregister,
    Events,
    LogEntry,
    Refused,
    Register,
    Registered,
    Unknown,
    Update,
)
from trio_afrender.testing.memory_server import (
    MemoryListener,
    ScriptedLink,
    ScriptedServer,
    open_memory_server,
    open_scripted_server,
)
from trio_afrender.transport.interfaces import Link, ServerLink
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_client import make_connect, open_websocket_link
from trio_afrender.transport.websocket_server import MAX_HANDSHAKES_OF_ONE, serve_websocket

ME = Register(name="n1")


async def echo(link: ServerLink) -> None:
    """Register every client and acknowledge every update."""
    while True:
        match await link.receive():
            case Register():
                await link.send(Registered(id=7))
            case Update(seq=seq):
                await link.send(Ack(seq=seq))
            case Deregister() | Unknown():
                return


async def in_session(
    script: Callable[[Link, ScriptedLink], Awaitable[None]], *, keepalive: float = 16.0
) -> None:
    """Run a script with both ends of a registered link."""
    async with open_scripted_server(keepalive=keepalive) as server:
        async with server.connect_with(server.token, keepalive=keepalive)() as link:
            server_link = await server.accept()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server_link.welcome)
                assert await link.register(ME) == Registered(id=1)
            await script(link, server_link)


async def test_a_session_from_register_to_deregister(autojump_clock: trio.abc.Clock) -> None:
    async with open_memory_server(echo) as server, server.connect() as link:
        assert await link.register(ME) == Registered(id=7)
        for seq in range(1, 50):
            await link.send(Update(seq=seq))
            assert await link.receive() == Ack(seq=seq)
        await link.deregister("done")
        with pytest.raises(LinkLost, match="1000 NORMAL_CLOSURE"):
            await link.receive()
    assert trio.current_time() < 1


async def test_a_refused_register_is_returned(autojump_clock: trio.abc.Clock) -> None:
    refused = Refused(reason="name-taken", text="n1 is online", retry_after=60)

    async def refuse(link: ServerLink) -> None:
        assert await link.receive() == ME
        await link.send(refused)

    async with open_memory_server(refuse) as server, server.connect() as link:
        assert await link.register(ME) == refused


async def test_a_register_without_an_answer_is_a_lost_link(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        with pytest.raises(LinkLost, match="did not answer the register within 12 s"):
            await link.register(ME)
        assert trio.current_time() == pytest.approx(12, abs=0.1)


async def test_another_answer_to_a_register_is_a_protocol_error(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def send_ack(link: ServerLink) -> None:
        await link.receive()
        await link.send(Ack(seq=0))
        with pytest.raises(LinkLost, match="1002 PROTOCOL_ERROR, expected registered or refused"):
            await link.receive()

    async with open_memory_server(send_ack) as server, server.connect() as link:
        with pytest.raises(ProtocolError, match='answered a register with "ack"'):
            await link.register(ME)


async def test_unknown_types_are_skipped_and_logged_once(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        for kind in ("weather", "weather", "moon\x1b[2J"):
            await server_link.send(Unknown(type=kind, raw={}))
        await server_link.send(Events(instruction="exit"))
        assert await link.receive() == Events(instruction="exit")

    await in_session(script)
    texts = [record.getMessage() for record in caplog.records if "unknown" in record.getMessage()]
    assert texts == [
        'skipped a message of unknown type "weather"',
        'skipped a message of unknown type "moon?[2J"',
    ]


async def test_the_server_receives_unknown_types_as_they_are(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await link._connection.send('{"type": "weather", "rain": 3}')  # type: ignore[attr-defined]  # as a newer render may send
        got = await server_link.receive()
        assert got == Unknown(type="weather", raw={"type": "weather", "rain": 3})

    await in_session(script)


async def test_an_unknown_render_has_to_register(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await server_link.send(Refused(reason="not-registered", text="restarted"))
        with pytest.raises(LinkLost) as caught:
            await link.receive()
        assert caught.value.register_now

    await in_session(script)


async def test_a_refusal_within_a_session_is_raised(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await server_link.send(Refused(reason="name-taken", retry_after=30))
        with pytest.raises(LinkRefused) as caught:
            await link.receive()
        assert (caught.value.reason, caught.value.retry_after) == ("name-taken", 30)

    await in_session(script)


async def test_a_second_registered_is_a_protocol_error(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await server_link.send(Registered(id=9))
        with pytest.raises(ProtocolError, match="twice"):
            await link.receive()

    await in_session(script)


@pytest.mark.parametrize(
    ("invalid", "problem", "code"),
    [
        ("hello", "frame is not JSON", 1007),
        ('{"type": "ack"}', "ack.seq: missing", 1007),
        ('{"type": "events", "tasks": 7}', "events.tasks: expected list", 1007),
        ('{"type": "\x1b[2J', "frame is not JSON", 1007),
    ],
)
async def test_an_invalid_message_of_the_server_closes_the_link_with_a_reason(
    invalid: str, problem: str, code: int, autojump_clock: trio.abc.Clock
) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await server_link.send_text(invalid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_close, server_link, code)
            with pytest.raises(ProtocolError) as caught:
                await link.receive()
        assert problem in str(caught.value)
        assert str(caught.value).isprintable()
        with pytest.raises(LinkLost, match="closed by this end"):
            await link.send(Update(seq=1))
        with pytest.raises(LinkLost, match="closed by this end"):
            await link.receive()

    await in_session(script)


async def expect_close(server_link: ScriptedLink, code: int) -> None:
    with pytest.raises(LinkLost, match=str(code)):
        await server_link.receive()


async def test_an_invalid_message_of_a_render_closes_the_link_with_a_reason(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await link._connection.send('{"type":"update","seq":"1"}')  # type: ignore[attr-defined]  # an invalid message has no method
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_lost, link, r"1007 .*update\.seq: expected int")
            with pytest.raises(ProtocolError, match=r"update\.seq: expected int"):
                await server_link.receive()

    await in_session(script)


async def expect_lost(link: Link, why: str) -> None:
    with pytest.raises(LinkLost, match=why):
        await link.receive()


async def test_binary_frames_are_refused(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await server_link.link.connection._ws.send_message(b'{"type":"ack","seq":1}')
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_close, server_link, 1003)
            with pytest.raises(ProtocolError, match="a binary frame"):
                await link.receive()

    await in_session(script)


async def test_a_frame_beyond_the_limit_is_refused(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_large, link)
            await server_link.link.connection._ws.send_message(" " * (MAX_FRAME + 1))
            with pytest.raises(LinkLost, match="1009 MESSAGE_TOO_BIG"):
                await server_link.receive()

    await in_session(script)


async def expect_large(link: Link) -> None:
    with pytest.raises(ProtocolError, match=f"a frame of more than {MAX_FRAME} bytes"):
        await link.receive()


async def test_a_frame_at_the_limit_is_accepted(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        text = '{"type":"ack","seq":3}'
        await server_link.send_text(text + " " * (MAX_FRAME - len(text)))
        assert await link.receive() == Ack(seq=3)

    await in_session(script)


async def test_endless_empty_fragments_end_the_link(autojump_clock: trio.abc.Clock) -> None:
    """Each costs a list entry in the library, whatever its limit on messages."""
    from wsproto.events import TextMessage

    async def script(link: Link, server_link: ScriptedLink) -> None:
        link._connection._liveness._backlog = 10_000  # type: ignore[attr-defined]  # else it takes minutes
        ws = server_link.link.connection._ws
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_lost, link, "connection closed")
            with pytest.raises(ConnectionClosed):
                await repeat(partial(ws._send, TextMessage(data="", message_finished=False)))

    await in_session(script)


async def repeat(call: Callable[[], Awaitable[None]]) -> None:
    for _ in range(100_000):
        await call()


async def test_a_cut_connection_is_lost_at_both_ends(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server, server.connect() as link:
        server_link = await server.accept()
        server.cut()
        with pytest.raises(LinkLost):
            await link.receive()
        with pytest.raises(LinkLost):
            await link.send(Update(seq=1))
        with pytest.raises(LinkLost):
            await server_link.receive()
        with pytest.raises(LinkLost):
            await server_link.send(Ack(seq=1))
    assert trio.current_time() < 0.1


async def test_a_dead_peer_is_detected_within_the_keepalive(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await trio.sleep(100)  # Idle, but pings are answered.
        await link.send(Update(seq=1))
        assert await server_link.receive() == Update(seq=1)
        start = trio.current_time()
        silence[0]()
        with pytest.raises(LinkLost, match="no sign of life for 16 s"):
            await link.receive()
        assert trio.current_time() - start <= 16.01
        with pytest.raises(LinkLost, match="no sign of life for 16 s"):
            await server_link.receive()

    silence: list[Callable[[], None]] = []
    async with open_scripted_server() as server, server.connect() as link:
        silence.append(server.fall_silent)
        server_link = await server.accept()
        server_link.acking = False
        await script(link, server_link)


async def test_messages_count_as_activity(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        for seq in range(1, 40):
            await trio.sleep(3)
            await server_link.send(Ack(seq=seq))
            assert await link.receive() == Ack(seq=seq)

    await in_session(script, keepalive=4)


async def test_not_receiving_does_not_make_the_peer_dead(autojump_clock: trio.abc.Clock) -> None:
    """The library stops reading while its queue is full, which is not the peer's fault."""

    async def script(link: Link, server_link: ScriptedLink) -> None:
        for seq in range(6):
            await server_link.send(Ack(seq=seq))
        await trio.sleep(100)
        assert [await link.receive() for _ in range(6)] == [Ack(seq=seq) for seq in range(6)]

    await in_session(script, keepalive=16)


async def test_a_cancelled_send_closes_the_connection(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.send(Update(seq=1))
        assert scope.cancelled_caught
        with pytest.raises(LinkLost, match="torn"):
            await link.send(Update(seq=2))
        with pytest.raises(LinkLost, match="torn"):
            await link.receive()
        with pytest.raises(LinkLost):
            await server_link.receive()

    await in_session(script)


async def test_a_cancelled_receive_loses_nothing(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        with trio.move_on_after(1):
            await link.receive()
        await server_link.send(Ack(seq=4))
        assert await link.receive() == Ack(seq=4)

    await in_session(script)


async def test_errors_of_the_body_are_in_no_group(autojump_clock: trio.abc.Clock) -> None:
    class OwnError(Exception):
        pass

    async with open_memory_server(echo) as server:
        with pytest.raises(OwnError) as caught:
            async with server.connect():
                raise OwnError
        assert caught.value.__context__ is None
        with pytest.raises(ExceptionGroup) as grouped:
            async with server.connect():
                raise ExceptionGroup("own", [OwnError()])
        assert grouped.value.message == "own"


async def test_leaving_a_cancelled_body_sends_a_close(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server:
        with trio.CancelScope() as scope:
            async with server.connect():
                server_link = await server.accept()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(LinkLost, match="1000 NORMAL_CLOSURE"):
            await server_link.receive()


async def test_leaving_does_not_wait_for_a_dead_peer(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server:
        async with server.connect():
            await server.accept()
            server.fall_silent()
        assert trio.current_time() <= 2.01


async def test_connecting_fails_while_refused_and_works_again(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_memory_server(echo) as server:
        server.refuse()
        for _ in range(3):
            with pytest.raises(LinkLost, match="no server listens there"):
                await open_and_register(server)
            await trio.sleep(5)
        server.refuse(False)
        await open_and_register(server)


async def open_and_register(server: object) -> None:
    assert hasattr(server, "connect")
    async with server.connect() as link:
        assert await link.register(ME) == Registered(id=7)


async def test_tokens_are_bound_to_names(autojump_clock: trio.abc.Clock) -> None:
    seen: list[tuple[bool, bool]] = []

    async def ask(link: ServerLink) -> None:
        seen.append((link.can_register("n1"), link.can_register("n2")))

    async with open_memory_server(ask) as server:
        for connect in (server.connect, server.connect_as("n1"), server.connect_as("n[2-9]")):
            async with connect() as link:
                with pytest.raises(LinkLost):
                    await link.receive()
    assert seen == [(True, True), (True, False), (False, True)]


@pytest.mark.parametrize("token", [None, Token("x" * 43), Token("x")])
async def test_a_client_without_a_known_token_is_rejected(
    token: Token | None, autojump_clock: trio.abc.Clock
) -> None:
    async with open_memory_server(echo) as server:
        with pytest.raises(LinkRefused) as caught:
            async with server.connect_with(token)():
                raise AssertionError("was accepted")
    assert (caught.value.reason, caught.value.retry_after) == ("unauthorized", None)
    assert "x" * 43 not in str(caught.value)


async def request_upgrade(
    headers: list[tuple[bytes, bytes]],
    *,
    host: str = "localhost",
    subprotocols: tuple[str, ...] = (SUBPROTOCOL,),
    tokens: TokenTable | None = None,
    max_agents: int = 10,
) -> tuple[int, dict[bytes, bytes]]:
    """Request an upgrade; return the status and the headers of the HTTP answer."""
    listener = MemoryListener()
    serve = partial(
        serve_websocket,
        echo,
        tokens=tokens or TokenTable(),
        listeners=[listener],
        max_agents=max_agents,
    )
    async with open_bare_nursery() as serving:
        await serving.start(serve)
        stream = await listener.connect()
        try:
            async with trio.open_nursery() as nursery:
                ws = await wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]  # takes any stream, its stubs want sockets
                    host,
                    "/",
                    subprotocols=subprotocols,
                    extra_headers=headers,
                )
                await ws.aclose()
                await stream.aclose()
        except* ConnectionRejected as group:
            rejected = group.exceptions[0]
            assert isinstance(rejected, ConnectionRejected)
            answer = rejected.status_code, dict(rejected.headers)
        else:
            answer = 101, {}
    return answer


async def test_upgrade_requests_are_accepted_or_rejected(autojump_clock: trio.abc.Clock) -> None:
    token = make_token()
    known = partial(request_upgrade, tokens=TokenTable.single(token))
    ours = [(b"Authorization", b"Bearer " + token.secret.encode())]
    assert await known(ours) == (101, {})
    assert await known(ours, host="127.0.0.1:51000") == (101, {})
    assert await known([*ours, (b"Origin", b"http://localhost")]) == (
        403,
        {b"content-length": b"0"},
    )
    assert (await known(ours, host="evil.example"))[0] == 421
    none = await known([])
    assert none == (401, {b"content-length": b"0", b"www-authenticate": b"Bearer"})
    assert await known([(b"Authorization", b"Bearer wrong")]) == none
    assert await known([(b"Authorization", b"Basic " + token.secret.encode())]) == none
    assert await known([*ours, *ours]) == none
    status, headers = await known(ours, subprotocols=("afrender.v2",))
    assert (status, headers[b"sec-websocket-protocol"]) == (426, b"afrender.v1")
    assert (await known(ours, subprotocols=()))[0] == 426
    status, headers = await known(ours, max_agents=0)
    assert (status, headers[b"retry-after"]) == (503, b"60")


async def test_a_full_server_accepts_a_client_once_another_has_left(
    autojump_clock: trio.abc.Clock,
) -> None:
    listener, token = MemoryListener(), make_token()
    connect = partial(
        open_websocket_link, "ws://localhost", token=token, open_stream=listener.connect
    )
    serve = partial(
        serve_websocket, echo, tokens=TokenTable.single(token), listeners=[listener], max_agents=1
    )
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        async with connect() as link:
            await link.register(ME)
            with pytest.raises(LinkLost, match="the server is full or starting"):
                async with connect():
                    raise AssertionError("was accepted")
        await trio.testing.wait_all_tasks_blocked()
        async with connect() as link:
            await link.register(ME)


async def answer_with(data: bytes, listener: MemoryListener) -> None:
    stream = await listener.accept()
    await stream.receive_some()
    await stream.send_all(data)
    await stream.aclose()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"", LinkLost, "hung up in the middle of the handshake"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", LinkLost, "hung up in the middle"),
        (b"\0\xff" * 30_000, LinkLost, "no websocket server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", LinkRefused, "http-200"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", LinkRefused, "http-404"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", LinkLost, "HTTP 502"),
        (b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", LinkLost, "HTTP 429"),
        (b"HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n", LinkRefused, "host"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", LinkRefused, "forbidden"),
        (b"HTTP/1.1 426 Upgrade\r\nContent-Length: 0\r\n\r\n", LinkRefused, "version"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nhi", LinkLost, "hung up"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", LinkLost, "no websocket"),
    ],
)
async def test_another_server_is_no_farm(
    answer: bytes, error: type[Exception], text: str, autojump_clock: trio.abc.Clock
) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_with, answer, listener)
        with pytest.raises(error, match=text):
            async with open_websocket_link(
                "ws://localhost", token=make_token(), open_stream=listener.connect
            ):
                raise AssertionError("was accepted")
    assert trio.current_time() < 0.1


async def test_a_server_that_never_answers_is_given_up(autojump_clock: trio.abc.Clock) -> None:
    listener = MemoryListener()
    with pytest.raises(LinkLost, match="no answer within 12 s"):
        async with open_websocket_link(
            "ws://localhost", token=make_token(), open_stream=listener.connect
        ):
            raise AssertionError("was accepted")
    assert trio.current_time() == pytest.approx(12)


async def test_a_connect_that_hangs_is_given_up(autojump_clock: trio.abc.Clock) -> None:
    async def hang(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep_forever()

    with pytest.raises(LinkLost, match="no answer within 5 s"):
        async with open_websocket_link(
            "ws://localhost", token=make_token(), open_stream=hang, timeout=5
        ):
            raise AssertionError("was accepted")


async def test_a_server_without_our_subprotocol_is_another_version(
    autojump_clock: trio.abc.Clock,
) -> None:
    from trio_websocket import wrap_server_stream

    listener = MemoryListener()

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, await listener.accept())
            await request.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(LinkRefused) as caught:
            async with open_websocket_link(
                "ws://localhost", token=make_token(), open_stream=listener.connect
            ):
                raise AssertionError("was accepted")
    assert (caught.value.reason, caught.value.retry_after) == ("version", None)


UPGRADE = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        UPGRADE + b"Host: \xff\xfe\r\n\r\n",
        UPGRADE + b"Host: " + b"a" * 100 + b".b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    ],
)
async def test_an_invalid_request_ends_its_own_connection_only(
    raw: bytes, autojump_clock: trio.abc.Clock
) -> None:
    listener, token = MemoryListener(), make_token()
    serve = partial(serve_websocket, echo, tokens=TokenTable.single(token), listeners=[listener])
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        for hang_up in (True, False):
            stream = await listener.connect()
            with trio.move_on_after(100):
                await stream.send_all(raw)
                if hang_up:
                    await stream.aclose()
                else:
                    while await stream.receive_some():
                        pass
            await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() < 11
        async with open_websocket_link(
            "ws://localhost", token=token, open_stream=listener.connect
        ) as link:
            assert await link.register(ME) == Registered(id=7)


async def test_a_client_that_sends_slowly_is_dropped(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listener = MemoryListener()
    serve = partial(serve_websocket, echo, tokens=TokenTable(), listeners=[listener])
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        stream = await listener.connect()
        with pytest.raises(trio.BrokenResourceError):
            await send_slowly(stream)
        assert trio.current_time() <= 12
    assert "no handshake within 10 s" in caplog.text


async def send_slowly(stream: trio.abc.Stream) -> None:
    for byte in b"GET / HTTP/1.1\r\n" + b"a" * 1000:
        await stream.send_all(bytes([byte]))
        await trio.sleep(1)


async def test_connections_that_say_nothing_are_displaced(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest first, so that an agent of the same address connects at once."""
    listener, token = MemoryListener(), make_token()
    serve = partial(serve_websocket, echo, tokens=TokenTable.single(token), listeners=[listener])
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        silent = [await listener.connect() for _ in range(3 * MAX_HANDSHAKES_OF_ONE)]
        before = trio.current_time()
        async with open_websocket_link(
            "ws://localhost", token=token, open_stream=listener.connect
        ) as link:
            assert await link.register(ME) == Registered(id=7)
        assert trio.current_time() == before
        for stream in silent[: 2 * MAX_HANDSHAKES_OF_ONE]:
            assert await stream.receive_some() == b""
        assert trio.current_time() == before, "they were closed, not timed out"
        await trio.sleep(130)
    # Five lines a minute, and a sum.
    assert caplog.text.count("before newer connections came") == 5
    count = 2 * MAX_HANDSHAKES_OF_ONE + 1 - 5
    assert f"displaced handshakes: {count} more from memory within 60 s" in caplog.text


async def test_an_error_of_the_handler_ends_its_session_and_is_logged(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(link: ServerLink) -> None:
        await link.receive()
        raise RuntimeError("a bug")

    listener, token = MemoryListener(), make_token()
    serve = partial(serve_websocket, fail, tokens=TokenTable.single(token), listeners=[listener])
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        for _ in range(2):
            async with open_websocket_link(
                "ws://localhost", token=token, open_stream=listener.connect
            ) as link:
                with pytest.raises(LinkLost, match="1011"):
                    await link.register(ME)
    assert caplog.text.count("RuntimeError: a bug") == 2


async def test_a_stopping_server_closes_with_going_away(autojump_clock: trio.abc.Clock) -> None:
    listener, token = MemoryListener(), make_token()
    serve = partial(serve_websocket, echo, tokens=TokenTable.single(token), listeners=[listener])
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        async with open_websocket_link(
            "ws://localhost", token=token, open_stream=listener.connect
        ) as link:
            await link.register(ME)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), pytest.raises(LinkLost, match="1001 GOING_AWAY"):
                await link.receive()


async def test_make_connect_uses_the_limits_of_the_config(autojump_clock: trio.abc.Clock) -> None:
    config = Config(
        name="n1", server="ws://127.0.0.1:9", token=make_token(), timing=Timing(zombie=3, connect=4)
    )
    connect = make_connect(config)
    assert isinstance(connect, partial)
    assert (connect.keywords["keepalive"], connect.keywords["timeout"]) == (3, 4)


async def test_a_script_that_is_not_followed_fails(autojump_clock: trio.abc.Clock) -> None:
    async def script(link: Link, server_link: ScriptedLink) -> None:
        await link.send(Update(seq=1))
        with pytest.raises(AssertionError, match="expected Deregister, got Update"):
            await server_link.expect(Deregister)
        with pytest.raises(AssertionError, match="no Update as expected within 60 s"):
            await server_link.expect(Update)
        await link.send(Update(seq=2))
        with pytest.raises(AssertionError, match="expected silence"):
            await server_link.expect_silence(5)
        await server_link.expect_silence(5)
        with pytest.raises(AssertionError, match="did not close within 3 s"):
            await server_link.expect_end(within=3)

    await in_session(script)


async def test_a_script_without_a_client_fails(autojump_clock: trio.abc.Clock) -> None:
    async with open_scripted_server() as server:
        with pytest.raises(AssertionError, match="no render connected within 60 s"):
            await server.accept()


async def serve_updates(server: ScriptedServer, seen: list[str]) -> None:
    server_link = await server.accept()
    await server_link.welcome()
    update = await server_link.expect(Update, lambda update: update.seq > 2)
    seen.append(f"update {update.seq}")
    await server_link.expect_end()
    seen.append("end")


async def test_a_script_skips_acknowledges_and_sees_the_end(
    autojump_clock: trio.abc.Clock,
) -> None:
    seen: list[str] = []
    async with open_scripted_server() as server, trio.open_nursery() as nursery:
        nursery.start_soon(serve_updates, server, seen)
        async with server.connect() as link:
            await link.register(ME)
            for seq in (1, 2, 3):
                await link.send(Update(seq=seq))
                assert await link.receive() == Ack(seq=seq)
    assert seen == ["update 3", "end"]


async def test_a_failed_assertion_of_a_handler_fails_the_test(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def wrong(link: ServerLink) -> None:
        assert await link.receive() == Register(name="n2")

    with pytest.raises(AssertionError):
        async with open_memory_server(wrong) as server, server.connect() as link:
            await link.register(ME)


class SlowStream(trio.abc.Stream):
    """A line that takes a second for each chunk."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(1)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_a_large_frame_on_a_slow_line_is_not_silence(autojump_clock: trio.abc.Clock) -> None:
    listener, token = MemoryListener(), make_token()

    async def connect(host: str, port: int) -> trio.abc.Stream:
        return SlowStream(await listener.connect())

    serve = partial(serve_websocket, echo, tokens=TokenTable.single(token), listeners=[listener])
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        async with open_websocket_link(
            "ws://localhost", token=token, open_stream=connect, keepalive=5
        ) as link:
            await link.register(ME)
            start = trio.current_time()
            await link.send(Update(seq=1, log=(LogEntry(run="r", n=1, text="x" * 6_000_000),)))
            assert await link.receive() == Ack(seq=1)
            assert trio.current_time() - start > 90


async def test_a_send_that_makes_no_progress_means_a_dead_peer(
    autojump_clock: trio.abc.Clock,
) -> None:
    class StuckStream(SlowStream):
        stuck = False

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            if self.stuck:
                await trio.sleep_forever()
            await self._stream.send_all(data)

    listener, token = MemoryListener(), make_token()
    streams: list[StuckStream] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        streams.append(StuckStream(await listener.connect()))
        return streams[0]

    serve = partial(
        serve_websocket,
        echo,
        tokens=TokenTable.single(token),
        listeners=[listener],
        keepalive=1000,
    )
    async with open_bare_nursery() as nursery:
        await nursery.start(serve)
        async with open_websocket_link(
            "ws://localhost", token=token, open_stream=connect, keepalive=5
        ) as link:
            await link.register(ME)
            streams[0].stuck = True
            with trio.fail_after(6), pytest.raises(LinkLost, match="no sign of life for 5 s"):
                await link.receive()

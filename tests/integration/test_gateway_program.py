"""The gateway on loopback with certificates, and the program."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from support.agent_on_afserver import until_done
from support.cli import Command, make_gate, open_command, open_gate, run_command
from support.metrics import open_gateway_metrics

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import LinkLost, LinkRefused, StoreError, StoreInUse
from trio_afrender.gateway import Gateway, GatewayConfig, run_gateway
from trio_afrender.gateway.identity_store import open_identity_store
from trio_afrender.protocol.json_codec import MAX_FRAME
from trio_afrender.protocol.messages import Ack, Register, Registered, TaskExec, Update
from trio_afrender.testing import NativeServer, open_native_server
from trio_afrender.transport.address import NativeAddress
from trio_afrender.transport.listen_address import ListenAddress
from trio_afrender.transport.tls import make_client_context, make_server_context
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_client import WebSocketLink, open_websocket_link

TOKEN = make_token()
WORD = "a-secret-of-these-tests"

HEARTBEAT = 0.1
"""Seconds between two requests of an agent, and between two cycles of the server."""


@pytest.fixture(autouse=True)
def quick_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_afrender.testing.fake_afserver.server.SERVER_CYCLE", HEARTBEAT)


@asynccontextmanager
async def open_server() -> AsyncIterator[NativeServer]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with open_native_server(listeners=listeners) as server:
        yield server
        assert server.complaints == []


@asynccontextmanager
async def open_gateway(server: NativeServer, folder: Path) -> AsyncIterator[Gateway]:
    make_certificates(folder)
    config = GatewayConfig(
        listen=ListenAddress(host="127.0.0.1", port=0, tls=True),
        server=NativeAddress(host="127.0.0.1", port=server.port),
        tokens=TokenTable.single(TOKEN, "node-*"),
        ssl_context=make_server_context(folder / "cert.pem"),
    )
    with trio.fail_after(60):
        async with open_bare_nursery() as nursery:
            yield await nursery.start(partial(run_gateway, config))


def make_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "cert.pem")


# -- connections ---------------------------------------------------------------------------------


async def test_an_agent_connects_by_tls_and_is_a_render(tmp_path: Path) -> None:
    async with open_server() as server, open_gateway(server, tmp_path) as gateway:
        context = make_client_context(tmp_path / "ca.pem")
        async with open_websocket_link(gateway.url, token=TOKEN, ssl_context=context) as link:
            answer = await link.register(Register(name="node-7"))
            assert isinstance(answer, Registered)
            await link.send(Update(seq=1))
            while not isinstance(await link.receive(), Ack):
                pass
            assert (await server.online("node-7")).id == answer.id
            await link.deregister("done")
        await server.until(lambda: not any(each.online for each in server.book.renders.values()))


async def test_without_the_ca_the_certificate_is_refused(tmp_path: Path) -> None:
    async with open_server() as server, open_gateway(server, tmp_path) as gateway:
        with pytest.raises(LinkLost, match=r"unknown CA|self-signed"):
            async with open_websocket_link(
                gateway.url, token=TOKEN, ssl_context=make_client_context()
            ):
                pass


async def test_a_wrong_token_is_refused_before_the_upgrade(tmp_path: Path) -> None:
    async with open_server() as server, open_gateway(server, tmp_path) as gateway:
        context = make_client_context(tmp_path / "ca.pem")
        for token in (make_token(), None):
            with pytest.raises(LinkRefused, match="token"):
                async with open_websocket_link(gateway.url, token=token, ssl_context=context):
                    pass
        assert server.received == []


async def test_a_frame_that_is_too_large_ends_its_own_session_alone(tmp_path: Path) -> None:
    async with open_server() as server, open_gateway(server, tmp_path) as gateway:
        context = make_client_context(tmp_path / "ca.pem")
        dial = partial(open_websocket_link, gateway.url, token=TOKEN, ssl_context=context)
        async with dial() as good, dial() as bad:
            await good.register(Register(name="node-1"))
            await bad.register(Register(name="node-2"))
            assert isinstance(bad, WebSocketLink)
            with suppress(LinkLost):
                await bad._connection.send('{"type": "update", "x": "' + "x" * MAX_FRAME + '"}')
            with pytest.raises(LinkLost):
                await bad.receive()
            await good.send(Update(seq=1))
            while not isinstance(await good.receive(), Ack):
                pass


# -- counters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /metrics HTTP/1.1", b"200 OK", b"trio_afrender_gateway_agents 0\n"),
        ("GET /metrics?x=1 HTTP/1.0", b"200 OK", b"trio_afrender_gateway_agents 0\n"),
        ("GET / HTTP/1.1", b"404 Not Found", b"see /metrics\n"),
        ("POST /metrics HTTP/1.1", b"405 Method Not Allowed", b"GET only\n"),
    ],
)
async def test_counters_are_served(
    request_line: str, status: bytes, body: bytes, tmp_path: Path
) -> None:
    async with (
        open_server() as server,
        open_gateway(server, tmp_path) as gateway,
        open_gateway_metrics(gateway) as port,
    ):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(f"{request_line}\r\nHost: x\r\n\r\n".encode())
            answer = b"".join([bytes(part) async for part in stream])
        head, _, found = answer.partition(b"\r\n\r\n")
        assert status in head.splitlines()[0]
        assert body in found
        assert f"Content-Length: {len(found)}".encode() in head


async def test_a_request_for_counters_that_is_too_long_is_closed(tmp_path: Path) -> None:
    async with (
        open_server() as server,
        open_gateway(server, tmp_path) as gateway,
        open_gateway_metrics(gateway) as port,
    ):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /metrics " + b"x" * 20_000)
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""


# -- stored identities ---------------------------------------------------------------------------


async def test_ids_are_stored_for_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "store"
    with open_identity_store(folder) as identities:
        await identities.keep("../../evil", "one")
        await identities.keep("n" * 255, "two")
    assert folder.stat().st_mode & 0o777 == 0o700
    with open_identity_store(folder) as identities:
        assert await identities.read("../../evil") == "one"
        assert await identities.read("n" * 255) == "two"
        assert await identities.read("unknown") == ""


def test_a_folder_is_for_one_gateway(tmp_path: Path) -> None:
    with (
        open_identity_store(tmp_path / "store"),
        pytest.raises(StoreInUse, match="another gateway"),
    ):
        with open_identity_store(tmp_path / "store"):
            pass


def test_a_link_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "store").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="is a link"), open_identity_store(tmp_path / "store"):
        pass


# -- the program ---------------------------------------------------------------------------------


def write_token(folder: Path, name: str, text: str, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--tokens tokens", "give --listen wss://HOST:PORT"),
        ("--listen wss://127.0.0.1:0", "give --tokens FILE"),
        ("--listen wss://127.0.0.1:0 --tokens tokens", "no server: give --server"),
        ("--listen wss://127.0.0.1:0 --tokens tokens --server ws://a:1", "connects to an afserver"),
        ("--listen wss://127.0.0.1:0 --tokens tokens --server af://a", "needs --cert FILE"),
        (
            "--listen ws://127.0.0.1:0 --tokens tokens --server af://a --cert c",
            "need --listen wss://",
        ),
        ("--listen ws://0.0.0.0:0 --tokens tokens --server af://a", "tokens would be readable"),
        ("--listen ws://127.0.0.1:0 --tokens open --server af://a", "chmod 600"),
        (
            "--listen ws://127.0.0.1:0 --tokens short --server af://a",
            "line 2: holds a token of less than 16 characters",
        ),
        ("--listen ws://127.0.0.1:0 --tokens tokens --server af://a --rate 0", "expected 1 to"),
        (
            "--listen ws://127.0.0.1:0 --tokens tokens --server af://a --max-agents-per-token 0",
            "expected 1 to",
        ),
        ("--listen wss://127.0.0.1:0 --tokens tokens --server af://a --cert tokens", "certificate"),
        ("--listen ws://127.0.0.1:0 --tokens tokens --server af://a --metrics 9", "HOST:PORT"),
    ],
)
async def test_invalid_options_are_reported_in_one_line(
    words: str, problem: str, tmp_path: Path
) -> None:
    write_token(tmp_path, "tokens", f"* {WORD}\n")
    write_token(tmp_path, "open", f"* {WORD}\n", 0o644)
    write_token(tmp_path, "short", f"* {WORD}\nn1 {WORD[:15]}\n")
    code, out, err = await run_command("gateway", *words.split(), home=tmp_path)
    assert (code, out) == (2, "")
    assert problem in err
    assert len(err.strip().splitlines()) == 1
    assert WORD[:15] not in err


@asynccontextmanager
async def open_program(home: Path, server: NativeServer, port: int) -> AsyncIterator[Command]:
    words: tuple[str, ...] = (
        "--listen",
        f"wss://127.0.0.1:{port}",
        "--server",
        f"af://127.0.0.1:{server.port}",
    )
    words += ("--tokens", "tokens", "--cert", "cert.pem", "--store", "kept")
    async with open_command("gateway", *words, home=home) as command:
        await command.says("agents connect to")
        yield command


@pytest.mark.usefixtures("plain_hangup")
async def test_a_gateway_killed_during_a_task_loses_nothing(tmp_path: Path) -> None:
    """The gateway is ended by kill -9, with a task that ends meanwhile and one that runs on."""
    make_certificates(tmp_path)
    write_token(tmp_path, "token", f"{WORD}\n")
    write_token(tmp_path, "tokens", f"node-* {WORD}\n")
    gates = [make_gate(tmp_path / f"gate{number}") for number in range(2)]
    command = "echo began >> began; read line < {}; echo $line"
    async with open_server() as server:
        tasks = [
            server.add_task(
                TaskExec(
                    run="",
                    job=2,
                    block=0,
                    task=number,
                    working_directory=str(tmp_path),
                    command_task=command.format(gate),
                )
            )
            for number, gate in enumerate(gates)
        ]
        async with open_program(tmp_path, server, 0) as first:
            found = re.search(r"agents connect to (wss://127.0.0.1:(\d+))", first.err)
            assert found is not None
            words: tuple[str, ...] = ("--server", found[1], "--name", "node-1", "--store", "store")
            words += ("--token-file", "token", "--ca-file", "ca.pem")
            words += ("--trio_afrender.timing.heartbeat", str(HEARTBEAT))
            async with open_command(*words, home=tmp_path) as agent:
                await server.until(lambda: all(task.statuses for task in tasks))
                first.process.kill()
                await first.wait()
                await open_gate(gates[0])
                await agent.says("2.0.0")
                async with open_program(tmp_path, server, int(found[2])) as second:
                    await until_done(server, tasks[0])
                    await open_gate(gates[1])
                    await until_done(server, tasks[1])
                    agent.process.send_signal(signal.SIGTERM)
                    assert await agent.wait() == 0
                    second.process.send_signal(signal.SIGHUP)
                    assert await second.wait() == 0
        assert [task.output for task in tasks] == [b"go\n", b"go\n"]
        assert [task.sessions for task in tasks] == [1, 1]
        assert (tmp_path / "began").read_text() == "began\nbegan\n"

"""Links over sockets on loopback, with real certificates."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
import trio
import trustme

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.config.settings import Config, Token
from trio_afrender.errors import ConfigError, LinkLost, LinkRefused, ProtocolError
from trio_afrender.protocol.json_codec import MAX_FRAME, SUBPROTOCOL
from trio_afrender.protocol.messages import Ack, Register, Registered, Update
from trio_afrender.transport.interfaces import ServerLink
from trio_afrender.transport.tls import explain_tls, make_client_context, make_server_context
from trio_afrender.transport.tokens import TokenTable, make_token
from trio_afrender.transport.websocket_client import make_connect
from trio_afrender.transport.websocket_server import BoundAddress, Handler, serve_websocket

TOKEN = make_token()
ME = Register(name="n1")


async def echo(link: ServerLink) -> None:
    while True:
        match await link.receive():
            case Register(name=name):
                assert link.can_register(name)
                await link.send(Registered(id=7))
            case Update(seq=seq):
                await link.send(Ack(seq=seq))


@asynccontextmanager
async def serving(
    ssl_context: ssl.SSLContext | None = None, handler: Handler = echo, handshake: float = 10.0
) -> AsyncIterator[BoundAddress]:
    serve = partial(
        serve_websocket,
        handler,
        tokens=TokenTable.single(TOKEN, "n*"),
        host="localhost",
        ssl_context=ssl_context,
        handshake=handshake,
    )
    with trio.fail_after(30):
        async with open_bare_nursery() as nursery:
            yield await nursery.start(serve)


async def register(url: str, *, ca_file: Path | None = None, token: Token | None = TOKEN) -> None:
    config = Config(name="n1", server=url, token=token, ca_file=ca_file)
    async with make_connect(config)() as link:
        assert await link.register(ME) == Registered(id=7)
        await link.send(Update(seq=1))
        assert await link.receive() == Ack(seq=1)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


def make_context(certificate: trustme.LeafCert, folder: Path) -> ssl.SSLContext:
    chain = folder / "server.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(chain))
    return make_server_context(chain)


async def test_a_trusted_certificate_is_accepted(
    ca: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    async with serving(make_context(ca.issue_cert("localhost"), tmp_path)) as bound:
        assert bound.url == f"wss://localhost:{bound.port}"
        await register(bound.url, ca_file=ca_file)


async def test_an_address_has_its_own_certificate(
    ca: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    async with serving(make_context(ca.issue_cert("127.0.0.1"), tmp_path)) as bound:
        await register(f"wss://127.0.0.1:{bound.port}", ca_file=ca_file)


async def test_an_expired_certificate_is_refused(
    ca: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    yesterday = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = ca.issue_cert("localhost", not_before=yesterday, not_after=yesterday)
    async with serving(make_context(expired, tmp_path)) as bound:
        with pytest.raises(LinkLost, match="certificate has expired"):
            await register(bound.url, ca_file=ca_file)


async def test_an_unknown_ca_is_refused(ca: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    unknown_ca = trustme.CA().issue_cert("localhost")
    async with serving(make_context(unknown_ca, tmp_path)) as bound:
        with pytest.raises(LinkLost, match="unknown CA"):
            await register(bound.url, ca_file=ca_file)
        with pytest.raises(LinkLost, match="unknown CA"):
            await register(bound.url)  # It is not one of the system's CAs.


@pytest.mark.parametrize("name", ["farm.example", "127.0.0.2"])
async def test_a_certificate_for_another_host_is_refused(
    name: str, ca: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    async with serving(make_context(ca.issue_cert(name), tmp_path)) as bound:
        with pytest.raises(LinkLost, match="certificate is for another host name"):
            await register(bound.url, ca_file=ca_file)
        with pytest.raises(LinkLost, match="certificate is for another address"):
            await register(f"wss://127.0.0.1:{bound.port}", ca_file=ca_file)


async def test_old_tls_is_refused(ca: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(ca_file)
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(make_context(ca.issue_cert("localhost"), tmp_path)) as bound:
        stream = await trio.open_ssl_over_tcp_stream("localhost", bound.port, ssl_context=old)
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)


async def test_tls_to_a_plain_server_and_the_reverse_are_named(
    ca: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    async with serving() as bound:
        with pytest.raises(LinkLost, match="does not speak TLS there"):
            await register(f"wss://localhost:{bound.port}", ca_file=ca_file)
        await register(bound.url)
    async with serving(make_context(ca.issue_cert("localhost"), tmp_path)) as bound:
        with pytest.raises(LinkLost):
            await register(f"ws://localhost:{bound.port}")
        await register(bound.url, ca_file=ca_file)


class FailingResolver(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: object, **__: object) -> NoReturn:
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> NoReturn:
        raise NotImplementedError


async def test_refused_connects_and_unknown_hosts_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens there, and no other program can
        port = taken.getsockname()[1]
        with pytest.raises(LinkLost, match=r"no server listens there \(connection refused\)"):
            await register(f"ws://127.0.0.1:{port}")
    trio.socket.set_custom_hostname_resolver(FailingResolver())  # no request to a real resolver
    with pytest.raises(LinkLost, match=r"unknown host \(Name or service not known\)"):
        await register("wss://no-such-host.invalid")


async def test_a_port_in_use_is_named() -> None:
    async with serving() as bound:
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{bound.port}: \w+"):
            await serve_websocket(echo, tokens=TokenTable(), host="127.0.0.1", port=bound.port)


@pytest.mark.parametrize("token", [None, make_token()])
async def test_no_token_and_a_wrong_one_are_refused(token: Token | None) -> None:
    async with serving() as bound:
        with pytest.raises(LinkRefused) as caught:
            await register(bound.url, token=token)
    assert (caught.value.reason, caught.value.retry_after) == ("unauthorized", None)


async def test_the_handler_can_refuse_a_name_that_the_token_is_not_for() -> None:
    names: list[bool] = []

    async def ask(link: ServerLink) -> None:
        names.extend(link.can_register(name) for name in ("n1", "other"))

    async with serving(handler=ask) as bound:
        config = Config(name="other", server=bound.url, token=TOKEN)
        async with make_connect(config)() as link:
            with pytest.raises(LinkLost):
                await link.receive()
    assert names == [True, False]


async def open_websocket(port: int, *headers: str) -> tuple[trio.SocketStream, bytes]:
    """Send an upgrade request; return the stream and the HTTP answer."""
    stream = await trio.open_tcp_stream("localhost", port)
    lines = [
        "GET / HTTP/1.1",
        f"Host: localhost:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        f"Authorization: Bearer {TOKEN.secret}",
        *headers,
        "",
        "",
    ]
    await stream.send_all("\r\n".join(lines).encode())
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive_some(1)
    return stream, bytes(answer)


async def test_a_browser_is_refused() -> None:
    async with serving() as bound:
        stream, answer = await open_websocket(bound.port, "Origin: http://localhost")
        async with stream:
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert await stream.receive_some() == b""


def test_an_invalid_ca_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    config = Config(name="n1", server="wss://farm", token=TOKEN, ca_file=path)
    with pytest.raises(ConfigError, match="No such file"):
        make_connect(config)
    path.write_text("no certificate")
    with pytest.raises(ConfigError, match=re.escape(f"--ca-file {path}: ")):
        make_connect(config)
    with pytest.raises(ConfigError, match=re.escape(f"--cert {path}: ")):
        make_server_context(path)
    assert make_client_context().verify_mode is ssl.CERT_REQUIRED


def test_a_plain_url_to_another_host_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="use wss://"):
        make_connect(Config(name="n1", server="ws://farm:51000", token=TOKEN))
    make_connect(Config(name="n1", server="ws://farm:51000", token=TOKEN, allow_plain=True))


async def test_a_frame_of_100_mb_is_refused_before_it_takes_memory() -> None:
    refused = trio.Event()

    async def receive_large(link: ServerLink) -> None:
        with pytest.raises(ProtocolError, match="a frame of more than"):
            await link.receive()
        refused.set()

    async with serving(handler=receive_large) as bound:
        stream, answer = await open_websocket(bound.port)
        assert answer.startswith(b"HTTP/1.1 101 ")
        before = peak = psutil.Process().memory_info().rss
        async with stream:
            # The head of a text frame of 100 MB, masked with zeros.
            await stream.send_all(b"\x81\xff" + (100_000_000).to_bytes(8, "big") + bytes(4))
            while not refused.is_set():
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(b" " * 1_000_000)
                peak = max(peak, psutil.Process().memory_info().rss)
    assert peak - before < 4 * MAX_FRAME


async def test_a_frame_of_100_mb_of_the_server_ends_the_link() -> None:
    async def flood(link: ServerLink) -> None:
        stream = link.connection._stream  # type: ignore[attr-defined]  # below all checks
        await stream.send_all(b"\x81\x7f" + (100_000_000).to_bytes(8, "big"))
        for _ in range(100):
            await stream.send_all(b" " * 1_000_000)

    async with serving(handler=flood) as bound:
        config = Config(name="n1", server=bound.url, token=TOKEN)
        async with make_connect(config)() as link:
            with pytest.raises(ProtocolError, match="a frame of more than"):
                await link.receive()


async def test_an_invalid_client_ends_its_own_connection_only(
    ca: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    context = make_context(ca.issue_cert("localhost"), tmp_path)
    async with serving(context) as bound:
        for garbage in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 10_000):
            stream = await trio.open_tcp_stream("localhost", bound.port)
            await stream.send_all(garbage or b"x")
            await stream.aclose()
        tls = await trio.open_ssl_over_tcp_stream(
            "localhost", bound.port, ssl_context=make_client_context(ca_file)
        )
        await tls.send_all(b"\xff\x00 nonsense within TLS\r\n\r\n")
        await trio.aclose_forcefully(tls)
        await register(bound.url, ca_file=ca_file)


async def test_a_client_that_never_starts_tls_is_dropped(ca: trustme.CA, tmp_path: Path) -> None:
    context = make_context(ca.issue_cert("localhost"), tmp_path)
    async with serving(context, handshake=0.05) as bound:
        stream = await trio.open_tcp_stream("localhost", bound.port)
        async with stream:
            assert await stream.receive_some() == b""


async def test_a_link_cut_in_mid_frame_is_lost() -> None:
    lost = trio.Event()

    async def receive_half(link: ServerLink) -> None:
        with pytest.raises(LinkLost, match="1006"):
            await link.receive()
        lost.set()

    async with serving(handler=receive_half) as bound:
        stream, _ = await open_websocket(bound.port)
        await stream.send_all(b"\x81\xfe\x10\x00" + bytes(4) + b'{"type":')
        await stream.aclose()
        await lost.wait()


async def test_a_session_leaves_no_descriptor_open() -> None:
    async with serving() as bound:
        await register(bound.url)
        before = psutil.Process().num_fds()
        for _ in range(5):
            await register(bound.url)
            with pytest.raises(LinkRefused):
                await register(bound.url, token=None)
            stream, _ = await open_websocket(bound.port)
            await trio.aclose_forcefully(stream)
        while psutil.Process().num_fds() > before:  # The server closes a moment later.
            await trio.lowlevel.checkpoint()


def test_other_tls_failures_are_described() -> None:
    assert explain_tls(None) == "TLS handshake failed (connection closed)"
    alert = ssl.SSLError(1, "tlsv1 alert")
    alert.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert "aborted" in explain_tls(alert)
    assert "reset" in explain_tls(ConnectionResetError(104, "connection reset by peer"))


def test_files_that_make_no_pair_are_named_with_what_they_lack(
    tmp_path: Path, ca: trustme.CA
) -> None:
    one, other = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    files = {
        "cert": one.cert_chain_pems[0].bytes(),
        "key": one.private_key_pem.bytes(),
        "other": other.private_key_pem.bytes(),
        "both": one.private_key_and_cert_chain_pem.bytes(),
        "text": b"text",
        "broken": one.private_key_pem.bytes().replace(b"\nM", b"\n", 1),
        "locked": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII\n-----END ENCRYPTED PRIVATE KEY-----\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    make_server_context(tmp_path / "cert", tmp_path / "key")
    make_server_context(tmp_path / "both")
    for certificate, key, problem in (
        ("cert", "", "--cert .*/cert: it has no key: give the file of the key with --key"),
        ("text", "key", "--cert .*/text: it has no certificate"),
        ("gone", "key", "--cert .*/gone: No such file or directory"),
        ("cert", "gone", "--key .*/gone: No such file or directory"),
        ("cert", "text", "--key .*/text: it has no key"),
        ("cert", "other", "--cert .*/cert --key .*/other: the key is not that of the certificate"),
        ("cert", "broken", "--key .*/broken: certificate or key cannot be read"),
        ("cert", "locked", "--key .*/locked: the key is encrypted: give one that is not"),
    ):
        with pytest.raises(ConfigError, match=problem.replace(".*/", r".*[/\\]")):
            make_server_context(tmp_path / certificate, tmp_path / key if key else None)

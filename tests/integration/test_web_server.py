"""The page over real sockets: its own user, TLS, many viewers, and browsers that do not read."""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import ssl
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs
import pytest
import trio
import trustme
from hypercorn.config import Config as HypercornConfig
from support.cli import GUARD, open_command

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.cli import open_page as open_page_module
from trio_afrender.cli.arguments import parse
from trio_afrender.cli.open_page import open_page, plan_page
from trio_afrender.errors import ConfigError
from trio_afrender.farm import open_farm
from trio_afrender.farm.json_interface import make_in_process_farm, open_requests
from trio_afrender.farm.json_interface.in_process_farm import InProcessFarm
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.web import http_listener
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.serve_page import OpenPage, serve_page
from trio_afrender.web.settings import PageSettings

JOB = {
    "job": {"name": "j", "user_name": "ann", "blocks": [{"name": "b", "tasks": [{"name": "t"}]}]}
}


@attrs.define(eq=False)
class Served:
    """A page at a port."""

    page: OpenPage
    farm: InProcessFarm
    port: int
    scope: trio.CancelScope
    ssl_context: ssl.SSLContext | None = None

    async def connect(self) -> trio.abc.Stream:
        if self.ssl_context is None:
            return await trio.open_tcp_stream("127.0.0.1", self.port)
        return await trio.open_ssl_over_tcp_stream(
            "localhost", self.port, ssl_context=self.ssl_context, https_compatible=True
        )

    def head(self, target: str, *lines: str, method: str = "GET") -> bytes:
        host = f"Host: localhost:{self.port}"
        return "\r\n".join((f"{method} {target} HTTP/1.1", host, *lines, "", "")).encode()

    async def ask(self, target: str, *lines: str) -> tuple[str, bytes]:
        """Return head and body of an answer."""
        async with await self.connect() as stream:
            await stream.send_all(self.head(target, "Connection: close", *lines))
            data = bytearray()
            while part := await stream.receive_some():
                data += part
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        return head.decode(), body


@asynccontextmanager
async def open_served(**settings: Any) -> AsyncIterator[Served]:  # noqa: ANN401 - of `PageSettings`
    client = settings.pop("client", None)
    async with open_farm(None) as farm, open_requests(farm) as requests:
        farm.submit(parse_job(JOB))
        own = make_in_process_farm(
            farm, requests, place="af://own", user_name="ann", host_name="ws1"
        )
        async with open_bare_nursery() as nursery:
            scope = trio.CancelScope()

            async def serve(task_status: trio.TaskStatus[OpenPage]) -> None:
                with scope:
                    await serve_page(own, PageSettings(port=0, **settings), task_status=task_status)

            with trio.fail_after(GUARD):
                page: OpenPage = await nursery.start(serve)
                while page.watch.monitor is None:
                    await page.watch.round.wait()
                yield Served(page, own, int(page.url.rpartition(":")[2]), scope, client)


class EventReader:
    """Reads a stream of events that has data, one after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._text = ""
        self._begun = False
        self._found: list[tuple[str, Any]] = []

    async def next(self) -> tuple[str, Any]:
        while not self._found:
            part = await self._stream.receive_some()
            assert part, self._text
            # Chunks have their lengths on lines of their own.
            self._text += part.decode().replace("\r\n", "\n")
            *whole, self._text = self._text.split("\n\n")
            for each in whole:
                lines = [x for x in each.split("\n") if x.startswith(("event: ", "data: "))]
                if len(lines) == 2:
                    self._found.append((lines[0][7:], json.loads(lines[1][6:])))
        return self._found.pop(0)


async def read_events(stream: trio.abc.Stream, count: int) -> None:
    """Read so many events."""
    reader = EventReader(stream)
    for _ in range(count):
        await reader.next()


async def test_the_user_of_the_program_needs_no_link() -> None:
    async with open_served() as served:
        head, body = await served.ask("/api/session")
        assert head.startswith("HTTP/1.1 200")
        assert json.loads(body)["steer"] is True
        head, body = await served.ask("/api/session", "X-Forwarded-For: 192.0.2.1")
        assert head.startswith("HTTP/1.1 401")
        head, _ = await served.ask("/api/session", "Host: evil.example")
        assert head.startswith(("HTTP/1.1 403", "HTTP/1.1 400"))


async def test_tls_and_its_cookie() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with open_served(ssl_context=server, client=client) as served:
        assert served.page.url.startswith("https://")
        link = served.page.make_link(False)
        target = link.partition(f":{served.port}")[2]
        head, _ = await served.ask(target)
        (cookie,) = [line for line in head.split("\r\n") if line.lower().startswith("set-cookie")]
        assert f"__Host-trio_afrender_{served.port}=" in cookie
        assert "Secure" in cookie
        secret = cookie.partition(": ")[2].partition(";")[0]
        _, body = await served.ask("/api/session", f"Cookie: {secret}")
        assert json.loads(body)["steer"] is False
        # Plain HTTP at this port gets no answer.
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as plain:
            await plain.send_all(served.head("/api/session"))
            with suppress(trio.BrokenResourceError):
                assert not await plain.receive_some()


async def test_viewers_see_that_watching_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a mistake")

    async with open_served() as served, await served.connect() as stream:
        with trio.fail_after(GUARD):
            await stream.send_all(served.head("/api/events?topics=jobs"))
            reader = EventReader(stream)
            assert (await reader.next())[1]["connected"] is True
            assert (await reader.next())[0] == "snapshot"
            with monkeypatch.context() as patch:
                patch.setattr(FarmWatch, "_hand_output", fail)
                name, lost = await reader.next()
            assert (name, lost["connected"]) == ("server", False)
            assert lost["error"].startswith("internal error")
            while (event := await reader.next())[0] != "server":
                pass
            assert event[1]["connected"] is True


async def test_two_hundred_viewers() -> None:
    """All of them see a change, and each change is made once."""
    sizes: list[int] = []
    async with open_served() as served, trio.open_nursery() as nursery:
        watching = trio.Semaphore(0)

        async def view() -> None:
            async with await served.connect() as stream:
                await stream.send_all(served.head("/api/events?topics=jobs,renders,loads,log"))
                await read_events(stream, 5)
                watching.release()
                text = b""
                while b"OFF" not in text:
                    part = await stream.receive_some()
                    assert part
                    text += part
                sizes.append(len(text))

        for _ in range(200):
            nursery.start_soon(view)
        for _ in range(200):
            await watching.acquire()
        await served.farm.act("jobs", [2], operation={"type": "pause"})
    assert len(sizes) == 200
    assert max(sizes) < 3000


async def test_a_browser_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_listener, "_SEND_TIMEOUT", 0.2)
    async with open_served() as served:
        async with await served.connect() as stream:
            assert isinstance(stream, trio.SocketStream)
            await stream.send_all(served.head("/api/events?topics=jobs"))
            await read_events(stream, 2)
            topic = served.page.watch.tables["jobs"]
            number = 0
            # Until the buffers of both ends are full, and the send that waits is given up.
            with suppress(trio.BrokenResourceError):
                while number < 1000:
                    number += 1
                    topic.update([{"id": 2, "name": f"{number}{'x' * 400_000}"}])
                    await trio.sleep(0.05)
                    await stream.send_all(b" ")
            assert number < 1000


async def test_the_end_waits_for_no_browser() -> None:
    """The worker shields what it sends: the end closes the sockets below it."""
    async with open_served() as served, await served.connect() as stream:
        await stream.send_all(served.head("/api/events?topics=jobs"))
        await read_events(stream, 2)
        topic = served.page.watch.tables["jobs"]
        for number in range(40):
            topic.update([{"id": 2, "name": f"{number}{'x' * 400_000}"}])
            await trio.lowlevel.checkpoint()
        with trio.fail_after(5):
            served.scope.cancel()
            while await stream.receive_some():
                pass


async def test_half_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_listener, "_IDLE_TIMEOUT", 0.2)
    async with open_served() as served, await served.connect() as stream:
        # A close before the server has read what was sent resets the connection.
        with trio.fail_after(10), suppress(trio.BrokenResourceError):
            await stream.send_all(b"GET /api/session HTTP/1.1\r\nHost: loc")
            while await stream.receive_some():
                pass


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"AFANASY 10 JSON{}",
        b"\r\n" * 10_000,
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000,
        (
            b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        ),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_what_is_no_request(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[HypercornConfig] = []

    def make_config() -> HypercornConfig:
        configs.append(HypercornConfig())
        return configs[-1]

    monkeypatch.setattr(http_listener, "HypercornConfig", make_config)
    async with open_served() as served:
        with monkeypatch.context() as patch:
            patch.setattr(configs[0], "keep_alive_timeout", 0.5)
            patch.setattr(http_listener, "_SILENCE", 0.5)
            async with await served.connect() as stream:
                try:
                    await stream.send_all(data)
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        # With the usual limits: on a busy machine an answer may take longer than half a second.
        assert (await served.ask("/api/session"))[0].startswith("HTTP/1.1 200")


async def test_nothing_follows_a_refused_request(caplog: pytest.LogCaptureFixture) -> None:
    """A proxy of the user may have passed on what it took for one request."""
    async with open_served() as served:
        length = ("Content-Length: 4", "Transfer-Encoding: chunked")
        first = served.head("/api/act", *length, method="POST") + b"0\r\n\r\n"
        async with await served.connect() as stream:
            await stream.send_all(first + served.head("/api/session"))
            data = bytearray()
            while part := await stream.receive_some():
                data += part
        # The connection may end before the refusal is sent.
        assert data.count(b"HTTP/1.1 ") == data.count(b"HTTP/1.1 403") <= 1
    assert not [each.message for each in caplog.records if each.levelno >= logging.ERROR]


async def test_a_changed_protocol_opens_nothing() -> None:
    """What goes through a proxy after such a change has no header of the proxy any more."""
    async with open_served() as served:
        upgrade = (
            "Upgrade: h2c",
            "Connection: Upgrade, HTTP2-Settings",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        )
        async with await served.connect() as stream:
            await stream.send_all(served.head("/api/session", *upgrade))
            data = bytearray()
            while b"HTTP/1.1 only" not in data and (part := await stream.receive_some()):
                data += part
        assert b"HTTP/1.1 only" in data
        assert b"steer" not in data


async def test_connections_that_fail_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Who needs no link for it can cause them: not each may have a line, none a traceback."""
    upgrade = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAA")
    async with open_served() as served:
        for _ in range(20):
            async with await served.connect() as stream:
                await stream.send_all(served.head("/api/session", *upgrade))
                with suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass
    records = [each for each in caplog.records if "connection has failed" in each.message]
    assert len([each for each in records if each.levelno >= logging.INFO]) == 5
    assert not any(each.exc_info for each in records if each.levelno >= logging.INFO)


async def test_browsers_wait_for_a_descriptor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, refused = trio.SocketListener.accept, 0

    async def refuse_some(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal refused
        if refused < 3:
            refused += 1
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", refuse_some)
    async with open_served() as served:
        assert (await served.ask("/api/session"))[0].startswith("HTTP/1.1 200")
    assert refused == 3
    assert not any(each.exc_info for each in caplog.records)
    assert "browsers: no connection can be accepted now: Too many open files" in caplog.text


async def test_connections_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ones of the address with most give their places to newer ones."""
    monkeypatch.setattr(http_listener, "_connection_limit", lambda: 16)
    async with open_served() as served:
        streams = [await served.connect() for _ in range(40)]
        assert (await served.ask("/api/session"))[0].startswith("HTTP/1.1 200")
        for stream in streams:
            await trio.aclose_forcefully(stream)


# The commands


def test_without_the_extra_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "hypercorn" else find(name)
    )
    with pytest.raises(ConfigError, match='needs hypercorn; install the extra "web"'):
        plan_page("--web", "127.0.0.1:0", parse(["web"]), own_farm=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--listen", "0.0.0.0:0"], "without TLS"),
        (["--listen", "192.0.2.1:80"], "without TLS"),
        (["--key", "k.pem"], "--key needs --cert"),
        (["--cert", "none.pem"], "none.pem"),
        (["--listen", "8080"], "expected HOST:PORT"),
    ],
)
def test_options_that_are_not_safe(words: list[str], sentence: str) -> None:
    options = parse(["web", *words])
    with pytest.raises(ConfigError, match=sentence):
        plan_page("--listen", options.listen, options, own_farm=False)


@pytest.mark.parametrize("tls", [False, True])
async def test_the_browser_gets_no_token_by_its_arguments(
    tls: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other users of the host can read the arguments of programs."""
    opened: list[tuple[str, str, int]] = []
    done = trio.Event()

    def browse(url: str) -> None:
        path = Path(unquote(url.removeprefix("file://")))
        if url.startswith("file:"):
            opened.append((url, path.read_text(), path.parent.stat().st_mode & 0o777))
        else:
            opened.append((url, "", 0))
        trio.from_thread.run_sync(done.set)

    monkeypatch.setattr(webbrowser, "open", browse)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls else None
    async with open_farm(None) as farm, open_requests(farm) as requests:
        own = make_in_process_farm(farm, requests, place="own", user_name="ann", host_name="w")
        async with open_bare_nursery() as nursery:
            settings = PageSettings(port=0, ssl_context=context)
            with trio.fail_after(GUARD):
                await open_page(nursery, own, settings, browse=True)
                await done.wait()
    ((url, text, mode),) = opened
    assert "token" not in url
    assert ("/login?token=" in text, mode) == ((True, 0o700) if tls else (False, 0))
    assert capsys.readouterr().err.count("/login?token=") == 2


async def test_a_browser_that_stays_open_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a terminal ends when its user closes it; a disk can be too full for the file."""
    closed = threading.Event()
    warned = trio.Event()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    started = trio.Event()

    def browse(_url: str) -> None:
        trio.from_thread.run_sync(started.set)
        closed.wait()

    def make_none(**_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def say(text: str) -> None:
        if text == "warning: the browser is not opened: No space left on device":
            warned.set()

    monkeypatch.setattr(webbrowser, "open", browse)
    monkeypatch.setattr(open_page_module, "TemporaryDirectory", make_none)
    try:
        async with open_farm(None) as farm, open_requests(farm) as requests:
            own = make_in_process_farm(farm, requests, place="own", user_name="ann", host_name="w")
            with trio.fail_after(GUARD):
                async with open_bare_nursery() as nursery:
                    await open_page(nursery, own, PageSettings(port=0), browse=True)
                    await started.wait()
                    by_file = PageSettings(port=0, ssl_context=context)
                    await open_page(nursery, own, by_file, browse=True, say=say)
                    await warned.wait()
    finally:
        closed.set()


async def test_run_and_farm_serve_their_page(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    # It waits until the page was asked.
    wait = "while [ ! -e go ]; do sleep 0.05; done"
    tasks = [{"name": "t", "command": wait}]
    block = {"name": "b", "service": "generic", "working_directory": str(tmp_path), "tasks": tasks}
    job.write_text(json.dumps({"job": {"name": "j", "user_name": "ann", "blocks": [block]}}))
    store = ("--af_store_folder", tmp_path / "store")
    with trio.fail_after(GUARD):
        async with open_command("run", job, *store, "--web", "127.0.0.1:0", home=tmp_path) as run:
            await run.says("to look only")
            address = run.err.partition("this run is http://")[2].split("/")[0]
            assert (await ask_until(address, "running"))["name"] == "j"
            (tmp_path / "go").touch()
            assert await run.wait() == 0
            assert run.out == ""
        words = (*store, "--agents", "0", "--json", "127.0.0.1:0", "--web", "127.0.0.1:0")
        async with open_command("farm", job, *words, home=tmp_path) as farm:
            await farm.says("to look only")
            address = farm.err.rpartition(" is http://")[2].split("/")[0]
            assert (await ask_until(address, "ready"))["ready"] == 1
            server = await farm.first_line()
            more = ("--server", server, "--listen", "127.0.0.1:0")
            async with open_command("web", *more, home=tmp_path) as web:
                await web.says("Ctrl-C ends it")
                address = (await web.first_line()).removeprefix("http://").rstrip("/")
                assert (await ask_until(address, "ready"))["name"] == "j"
                web.process.terminate()
                assert await web.wait() == 0
            farm.process.terminate()
            assert await farm.wait() == 0


async def ask_until(address: str, count: str) -> Any:  # noqa: ANN401 - JSON
    """Watch the jobs of a page until job 2 has tasks in a state; return its row."""
    host, _, port = address.partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        head = f"GET /api/events?topics=jobs HTTP/1.1\r\nHost: {address}\r\n\r\n"
        await stream.send_all(head.encode())
        reader = EventReader(stream)
        rows: dict[int, dict[str, Any]] = {}
        while not any(row[count] for row in rows.values()):
            _, data = await reader.next()
            for row in data.get("rows", ()):
                rows.setdefault(row["id"], {}).update(row)
        return rows[2]

"""Who has no token, the wrong one, a browser or an old certificate: named, and kept out."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trio
import trustme
from support.cli import open_command
from support.loopback_farm import Gated, Stage, block, open_agent, open_stage

from trio_afrender.protocol.json_codec import SUBPROTOCOL
from trio_afrender.transport.tls import make_server_context
from trio_afrender.transport.tokens import TokenTable, make_token

EXPIRED = "the server's certificate has expired (certificate has expired)"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (None, "{url}: no token given"),
        ("x" * 43, "{url}: the server does not know this render's token"),
    ],
)
async def test_a_stranger_is_told_and_kept_out(
    tmp_path: Path, secret: str | None, why: str
) -> None:
    async with open_stage(tmp_path) as stage:
        await stage.agent()
        words: list[str | Path] = ["--server", stage.server.url, "--store", "s", "--name", "thief"]
        if secret is not None:
            (tmp_path / "token").touch(mode=0o600)
            (tmp_path / "token").write_text(secret)
            words += ["--token-file", "token"]
        async with open_command(*words, home=tmp_path) as stranger:
            assert await stranger.wait() == 3
        url = stage.server.url
        told = f"trio_afrender: refused by the server: unauthorized ({why.format(url=url)})\n"
        assert (stranger.out, stranger.err) == ("", told)
        await stage.registered()
        assert [render.name for render in stage.farm.renders] == ["render-1"]
        await stage.check_alive()


async def test_an_agent_whose_token_is_taken_away_ends_its_tasks_and_says_why(
    tmp_path: Path,
) -> None:
    """A server that will not have it ever again would not take the outcome either."""
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage, open_agent(tmp_path, stage.server) as agent:
        job = stage.submit(block(gate.command(before="(setsid sleep 1000 &)")))
        await gate.is_up()
        await stage.server.shut()
        await stage.server.open(tokens=TokenTable.single(make_token()))
        assert await agent.wait() == 3
        assert agent.err.endswith(
            f"trio_afrender: refused by the server: unauthorized ({stage.server.url}: "
            "the server does not know this render's token)\n"
        )
        assert stage.strays() == []
        assert stage.farm.view(job).tasks[0].state == "running", "until the zombie time is over"


async def knock(stage: Stage, *headers: str) -> bytes:
    """Ask for a websocket as anybody could, with the right token; return the status line."""
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{stage.server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        f"Authorization: Bearer {stage.server.token.secret}",
        *headers,
    ]
    async with await trio.open_tcp_stream("127.0.0.1", stage.server.port) as stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n" not in answer and (data := await stream.receive_some()):
            answer += data
        return answer.partition(b"\r\n")[0]


async def test_a_page_in_a_browser_does_not_get_in_even_with_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gated.make(tmp_path)
    async with open_stage(tmp_path) as stage:
        await stage.agent()
        job = stage.submit(block(gate.command()))
        await gate.is_up()
        for origin in ("https://evil.example", f"http://127.0.0.1:{stage.server.port}", "null"):
            assert (await knock(stage, f"Origin: {origin}")).startswith(b"HTTP/1.1 403 ")
        assert (await knock(stage)).startswith(b"HTTP/1.1 101 ")
        assert caplog.text.count("rejected, HTTP 403: an Origin header: a browser") == 3
        assert stage.server.token.secret not in caplog.text
        assert len(stage.farm.renders) == 1
        await gate.let_go()
        assert (await stage.farm.wait(job)).state == "done"
        await stage.check_alive()


def make_context(folder: Path, ca: trustme.CA, *, year: int) -> ssl.SSLContext:
    """A server's certificate that was good for that year."""
    certificate = ca.issue_cert(
        "127.0.0.1",
        not_before=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        not_after=datetime.datetime(year, 12, 31, tzinfo=datetime.UTC),
    )
    path = folder / f"server-{year}.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    return make_server_context(path)


async def test_a_certificate_that_expires_is_named_and_costs_nothing_once_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, gate = trustme.CA(), Gated.make(tmp_path)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    good, expired = (make_context(tmp_path, ca, year=year) for year in (2099, 2020))
    async with open_stage(tmp_path) as stage:
        await stage.server.shut()
        stage.server.ssl_context = good
        await stage.server.open()
        agent = await stage.agent(ca_file=tmp_path / "ca.pem")
        job = stage.submit(block(gate.command()))
        await gate.is_up()
        await stage.server.shut()
        stage.server.ssl_context = expired
        await stage.server.open()
        while "expired" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await trio.sleep(0.01)
        await gate.let_go()
        while agent.running:  # noqa: ASYNC110 - as above
            await trio.sleep(0.01)
        await stage.server.shut()
        stage.server.ssl_context = good
        await stage.server.open()
        [task] = (await stage.farm.wait(job)).tasks
        assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
        await stage.check_alive()
    assert [line for line in caplog.messages if "expired" in line] == [
        f"no link to the server: {stage.server.url}: {EXPIRED}; trying again"
    ]

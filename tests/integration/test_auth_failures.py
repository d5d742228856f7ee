"""A missing or wrong token, a browser, an expired certificate: rejected with the reason."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trio
import trustme
from support.cli import open_command
from support.loopback_farm import Gated, LoopbackFarm, block, open_agent, open_loopback_farm
from support.polling import until

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
async def test_an_agent_without_a_valid_token_is_refused(
    tmp_path: Path, secret: str | None, why: str
) -> None:
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent()
        words: list[str | Path] = [
            "--server",
            loopback.server.url,
            "--store",
            "s",
            "--name",
            "intruder",
        ]
        if secret is not None:
            (tmp_path / "token").touch(mode=0o600)
            (tmp_path / "token").write_text(secret)
            words += ["--token-file", "token"]
        async with open_command(*words, home=tmp_path) as agent:
            assert await agent.wait() == 3
        url = loopback.server.url
        refused = f"trio_afrender: refused by the server: unauthorized ({why.format(url=url)})\n"
        assert (agent.out, agent.err) == ("", refused)
        await loopback.registered()
        assert [render.name for render in loopback.farm.renders] == ["render-1"]
        await loopback.check_alive()


async def test_an_agent_whose_token_is_revoked_ends_its_tasks_and_reports_why(
    tmp_path: Path,
) -> None:
    """A server that refuses the agent for good would not accept the outcomes either."""
    gate = Gated.make(tmp_path)
    async with (
        open_loopback_farm(tmp_path) as loopback,
        open_agent(tmp_path, loopback.server) as agent,
    ):
        job = loopback.submit(block(gate.command(before="(setsid sleep 1000 &)")))
        await gate.is_up()
        await loopback.server.close()
        await loopback.server.open(tokens=TokenTable.single(make_token()))
        assert await agent.wait() == 3
        assert agent.err.endswith(
            f"trio_afrender: refused by the server: unauthorized ({loopback.server.url}: "
            "the server does not know this render's token)\n"
        )
        assert loopback.task_processes() == []
        assert loopback.farm.view(job).tasks[0].state == "running", "until the zombie time is over"


async def request_upgrade(loopback: LoopbackFarm, *headers: str) -> bytes:
    """Request a websocket with the right token and more headers; return the status line."""
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{loopback.server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        f"Authorization: Bearer {loopback.server.token.secret}",
        *headers,
    ]
    async with await trio.open_tcp_stream("127.0.0.1", loopback.server.port) as stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n" not in answer and (data := await stream.receive_some()):
            answer += data
        return answer.partition(b"\r\n")[0]


async def test_a_page_in_a_browser_is_rejected_even_with_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gated.make(tmp_path)
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.agent()
        job = loopback.submit(block(gate.command()))
        await gate.is_up()
        for origin in ("https://evil.example", f"http://127.0.0.1:{loopback.server.port}", "null"):
            assert (await request_upgrade(loopback, f"Origin: {origin}")).startswith(
                b"HTTP/1.1 403 "
            )
        assert (await request_upgrade(loopback)).startswith(b"HTTP/1.1 101 ")
        assert caplog.text.count("rejected, HTTP 403: an Origin header: a browser") == 3
        assert loopback.server.token.secret not in caplog.text
        assert len(loopback.farm.renders) == 1
        await gate.release()
        assert (await loopback.farm.wait(job)).state == "done"
        await loopback.check_alive()


def make_context(folder: Path, ca: trustme.CA, *, year: int) -> ssl.SSLContext:
    """A context with a server certificate that is valid from 2020 to the end of that year."""
    certificate = ca.issue_cert(
        "127.0.0.1",
        not_before=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        not_after=datetime.datetime(year, 12, 31, tzinfo=datetime.UTC),
    )
    path = folder / f"server-{year}.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    return make_server_context(path)


async def test_an_expired_certificate_is_reported_and_costs_nothing_once_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, gate = trustme.CA(), Gated.make(tmp_path)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    good, expired = (make_context(tmp_path, ca, year=year) for year in (2099, 2020))
    async with open_loopback_farm(tmp_path) as loopback:
        await loopback.server.close()
        loopback.server.ssl_context = good
        await loopback.server.open()
        agent = await loopback.agent(ca_file=tmp_path / "ca.pem")
        job = loopback.submit(block(gate.command()))
        await gate.is_up()
        await loopback.server.close()
        loopback.server.ssl_context = expired
        await loopback.server.open()
        await until(lambda: "expired" in caplog.text)
        await gate.release()
        await until(lambda: not agent.running)
        await loopback.server.close()
        loopback.server.ssl_context = good
        await loopback.server.open()
        [task] = (await loopback.farm.wait(job)).tasks
        assert (task.state, task.attempts, task.output) == ("done", 1, "finished\n")
        await loopback.check_alive()
    assert [line for line in caplog.messages if "expired" in line] == [
        f"no link to the server: {loopback.server.url}: {EXPIRED}; trying again"
    ]

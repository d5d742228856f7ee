"""Connections to the JSON interface: who may ask, how long they may take, what ends them."""

from __future__ import annotations

import json
import logging

import pytest
import trio
from support.json_farm import TOKEN, JsonFarm, open_json_farm

from trio_afrender.farm.json_interface.json_server import MAX_FOREIGN, TIMEOUT

USERS = b'{"get":{"type":"users"}}'
FRAME = b"AFANASY 24 JSON" + USERS
ANSWER = b'AFANASY 12 JSON{"users":[]}'


def post(*headers: str, body: bytes = USERS) -> bytes:
    lines = ("POST / HTTP/1.1", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


async def test_each_frame_is_answered_in_its_own_kind(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        assert await farm.exchange(FRAME) == ANSWER
        binary = bytes.fromhex("000000510000001800000018") + USERS
        assert await farm.exchange(binary) == (
            bytes.fromhex("00000051000000180000000c") + b'{"users":[]}'
        )
        http = await farm.exchange(post("Host: 127.0.0.1:51000"))
        assert http.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        assert http.endswith(b'\r\n\r\n{"users":[]}')


@pytest.mark.parametrize("sent", [b"", b"AFA", FRAME[:-1], b"GET / HTTP/1.1\r\nHost:", post()[:-1]])
async def test_half_a_frame_ends_after_a_while(autojump_clock: trio.abc.Clock, sent: bytes) -> None:
    async with open_json_farm() as farm, farm.connect() as stream:
        if sent:
            await stream.send_all(sent)
        begin = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - begin == pytest.approx(TIMEOUT)
        assert await farm.exchange(FRAME) == ANSWER


async def test_a_request_that_trickles_in_ends_too(autojump_clock: trio.abc.Clock) -> None:
    async def trickle(stream: trio.abc.SendStream) -> None:
        for byte in FRAME:
            await stream.send_all(bytes([byte]))
            await trio.sleep(1.0)

    async with open_json_farm() as farm, farm.connect() as stream:
        with pytest.raises(trio.BrokenResourceError):
            await trickle(stream)


async def test_a_client_that_leaves_early(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_json_farm() as farm:
        for sent in (b"", FRAME[:-1], FRAME):
            async with farm.connect() as stream:
                if sent:
                    await stream.send_all(sent)
        assert await farm.exchange(FRAME) == ANSWER
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_slow_reader_is_dropped(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm, farm.connect(lockstep=True) as stream:
        await stream.send_all(FRAME)
        begin = trio.current_time()
        # The answer is not read: the farm waits for that, but not for ever.
        await trio.sleep(TIMEOUT + 1)
        assert trio.current_time() - begin == pytest.approx(TIMEOUT + 1)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"still there?")
        assert await farm.exchange(FRAME) == ANSWER


async def test_a_client_that_does_not_close_is_dropped(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm, farm.connect() as stream:
        await stream.send_all(FRAME)
        begin = trio.current_time()
        while await stream.receive_some():
            pass
        assert trio.current_time() == begin
        await stream.send_all(b"more")
        await trio.sleep(TIMEOUT + 1)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"more")


async def test_bad_frames_get_what_the_reader_gives(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        assert await farm.exchange(b"hello world hello") == bytes.fromhex(
            "000000510000000100000001"
        )
        too_large = await farm.exchange(b"AFANASY 100000000 JSON{")
        assert b"A message of 100,000,000 bytes" in too_large
        assert await farm.exchange(b"AFANASY 24 XXXX{") == b""
        bad_json = await farm.exchange(b'AFANASY 7 JSON{"a":1,')
        assert b'"kind":"error","text":"not JSON' in bad_json


@pytest.mark.parametrize(
    "header",
    [
        "Host: example.org",
        "Origin: http://example.org",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ],
)
async def test_pages_of_other_sites_are_refused(
    autojump_clock: trio.abc.Clock, header: str
) -> None:
    async with open_json_farm() as farm:
        job = json.dumps({"user": {"name": "intruder"}}).encode()
        answer = await farm.exchange(post(header, body=job))
        assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert (await farm.get("users")) == {"users": []}
        got = await farm.exchange(f"GET / HTTP/1.1\r\n{header}\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 403 ")


async def test_a_request_of_another_page_as_browsers_send_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Needs no preflight; the real server finds the line in the body and obeys."""
    body = b'x=\nAFANASY: 27\n\n{"user":{"name":"intruder"}}\n'
    async with open_json_farm() as farm:
        origin = ("Host: 127.0.0.1:51000", "Origin: http://example.org", "Content-Type: text/plain")
        assert (await farm.exchange(post(*origin, body=body))).startswith(b"HTTP/1.1 403 ")
        assert (await farm.get("users")) == {"users": []}


async def ask_as_another_user(farm: JsonFarm, token: str) -> list[bytes]:
    """Ask with a token in each place where one may stand."""
    request = json.dumps({"get": {"type": "users"}, "token": token}).encode()
    return [
        await farm.exchange(b"AFANASY %d JSON%b" % (len(request), request)),
        await farm.exchange(post(body=request)),
        await farm.exchange(post(f"Authorization: Bearer {token}")),
        await farm.exchange(f"GET / HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()),
    ]


async def test_another_user_needs_the_token(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        farm.own = False
        for token in ("", "wrong", "é"):
            frame, in_body, in_head, got = await ask_as_another_user(farm, token)
            assert b"belongs to another user of this machine" in frame
            assert b'"kind":"error"' in frame
            for answer in (in_body, in_head, got):
                assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
                assert b"WWW-Authenticate: Bearer" in answer
        frame, in_body, in_head, got = await ask_as_another_user(farm, TOKEN.secret)
        for answer in (frame, in_body, in_head):
            assert answer.endswith(b'{"users":[]}')
        assert got.startswith(b"HTTP/1.1 404 ")  # no page is served, but this user may ask


async def test_without_the_token_another_user_is_always_refused(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_json_farm() as farm:
        farm.own = False
        for token in ("", "None"):
            assert b"another user" in (await ask_as_another_user(farm, token))[0]


async def test_other_users_get_few_connections(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        farm.own = False
        held = [farm.connect() for _ in range(MAX_FOREIGN)]
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        assert await farm.exchange(FRAME) == b""
        assert trio.current_time() == begin
        farm.own = True
        assert await farm.exchange(FRAME) == ANSWER
        for stream in held:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        farm.own = False
        assert b"another user" in await farm.exchange(FRAME)


async def test_a_request_of_another_user_is_small(autojump_clock: trio.abc.Clock) -> None:
    async with open_json_farm() as farm:
        farm.own = False
        assert b"expected 1 to 16,777,216" in await farm.exchange(b"AFANASY 16777217 JSON{")


async def test_a_bug_ends_one_connection_and_no_other(
    autojump_clock: trio.abc.Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_json_farm() as farm:

        async def fail(root: object, asker: object) -> None:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(farm.server.requests, "answer", fail)
            assert await farm.exchange(FRAME) == b""
        assert "a bug" in caplog.text
        assert await farm.exchange(FRAME) == ANSWER

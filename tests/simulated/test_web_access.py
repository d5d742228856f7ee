"""Who may look at the page and who may steer: headers, hosts, tokens, rights, rates, places."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from support.web_page import HOST, SAME_ORIGIN, WebPage, change_body, open_own_page
from trio.testing import MockClock

from trio_afrender.transport.socket_owner import make_owner_check
from trio_afrender.web.output_feed import make_stored_output
from trio_afrender.web.sessions import RequestRates, SessionTable
from trio_afrender.web.settings import PageSettings

JOB = {"blocks": [{"name": "b", "tasks": [{"name": "t", "command": "true"}]}]}
PAUSE = change_body("job", "pause", (2, 1))


async def log_in(page: WebPage, *, steer: bool) -> dict[str, str]:
    """Use a link as another user of another host; return the headers of its browser."""
    token = page.page.sessions.make_token(steer=steer)
    answer = await page.get(f"/login?token={token}", peer="192.0.2.1")
    assert answer.status == 200
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Host": "evil.example"}, "Host header"),
        ({"Host": "evil.example:8080"}, "Host header"),
        ({"Host": "127.0.0.1.evil.example:8080"}, "Host header"),
        ({"Host": ""}, "Host header"),
        ({"Origin": "http://evil.example"}, "Origin header"),
        ({"Origin": "null"}, "Origin header"),
        ({"Origin": "https://127.0.0.1:8080"}, "Origin header"),
        ({"Origin": "http://127.0.0.1:9"}, "Origin header"),
        ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
        ({"Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site"),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "Sec-Fetch-Site"),
    ],
)
async def test_requests_of_other_sites_are_refused(
    headers: dict[str, str], words: str, autojump_clock: MockClock
) -> None:
    async with open_own_page(JOB) as page:
        for target in ("/api/session", "/api/events?topics=jobs", "/api/thumbnail/2.0.0"):
            answer = await page.get(target, headers=headers)
            assert answer.status == 403
            assert words in answer.error
        answer = await page.post("/api/act", PAUSE, headers=headers)
        assert answer.status == 403
        assert not page.page.watch.jobs[2].states or "OFF" not in page.page.watch.jobs[2].states


@pytest.mark.parametrize(
    "host", [HOST, "localhost:8080", "[::1]:8080", "farm.example", "192.0.2.7"]
)
async def test_names_and_addresses_of_this_host(host: str, autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        assert (await page.get("/api/session", headers={"Host": host})).status == 200


async def test_a_preview_of_a_link_does_not_use_it_up(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        target = f"/login?token={page.page.sessions.make_token(steer=True)}"
        assert (await page.ask("HEAD", target)).status == 405
        assert (await page.get(target)).status == 200


@pytest.mark.parametrize("missing", ["Origin", "X-Trio-Afrender", "Content-Type"])
async def test_a_change_needs_each_header(missing: str, autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        headers = {name: value for name, value in SAME_ORIGIN.items() if name != missing}
        answer = await page.ask("POST", "/api/act", b"{}", headers=headers)
        assert answer.status in (400, 403)
        assert missing in answer.error


async def test_a_header_that_stands_twice_is_refused(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        # Names of headers are not case-sensitive, and the helper keeps both.
        answer = await page.get("/api/session", headers={"host": "evil.example"})
        assert answer.status == 403
        assert "twice" in answer.error


async def test_a_body_with_two_lengths_is_refused(autojump_clock: MockClock) -> None:
    """A proxy before the page may take its end for the next request, which it has not checked."""
    async with open_own_page(JOB) as page:
        headers = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
        answer = await page.post("/api/act", PAUSE, headers=headers)
        assert (answer.status, "not both" in answer.error) == (403, True)
        assert answer.headers["connection"] == "close"


async def test_a_link_from_elsewhere_opens_the_page_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    visit = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    async with open_own_page() as page:
        assert (await page.get("/jobs/2", headers=visit)).status == 200
        assert (await page.get("/api/session", headers=visit)).status == 403
        framed = {**visit, "Sec-Fetch-Dest": "iframe"}
        assert (await page.get("/jobs/2", headers=framed)).status == 403


async def test_refusals_are_summed_up_when_they_have_ended(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_own_page() as page:
        for _ in range(8):
            assert (await page.get("/", headers={"Host": "evil.example"})).status == 403
        await trio.sleep(130)
    assert caplog.text.count("the page: refused a request from 127.0.0.1: the Host header") == 5
    assert "the page: refused requests: 3 more from 127.0.0.1 within 60 s" in caplog.text


async def test_every_answer_has_the_policy(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        for target in (
            "/",
            "/static/app.js",
            "/api/session",
            "/api/none",
            "/login?token=x",
            "/%00",
        ):
            headers = (await page.get(target)).headers
            policy = headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "default-src 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"


async def test_another_user_of_this_host_needs_a_link(autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        page.own = False
        answer = await page.get("/api/session")
        assert (answer.status, "link" in answer.error) == (401, True)
        for target in ("/api/events?topics=jobs", "/api/thumbnail/2.0.0", "/api/output/2.0.0"):
            assert (await page.get(target)).status == 401
        assert (await page.post("/api/act", PAUSE)).status == 401
        # The page itself has no data.
        assert (await page.get("/")).status == 200


async def test_a_proxy_of_this_user_opens_nothing(autojump_clock: MockClock) -> None:
    """Its connection is one of this user, and what it forwards is not."""
    async with open_own_page() as page:
        for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"):
            assert (await page.get("/api/session", headers={name: "192.0.2.9"})).status == 401


async def test_a_link_opens_one_session(autojump_clock: MockClock) -> None:
    used: list[Any] = []
    async with open_own_page(JOB) as page:
        page.own = False
        page.page.report_used = used.append
        token = page.page.sessions.make_token(steer=True)
        answer = await page.get(f"/login?token={token}")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert [each.steer for each in used] == [True]
        headers = {"Cookie": cookie.partition(";")[0]}
        assert (await page.get("/api/session", headers=headers)).json["steer"] is True
        assert (await page.post("/api/act", PAUSE, headers=headers)).status == 200
        # The same link again.
        answer = await page.get(f"/login?token={token}")
        assert answer.status == 403
        assert b"used already" in answer.body
        assert "set-cookie" not in answer.headers
        assert len(used) == 1


@pytest.mark.parametrize("token", ["", "x", "a" * 5000, "%00", "%3Cscript%3E"])
async def test_wrong_tokens(token: str, autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        page.own = False
        answer = await page.get(f"/login?token={token}")
        assert answer.status == 403
        assert b"<script>" not in answer.body
        headers = {"Cookie": f"trio_afrender_8080={token}"}
        assert (await page.get("/api/session", headers=headers)).status == 401


async def test_old_sessions_end(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        page.own = False
        now = 0.0
        page.page.sessions = SessionTable(lambda: now)
        headers = await log_in(page, steer=True)
        now = 23 * 3600.0
        assert (await page.get("/api/session", headers=headers)).status == 200
        now += 25 * 3600
        assert (await page.get("/api/session", headers=headers)).status == 401


async def test_the_session_of_a_page_that_is_open_continues(autojump_clock: MockClock) -> None:
    """A display in a studio is watched for days, by one stream."""
    async with open_own_page() as page:
        page.own = False
        now = 0.0
        page.page.sessions = SessionTable(lambda: now)
        headers = await log_in(page, steer=True)
        async with page.view("jobs", headers=headers) as viewer:
            await viewer.expect("snapshot", "jobs")
            now = 48 * 3600.0
            assert (await page.get("/api/session", headers=headers)).status == 200
            now = 96 * 3600.0
        assert (await page.get("/api/session", headers=headers)).status == 200
        now += 25 * 3600
        assert (await page.get("/api/session", headers=headers)).status == 401


async def test_a_link_for_looking_does_not_steer(autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        page.own = False
        headers = await log_in(page, steer=False)
        assert (await page.get("/api/session", headers=headers)).json["steer"] is False
        assert (await page.get("/api/actions", headers=headers)).status == 403
        for target in ("/api/act", "/api/preview", "/api/undo"):
            answer = await page.post(target, PAUSE, headers=headers)
            assert (answer.status, answer.error) == (403, "this link is for looking only")
        async with page.view("jobs", headers=headers) as viewer:
            await viewer.expect("snapshot", "jobs")


async def test_a_page_for_looking_only(autojump_clock: MockClock) -> None:
    async with open_own_page(JOB, settings=PageSettings(read_only=True)) as page:
        assert (await page.get("/api/session")).json["steer"] is False
        assert (await page.post("/api/act", PAUSE)).status == 403


async def test_requests_have_a_rate(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        page.page.rates = RequestRates(10.0, 50.0, trio.current_time)
        statuses = [(await page.get("/api/none")).status for _ in range(110)]
        assert {404, 429} == {*statuses}
        answer = await page.get("/api/none")
        assert int(answer.headers["retry-after"]) >= 1
        await trio.sleep(2)
        assert (await page.get("/api/none")).status == 404


async def test_a_session_has_a_rate_beside_that_of_its_address(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        page.page.rates = RequestRates(10.0, 50.0, trio.current_time)
        page.own = False
        statuses = [(await page.get("/api/none")).status for _ in range(60)]
        assert {401, 429} == {*statuses}
        assert (await page.get("/")).status == 429
        page.own = True
        assert (await page.get("/")).status == 200
        assert (await page.get("/api/session")).status == 200


async def test_addresses_of_one_network_share_a_rate_and_lines(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """A host with one IPv6 address has all of its /64 network."""
    async with open_own_page() as page:
        page.own = False
        page.page.rates = RequestRates(1.0, 20.0, trio.current_time)
        peers = [f"2001:db8::{number:x}" for number in range(1, 31)]
        refused = [(await page.get("/", headers={"Host": "evil"}, peer=each)) for each in peers]
        assert {each.status for each in refused} == {403}
        assert caplog.text.count("the page: refused a request") == 5
        links = [(await page.get("/login?token=x", peer=each)) for each in peers]
        assert {each.status for each in links} == {403, 429}
        assert caplog.text.count("has opened a link that is not valid") == 5
        assert (await page.get("/", peer="2001:db8:0:1::1")).status == 200


async def test_each_session_of_an_address_has_a_rate(autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        page.own = False
        busy, quiet = [await log_in(page, steer=True) for _ in range(2)]
        page.page.rates = RequestRates(1.0, 50.0, trio.current_time)
        statuses = [(await page.get("/api/session", headers=busy)).status for _ in range(110)]
        assert statuses[-1] == 429
        assert (await page.get("/api/session", headers=quiet)).status == 200
        page.page.rates = RequestRates(200.0, 4000.0, trio.current_time)
        changes = [(await page.post("/api/preview", PAUSE, headers=busy)).status for _ in range(60)]
        assert changes[-1] == 429
        assert (await page.post("/api/preview", PAUSE, headers=quiet)).status == 200


async def test_changes_have_a_rate_of_their_own(autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        statuses = [(await page.post("/api/preview", PAUSE)).status for _ in range(120)]
        assert 429 in statuses


async def test_places_for_viewers(autojump_clock: MockClock) -> None:
    settings = PageSettings(max_viewers=3, max_viewers_per_address=2)
    async with open_own_page(settings=settings) as page, trio.open_nursery() as nursery:

        async def look(headers: dict[str, str], peer: str) -> None:
            async with page.view("jobs", headers=headers, peer=peer) as viewer:
                await viewer.expect("snapshot", "jobs")
                looking.release()
                await trio.sleep_forever()

        looking = trio.Semaphore(0)
        headers = await log_in(page, steer=False)
        for _ in range(2):
            nursery.start_soon(look, headers, "192.0.2.1")
            await looking.acquire()
        answer = await page.get("/api/events?topics=jobs", headers=headers, peer="192.0.2.1")
        assert (answer.status, "from 192.0.2.1" in answer.error) == (429, True)
        nursery.start_soon(look, {}, "127.0.0.1")
        await looking.acquire()
        answer = await page.get("/api/events?topics=jobs")
        assert (answer.status, "3 viewers" in answer.error) == (429, True)
        assert page.page.seats.taken == 3
        nursery.cancel_scope.cancel()
    assert page.page.seats.taken == 0


@pytest.mark.parametrize(
    "topics", ["", "nothing", "tasks", "tasks.x", "task.1", "jobs.2", "render.1.2", "a" * 5000,
               "tasks.99999999999", "tasks.02", "output.2.0.00", "tasks.%D9%A2", ",".join(f"tasks.{n}" for n in range(9)), "..%2f"],
)  # fmt: skip
async def test_wrong_topics(topics: str, autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        assert (await page.get(f"/api/events?topics={topics}")).status == 400


async def test_too_many_topics(autojump_clock: MockClock) -> None:
    async with open_own_page() as page, trio.open_nursery() as nursery:
        for number in range(32):
            topics = ",".join(f"render.{8 * number + each}" for each in range(8))

            async def look(topics: str = topics) -> None:
                async with page.view(topics):
                    await trio.sleep_forever()

            nursery.start_soon(look)
        # Renders that there are not are gone at once, so they take no place for long.
        await trio.sleep(5)
        assert (await page.get("/api/session")).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "kind"),
        (b'{"kind":"job","verb":"fly","nodes":[{"id":2}]}', "verb"),
        (b'{"kind":"job","verb":"pause","nodes":[]}', "nodes"),
        (b'{"kind":"job","verb":"pause","nodes":[{"id":-2}]}', "id"),
        (b'{"kind":"job","verb":"pause","nodes":[{"id":true}]}', "id"),
        (b'{"kind":"task","verb":"skip","nodes":[{"id":"2.0"}]}', "JOB.BLOCK.TASK"),
        (b'{"kind":"job","verb":"set","nodes":[{"id":2}]}', "values"),
        (b'{"kind":"job","verb":"set","nodes":[{"id":2}],"values":{"prio":"1"}}', "priority"),
        (b'{"kind":"job","verb":"set","nodes":[{"id":2}],"values":{"priority":"999"}}', "255"),
        (b'{"kind":"job","verb":"set","nodes":[{"id":2}],"values":{"priority":9}}', "texts"),
        (b'{"kind":"job","verb":"pause","nodes":[{"id":2}],"values":{"priority":"9"}}', "values"),
    ],
)
async def test_wrong_changes(body: bytes, words: str, autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        answer = await page.ask("POST", "/api/act", body, headers=SAME_ORIGIN)
        assert answer.status == 400
        assert words in answer.error


async def test_a_change_that_is_too_large(autojump_clock: MockClock) -> None:
    async with open_own_page(JOB) as page:
        answer = await page.ask("POST", "/api/act", b" " * 2_000_000, headers=SAME_ORIGIN)
        assert answer.status == 413


async def test_static_files_are_plain_names(autojump_clock: MockClock) -> None:
    async with open_own_page() as page:
        answer = await page.get("/static/index.html")
        assert answer.status == 200
        again = await page.get(
            "/static/index.html", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert again.status == 304
        for name in ("../settings.py", "%2e%2e/settings.py", ".hidden.js", "none.js", "app.py", ""):
            assert (await page.get(f"/static/{name}")).status == 404, name


async def test_a_page_without_threads_says_so(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    text = "x" * 2 * 1024 * 1024
    async with open_own_page() as page:
        with monkeypatch.context() as context:
            context.setattr(trio.to_thread, "run_sync", refuse)
            answer = await page.get("/static/index.html")
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert "this host cannot do it now: no thread can be started" in answer.body.decode()
            assert (await make_stored_output(text)).end == len(text)
            assert not await make_owner_check(1)(("127.0.0.1", 1), ("127.0.0.1", 2))
        assert (await page.get("/static/index.html")).status == 200

"""Single scripts of the page in a real Chromium, without a server: the test gives all answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (extra web-test)")

from playwright.sync_api import Browser, Page, Route, expect
from support.page_viewer import GUARD

import trio_afrender.web

STATIC = Path(trio_afrender.web.__file__).parent / "static"
ADDRESS = "http://localhost"
SESSION = {
    "user": "ann",
    "name": None,
    "steer": False,
    "server": "af://own",
    "kind": "own",
    "version": "1",
    "time": 1.7e9,
    "load_fields": ["cpu"],
}
EMPTY = "<!doctype html><meta charset=utf-8><body><main id=main></main><div id=toasts></div></body>"

expect.set_options(timeout=GUARD * 1000)


def serve(route: Route) -> None:
    """Answer with a file of the page; there is nothing else."""
    path = urlsplit(route.request.url).path
    if path == "/empty":
        route.fulfill(body=EMPTY, content_type="text/html")
    elif path.startswith("/static/"):
        route.fulfill(path=STATIC / path.removeprefix("/static/"))
    elif path.startswith("/api/"):
        route.fulfill(status=404, json={"error": "not here"})
    else:
        route.fulfill(path=STATIC / "index.html")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(GUARD * 1000)
    try:
        page = context.new_page()
        page.route("**/*", serve)
        yield page
    finally:
        context.close()


def run(page: Page, script: str, given: object = None) -> Any:  # noqa: ANN401 - JSON
    """Run a script on an empty page, with what many of them need, and return what it returns."""
    page.goto(f"{ADDRESS}/empty")
    return page.evaluate(
        f"async (given) => {{ {TOOLS}; return await ({script})(given); }}",
        given,
    )


TOOLS = """
  const main = document.getElementById("main");
  const frames = async (n = 3) => {
    for (let i = 0; i < n; i += 1) await new Promise((done) => requestAnimationFrame(done));
  };
  // The page's own timers end at once: how late a real one comes, compared with frames, has no limit.
  const endTimersAtOnce = () => {
    window.setTimeout = (call, _delay, ...given) => { queueMicrotask(() => call(...given)); return 1; };
  };
  // A body that is read at once: that of a real answer comes by a task, which frames may overtake.
  const reply = (body, status = 200) => ({ ok: status < 300, status, json: async () => body });
  const titles = [];
  const makePage = (steer) => ({
    session: { server: "af://own", steer, load_fields: ["cpu"] }, scroller: main, watched: null,
    feed: { watchInBackground() {}, reopen() {} }, go() {}, setQuery() {},
    title(text) { titles.push(text); }, watch(handlers) { this.watched = handlers; },
  });
"""


# -- the connection ----------------------------------------------------------------------------------

CONNECT = """async () => {
  const { Feed } = await import("/static/feed.js");
  return new Promise((done) => {
    const feed = new Feed((state) => {
      if (state.up === false) {
        feed.watch(new Map()); // a stream that is tried again would be counted
        done(state.text);
      }
    }, () => {});
    feed.watch(new Map([["jobs", {}]]));
  });
}"""


def test_the_reason_of_a_refused_stream_is_shown(page: Page) -> None:
    reason = "64 viewers look from 192.0.2.1 already, the most of one address"
    page.route("**/api/session", lambda route: route.fulfill(json=SESSION))
    page.route(
        "**/api/events?topics=jobs", lambda route: route.fulfill(status=429, json={"error": reason})
    )
    assert run(page, CONNECT) == reason


def test_a_stream_that_had_begun_is_not_asked_for_its_reason(page: Page) -> None:
    asked: list[str] = []

    def stream(route: Route) -> None:
        asked.append(route.request.url)
        body = 'event: server\ndata: {"connected": true}\n\n'
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/api/session", lambda route: route.fulfill(json=SESSION))
    page.route("**/api/events*", stream)
    assert run(page, CONNECT) == "The connection was interrupted."
    assert len(asked) == 1


# -- the output of a task ----------------------------------------------------------------------------

OUTPUT = """async ({ shown, piece, meanwhile }) => {
  const { makeOutput } = await import("/static/output.js");
  const asked = [];
  let answer;
  window.fetch = (path) => {
    asked.push(new URLSearchParams(path.split("?")[1]).get("before"));
    return new Promise((done) => { answer = done; });
  };
  const made = makeOutput("1.0.0");
  main.append(made.element);
  made.handler.snapshot(shown);
  await frames();
  const earlier = [...made.element.querySelectorAll("button")].find((each) => each.textContent === "Earlier output");
  earlier.click();
  if (meanwhile) made.handler.snapshot(meanwhile);
  answer(reply(piece));
  await frames(6);
  if (!earlier.hidden) earlier.click();
  return {
    asked, lines: [...made.element.querySelectorAll(".l")].map((each) => each.textContent),
    info: made.element.querySelector(".info").textContent,
  };
}"""
TAIL = {
    "attempt": 1,
    "running": True,
    "start": 14,
    "end": 28,
    "size": 28,
    "text": "line 3\nline 4\n",
}
HEAD = {"attempt": 1, "start": 0, "end": 14, "size": 28, "text": "line 1\nline 2\n"}


def test_earlier_output_is_put_before_what_is_shown(page: Page) -> None:
    found = run(page, OUTPUT, {"shown": TAIL, "piece": HEAD})
    assert found["lines"] == ["line 1", "line 2", "line 3", "line 4"]
    assert found["asked"] == ["14"]


def test_earlier_output_that_comes_after_a_snapshot_is_not_shown_twice(page: Page) -> None:
    whole = {**TAIL, "start": 0, "text": "line 1\nline 2\nline 3\nline 4\n"}
    found = run(page, OUTPUT, {"shown": TAIL, "piece": HEAD, "meanwhile": whole})
    assert found["lines"] == ["line 1", "line 2", "line 3", "line 4"]


def test_earlier_output_that_is_not_kept_is_not_skipped(page: Page) -> None:
    """The server keeps the last part of what a running task has printed, and gives the nearest."""
    none = {"attempt": 1, "start": 5000, "end": 5000, "size": 9000, "text": "", "running": True}
    found = run(page, OUTPUT, {"shown": TAIL, "piece": none})
    assert found["lines"] == ["line 3", "line 4"]
    assert found["asked"] == ["14", "14"]
    assert "can be read when the task has ended" in found["info"]


ANSI = """async (texts) => {
  const { pieces, plain } = await import("/static/ansi.js");
  return texts.map((text) => pieces(text, plain()));
}"""


def test_colours_with_colons_and_of_underlines(page: Page) -> None:
    texts = {
        "\x1b[38:2::255:0:0m": "fg1",
        "\x1b[38:2:255:0:0m": "fg1",
        "\x1b[38:5:2m": "fg2",
        "\x1b[1;38;2;255;0;0;4m": "fg1 bold under",
        "\x1b[48;5;12m": "bg4",
        "\x1b[4:3m": "under",
        "\x1b[4;4:0m": "",
        "\x1b[58;5;1m": "",
        "\x1b[58;2;1;3;9m": "",
        "\x1b[31;58:2::1:3:9m": "fg1",
        "\x1b[31;1m\x1b[m": "",
    }
    found = run(page, ANSI, [f"{text}x" for text in texts])
    assert found == [[["x", each]] for each in texts.values()]


# -- notifications -----------------------------------------------------------------------------------

NOTIFY = """async (way) => {
  const notified = [];
  window.Notification = class { constructor(title) { notified.push(title); } static permission = "granted"; };
  const maps = [];
  window.Map = class extends Map { constructor(...given) { super(...given); maps.push(this); } };
  const { makeNotifier } = await import("/static/notify.js");
  const notifier = makeNotifier(makePage(false));
  const job = (id, state, more) => ({ id, serial: id, name: `j${id}`, states: [state], tasks: 1, error: 0, ...more });
  const { handler } = notifier;
  handler.snapshot({ rows: [job(1, "RUN")] });
  if (way === "unwatched") {
    notifier.rest();
    notifier.button.click();
    await frames();
    handler.snapshot({ rows: [job(1, "DON"), job(2, "DON"), job(3, "RUN")] });
    handler.change({ rows: [job(3, "DON")] });
    return notified;
  }
  notifier.button.click();
  await frames();
  for (let id = 2; id < 1000; id += 1) handler.change({ rows: [job(id, "RUN")] });
  for (let id = 2; id < 1000; id += 1) handler.change({ gone: [id] });
  const changes = maps.reduce((sum, each) => sum + each.size, 0);
  handler.change({ rows: [job(5, "DON")] });
  handler.change({ gone: [5], rows: [job(5, "DON", { serial: 1005 })] });
  for (const id of [6, 7]) handler.snapshot({ rows: [job(id, "RUN")] });
  return [changes, maps[0].size, notified.length];
}"""


def test_jobs_that_are_gone_are_forgotten(page: Page) -> None:
    # One job, in the rows and in what is known of them.
    assert run(page, NOTIFY) == [2, 1, 2]


def test_what_ended_while_no_job_was_watched_is_not_notified(page: Page) -> None:
    assert run(page, NOTIFY, "unwatched") == ["j3 is done"]


# -- lists -------------------------------------------------------------------------------------------

JOBS = """async ({ first, then }) => {
  const { makeView } = await import("/static/jobs.js");
  const page = makePage(true);
  const view = makeView(page);
  main.append(view.element);
  const job = ([id, serial]) => ({ id, serial, name: `j${id}-${serial}`, user: "ann", states: ["RDY"],
    tasks: 1, done: 0, running: 0, error: 0, skipped: 0, percent: 0, bar: "r", priority: 99, created: 1 });
  const handler = page.watched.get("jobs");
  handler.snapshot({ rows: first.map(job) });
  await frames();
  view.element.querySelector('.row[data-id="1"] .pick').click();
  await frames();
  const before = view.element.querySelector(".selection").hidden;
  for (const [name, data] of then) handler[name]({ ...data, rows: (data.rows ?? []).map(job) });
  await frames();
  return {
    hidden: [before, view.element.querySelector(".selection").hidden],
    names: [...view.element.querySelectorAll(".row .main")].map((each) => each.textContent),
  };
}"""
REUSED = {
    "changes": [["change", {"gone": [1]}], ["change", {"rows": [[1, 8]]}]],
    "snapshot": [["snapshot", {"rows": [[2, 2], [3, 3], [1, 8]]}]],
}


@pytest.mark.parametrize("way", REUSED)
def test_a_job_with_the_id_of_another_is_not_selected(page: Page, way: str) -> None:
    """A change of the selected jobs must not be one of a job that the user has not chosen."""
    found = run(page, JOBS, {"first": [[1, 1], [2, 2], [3, 3]], "then": REUSED[way]})
    assert found["hidden"] == [False, True]
    assert found["names"] == ["j2-2", "j3-3", "j1-8"]


def test_a_job_that_changes_stays_selected(page: Page) -> None:
    then = [["change", {"rows": [[1, 1]]}], ["snapshot", {"rows": [[1, 1]]}]]
    found = run(page, JOBS, {"first": [[1, 1], [2, 2]], "then": then})
    assert found["hidden"] == [False, False]


EARLY = """async (order) => {
  const { makeView } = await import("/static/job.js");
  const page = makePage(false);
  let opened = 0;
  page.feed.reopen = () => { opened += 1; };
  page.notifier = { listen: () => () => {}, wants: () => false };
  endTimersAtOnce();
  main.append(makeView(page, { job: "5" }).element);
  const row = { id: 5, serial: 5, name: "j5", user: "ann", states: ["RDY"], tasks: 1, done: 0, running: 0,
    error: 0, skipped: 0, percent: 0, bar: "r", priority: 99, created: 1 };
  const steps = {
    row: () => page.watched.get("jobs").change({ rows: [row] }),
    refusal: () => page.watched.get("tasks.5").gone({ error: "there is no job 5" }),
  };
  for (const each of order) {
    steps[each]();
    await frames();
  }
  return opened;
}"""


@pytest.mark.parametrize(
    ("order", "opened"),
    [
        (["refusal", "row"], 1),
        (["row", "refusal"], 1),
        (["row", "refusal", "refusal"], 1),
        (["refusal"], 0),
    ],
)
def test_the_tasks_of_a_job_that_is_new_are_asked_for_again(
    page: Page, order: list[str], opened: int
) -> None:
    """Its row and the refusal of its tasks may come in one piece, in either order."""
    assert run(page, EARLY, order) == opened


RENDERS = """async (then) => {
  const { makeView } = await import("/static/renders.js");
  const { setClock } = await import("/static/format.js");
  const page = makePage(false);
  let asked = 0;
  window.fetch = async () => {
    asked += 1;
    return reply({ points: {} });
  };
  endTimersAtOnce();
  const view = makeView(page);
  main.append(view.element);
  const render = (name) => ({ id: 1, name, user: "ann", states: ["ONL"], tasks: [], capacity: 1,
    capacity_used: 0, priority: 99, idle_since: 0 });
  const [renders, loads] = ["renders", "loads"].map((name) => page.watched.get(name));
  renders.snapshot({ rows: [render("a")] });
  loads.snapshot({ rows: [{ id: 1, load: [90] }] });
  await frames();
  setClock(Date.now() / 1000 + 30); // a line from the old point to the new one has more points
  if (then === "another") {
    renders.change({ gone: [1] });
    loads.change({ gone: [1] });
    renders.change({ rows: [render("b")] });
    loads.change({ rows: [{ id: 1, load: [10] }] });
  } else {
    renders.snapshot({ rows: [render("a")] });
    loads.snapshot({ rows: [{ id: 1, load: [10] }] });
  }
  await frames();
  const line = view.element.querySelector(".p-cpu .line").getAttribute("d");
  return [asked, line.split(/[ML]/).length - 1];
}"""


@pytest.mark.parametrize("then", ["another", "after-a-gap"])
def test_the_past_of_a_render_is_its_own_and_has_no_gap(page: Page, then: str) -> None:
    """A plot begins anew, and the server is asked for what was before."""
    assert run(page, RENDERS, then) == [2, 2]


FARM = """async () => {
  const { makeView } = await import("/static/farm.js");
  const page = makePage(true);
  const view = makeView(page);
  main.append(view.element);
  const users = page.watched.get("users");
  users.snapshot({ rows: [{ id: 1, name: "ann", priority: 99 }] });
  await frames();
  const first = view.element.querySelector(".node");
  users.change({ rows: [{ id: 1, priority: 50 }] });
  await frames();
  const same = view.element.querySelector(".node") === first;
  users.change({ gone: [1] });
  users.change({ rows: [{ id: 1, name: "bob", priority: 99 }] });
  await frames();
  return [same, view.element.querySelector(".node") === first];
}"""


def test_a_user_with_the_id_of_another_has_a_card_of_its_own(page: Page) -> None:
    """Parameters that were being edited are those of the user who is gone."""
    assert run(page, FARM) == [True, False]


GRID = """async () => {
  const { FrameGrid } = await import("/static/grid.js");
  const grid = new FrameGrid({ scroller: main, open() {}, label: "Frames" });
  main.append(grid.element);
  const item = (key, text) => ({ key, kind: "running", percent: 1, label: key, text });
  grid.setItems([item("0.0", "first: 1 %"), item("0.1", "second: 1 %")]);
  grid.point(1);
  grid.setItems([item("0.0", "first: 2 %"), item("0.1", "second: 2 %")]);
  const found = [grid.tip.textContent];
  grid.setItems([item("0.0", "first: 3 %")]);
  return [...found, grid.tip.hidden];
}"""


def test_the_tip_of_a_frame_is_what_is_true_now(page: Page) -> None:
    assert run(page, GRID) == ["second: 2 %", True]


# -- one render --------------------------------------------------------------------------------------

RENDER = """async () => {
  const { makeView } = await import("/static/render.js");
  const page = makePage(false);
  const view = makeView(page, { render: "5" });
  main.append(view.element);
  const handler = page.watched.get("render.5");
  handler.snapshot({ render: { id: 5, name: "r5", states: ["ONL"], tasks: [], priority: 1 }, load: null });
  await frames();
  handler.gone({ error: "there is no render 5" });
  await frames();
  view.tick();
  const reason = view.element.querySelector(".summary").textContent;
  const tools = view.element.querySelector(".toolline").hidden;
  handler.snapshot({ render: { id: 5, name: "r5", states: ["ONL"], tasks: [], priority: 1 }, load: null });
  view.element.remove();
  titles.length = 0;
  await frames();
  return [reason, tools, titles];
}"""


def test_a_render_that_is_gone_stays_gone(page: Page) -> None:
    """Its reason is not written over each second, and a view that was left sets no title."""
    assert run(page, RENDER) == ["there is no render 5", True, []]


TASK = """async () => {
  const { makeTaskDetail } = await import("/static/task.js");
  const detail = makeTaskDetail(makePage(false), { job: 1, block: 0, task: 0, node() {}, close() {}, step() {} });
  main.append(detail.element);
  const handler = detail.topics.get("task.1.0.0");
  const found = [];
  const look = async () => {
    await frames();
    found.push(detail.element.querySelector("h2").textContent);
  };
  const task = { name: "frame 1", states: ["RDY"], changed: 0 };
  for (let i = 0; i < 2; i += 1) {
    handler.snapshot({ task });
    await look();
    handler.gone({ error: "job 1 was deleted" });
    await look();
  }
  return found;
}"""


def test_a_task_that_is_there_again_has_its_name(page: Page) -> None:
    assert run(page, TASK) == ["frame 1", "job 1 was deleted"] * 2


STEER = """async (steer) => {
  const { loadActions, whenSteering } = await import("/static/steering.js");
  window.fetch = async () => new Response(JSON.stringify({ verbs: [] }));
  const called = [];
  const kept = [];
  const push = Array.prototype.push;
  const call = () => push.call(called, "called");
  Array.prototype.push = function (...items) {
    if (items.includes(call)) push.call(kept, "kept");
    return push.apply(this, items);
  };
  whenSteering(call);
  const done = loadActions(makePage(steer));
  whenSteering(call);
  await done;
  Array.prototype.push = push;
  return [kept.length, called.length];
}"""


def test_who_may_not_steer_keeps_no_views_that_wait_for_it(page: Page) -> None:
    assert run(page, STEER, True) == [2, 2]
    assert run(page, STEER, False) == [1, 0]


REPEATED = """async () => {
  const { loadActions, makeSettings } = await import("/static/steering.js");
  endTimersAtOnce();
  const asked = [];
  const given = {
    "/api/actions": { verbs: [], settings: { job: [{ name: "depend_mask", expected: "a text", type: "text" }] } },
    "/api/values/job/2": { values: { depend_mask: "a.*" } },
  };
  window.fetch = async (path) => {
    asked.push(path);
    const first = asked.filter((each) => each === path).length === 1;
    return first ? reply({ error: "later" }, 503) : reply(given[path]);
  };
  const made = makeSettings("job", () => ({ id: 2 }), () => ({}));
  main.append(made.element);
  await loadActions(makePage(true));
  await frames();
  const hidden = made.element.hidden;
  made.read();
  await frames();
  return [hidden, made.element.querySelector(".now").textContent, asked.length,
    document.querySelectorAll(".toast").length];
}"""


def test_what_could_not_be_read_for_changes_is_read_again(page: Page) -> None:
    assert run(page, REPEATED) == [False, "a.*", 4, 1]


# -- the views ---------------------------------------------------------------------------------------


def open_app(page: Page, path: str) -> None:
    page.route("**/api/session", lambda route: route.fulfill(json=SESSION))
    body = 'retry: 100000\nevent: server\ndata: {"connected": true}\n\n'
    page.route(
        "**/api/events*", lambda route: route.fulfill(body=body, content_type="text/event-stream")
    )
    page.goto(ADDRESS + path)


def test_a_view_that_loads_slowly_does_not_replace_a_later_one(page: Page) -> None:
    held: list[Route] = []
    open_app(page, "/jobs/1")
    expect(page.locator("h1")).to_have_text("job 1")
    page.route("**/static/renders.js", lambda route: held.append(route))
    with page.expect_request("**/static/renders.js"):
        page.locator('#nav a[href="/renders"]').click()
    page.go_back()
    page.wait_for_url("**/jobs/1")
    held.pop().fulfill(path=STATIC / "renders.js")
    page.evaluate("import('/static/renders.js').then(() => new Promise(requestAnimationFrame))")
    assert page.locator("h1").inner_text() == "job 1"


def test_an_unknown_address_shows_the_other_views(page: Page) -> None:
    open_app(page, "/nothing")
    expect(page.locator("h1")).to_have_text("There is no such view")
    expect(page.locator("#nav a")).to_have_count(4)
    assert page.locator("#nav a[aria-current]").count() == 0


def test_a_page_without_a_session_asks_for_it_again(page: Page) -> None:
    refusal = json.dumps({"error": "this page is for those who were given its link"})
    page.route("**/api/session", lambda route: route.fulfill(status=401, body=refusal))
    page.goto(f"{ADDRESS}/renders")
    expect(page.locator("h1")).to_have_text("This page needs a login")
    with page.expect_response("**/api/session"):
        page.locator(".brand").click()
    expect(page.locator("h1")).to_have_text("This page needs a login")
    assert page.locator(".toast").count() == 0

"""The page of a farm in a browser: a real farm, a real Chromium, clicks and keys as of a user.

`make web-test` adds the tests that take long: the Cornell example, a farm of 1000 renders, every
view in both themes.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (extra web-test)")
pytest.importorskip("starlette", reason="Starlette is not installed (extra web)")

from playwright.sync_api import Browser, expect
from support.cli import make_gate
from support.page_jobs import write_jobs
from support.page_viewer import (
    GUARD,
    BrowserViewer,
    Program,
    find_chromium,
    open_program,
    open_viewer,
    page_address,
)

ALL = os.environ.get("WEB") == "all"

expect.set_options(timeout=GUARD * 1000)


@attrs.frozen
class Farm:
    """An open farm with some jobs; the numbers are those of the jobs."""

    program: Program
    address: str
    server: str
    gate: Path
    shot: int = 1
    hostile: int = 2
    stuck: int = 3


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    find_chromium()
    folder = tmp_path_factory.mktemp("farm")
    gate = make_gate(folder / "gate")
    words = ("--agents", "2", "--web", "127.0.0.1:0", "--json", "127.0.0.1:0")
    jobs = write_jobs(folder)
    store = ("--af_store_folder", folder / "store")
    with open_program(folder, "farm", *jobs, *words, *store) as program:
        numbers = [int(program.find(rf'" is ({n})\n')[1]) for n in (2, 3, 4)]
        address, server = page_address(program), program.find(r"(af://\S+)\n")[1]
        yield Farm(program, address, server, gate, *numbers)
        # A task that still waits is ended with the farm.


@pytest.fixture
def viewer(farm: Farm, browser: Browser) -> Iterator[BrowserViewer]:
    with open_viewer(browser, farm.address) as made:
        yield made


# -- looking -----------------------------------------------------------------------------------------


FEED = """async () => {
  const { Feed } = await import("/static/feed.js");
  const Real = window.EventSource;
  window.EventSource = class {
    constructor() { this.take = {}; }
    addEventListener(name, take) { this.take[name] = take; }
    close() {}
    send(name, data) { this.take[name]({ data: JSON.stringify({ topic: "jobs", ...data }) }); }
  };
  const got = [];
  const view = (name) => ({
    snapshot: () => got.push(`${name} snapshot`), change: () => got.push(`${name} change`),
  });
  const opened = () => new Promise((done) => setTimeout(done, 100));
  const feed = new Feed(() => {}, () => {});
  feed.watch(new Map([["jobs", view("first")]]));
  await opened();
  const stream = feed.source;
  stream.send("snapshot", {});
  stream.send("change", {});
  feed.watch(new Map([["jobs", view("second")]]));
  stream.send("change", {});
  await opened();
  feed.source.send("snapshot", {});
  feed.source.send("change", {});
  feed.shut();
  window.EventSource = Real;
  return got;
}"""


def test_a_view_gets_no_change_before_its_snapshot(viewer: BrowserViewer) -> None:
    """The stream of the view before lives on for a moment, and may have the same topic."""
    viewer.go("/jobs")
    got = viewer.page.evaluate(FEED)
    assert got == ["first snapshot", "first change", "second snapshot", "second change"]


def test_a_job_is_looked_at_down_to_the_output_of_a_frame(
    viewer: BrowserViewer, farm: Farm
) -> None:
    page = viewer.page
    viewer.go("/")
    job = viewer.row(farm.shot)
    expect(job).to_contain_text("shot_010")
    expect(job.locator(".bar")).to_have_attribute(
        "aria-label", re.compile("10 done, 1 running, 1 failed")
    )
    job.click()
    expect(page).to_have_url(re.compile(f"/jobs/{farm.shot}$"))
    expect(page.locator("h1")).to_have_text("shot_010")
    expect(page.locator(".jobblock").nth(1)).to_contain_text("render")
    expect(page.locator(".lastlink img")).to_be_visible()
    # Times are in the zone of the reader's browser, which is in Tokyo.
    created = page.locator(".facts div", has_text="Created")
    expect(created).to_have_attribute("title", re.compile(r"GMT\+9"))
    viewer.go(f"/jobs/{farm.shot}/0.4")
    detail = page.locator(".detail")
    expect(detail).to_contain_text("exit code 1")
    expect(detail.locator(".output .fg1")).to_have_text("ERROR")
    # The output is a text: neither a tag of HTML nor a mark of direction counts.
    expect(detail.locator(".output")).to_contain_text("texture missing: <b>wood.tx</b>⟨U+202E⟩")
    page.get_by_label("Search the output").fill("progress: 4")
    expect(detail.locator(".found")).to_have_text("1 of 1")
    expect(detail.locator("mark")).to_have_text("PROGRESS: 4")
    page.get_by_label("Next frame").click()
    expect(page).to_have_url(re.compile(r"/0\.5$"))
    expect(detail).to_contain_text("frame 6")


def test_a_running_frame_is_followed(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.shot}/0.11")
    expect(page.locator(".output")).to_contain_text("waiting for the gate")
    expect(page.locator(".detailhead")).to_contain_text("RUN")
    page.evaluate("window.stays = true")
    farm.gate.write_text("go\n")
    expect(page.locator(".output")).to_contain_text("the gate is open")
    expect(page.locator(".detailhead")).to_contain_text("DON")
    expect(page.locator(".shot img")).to_be_visible()
    assert page.evaluate("document.querySelector('.shot img').naturalWidth") > 0
    assert page.evaluate("window.stays")  # nothing was loaded again


def test_images_are_stepped_through_and_none_is_no_fault(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.shot}/sheet")
    expect(page.locator(".tile img.here").first).to_be_visible()
    # One failed, one wrote something that is no image.
    expect(page.locator(".tile .blank", has_text="done, no image")).to_have_count(1)
    page.locator(".sheet").focus()
    viewer.press("ArrowRight", " ")
    book = page.locator("dialog.book")
    expect(book.locator("button", has_text="Pause")).to_be_visible()  # it plays
    viewer.press(" ", "Home", "ArrowRight", "ArrowRight")
    expect(book.locator(".caption")).to_contain_text("frame 3")
    expect(book.locator(".bookimage")).to_be_visible()
    viewer.press("ArrowRight", "ArrowRight", "ArrowRight")
    expect(book.locator(".caption")).to_contain_text("frame 6")
    expect(book.locator(".none")).to_contain_text("no image")
    viewer.press("Escape")
    expect(book).to_have_count(0)


def test_a_link_names_what_is_shown_and_filters_stay(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.go("/jobs")
    expect(viewer.row(farm.shot)).to_be_visible()
    page.get_by_role("button", name="Failed").click()
    expect(viewer.row(farm.stuck)).to_have_count(0)
    page.get_by_label("Find a job").fill("shot")
    expect(page).to_have_url(re.compile("state=failed&q=shot"))
    viewer.go("/jobs")
    expect(page.get_by_label("Find a job")).to_have_value("shot")
    expect(page.get_by_role("button", name="Failed")).to_have_attribute("aria-pressed", "true")
    expect(viewer.row(farm.shot)).to_be_visible()
    viewer.go(f"/jobs/{farm.shot}?state=error&as=table")
    expect(page.locator(".table.tasks .body .row")).to_have_count(1)
    viewer.page.go_back()
    expect(page).to_have_url(re.compile("state=failed"))
    viewer.go("/jobs/999999")
    expect(page.locator(".facts")).to_contain_text("999999")
    for path in ("/nothing/here", f"/jobs/{farm.shot}/0.9999999999", "/renders/9999999999"):
        viewer.go(path)
        expect(page.locator("h1")).to_have_text("There is no such view")


def test_reasons_are_sentences(viewer: BrowserViewer, farm: Farm) -> None:
    viewer.go(f"/jobs/{farm.stuck}/why")
    expect(viewer.page.locator(".sentences")).to_contain_text("memory")
    viewer.go("/jobs?why=1")
    expect(viewer.page.locator("details.why .sentences")).to_contain_text("stuck")


def test_renders_show_load_and_what_they_are(viewer: BrowserViewer) -> None:
    page = viewer.page
    viewer.go("/renders")
    expect(page.locator(".renders .body .row")).to_have_count(2)
    expect(page.locator(".plot.p-cpu .value").first).to_have_text(re.compile(r"\d+%"))
    page.locator(".renders .body .row").first.click()
    expect(page.locator(".plotrow").first).to_contain_text("CPU")
    # The time that the plots have, which is not an hour yet.
    expect(page.get_by_role("heading", name=re.compile(r"^Load, the last \d"))).to_be_visible()
    expect(page.locator(".facts").nth(1)).to_contain_text("GHz")


# -- steering ----------------------------------------------------------------------------------------


def test_a_job_is_paused_and_started_again_by_clicks(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.stuck}")
    page.locator(".jobhead [data-verb=pause]").click()
    shown = viewer.agree()
    assert "stuck" in shown
    assert "It can be undone" in shown
    undo = page.locator(".toast button", has_text="Undo")
    undo.focus()  # the message stays as long as its button has the focus
    expect(page.locator(".jobhead .chips")).to_contain_text("OFF")
    undo.click()
    expect(page.locator(".jobhead .chips")).not_to_contain_text("OFF")
    viewer.go("/log")
    expect(page.locator(".history")).to_contain_text("stuck")
    expect(page.locator(".history .chip", has_text="undone").first).to_be_visible()


def test_what_is_not_agreed_to_is_not_done(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.stuck}")
    page.locator(".jobhead .more").click()
    page.locator(".jobhead [role=menuitem]", has_text="Delete").click()
    expect(page.locator("dialog.agree")).to_contain_text("It cannot be undone")
    viewer.press("Enter")  # the harmless button has the focus
    expect(page.locator("dialog.agree")).to_have_count(0)
    viewer.go("/jobs")
    expect(viewer.row(farm.stuck)).to_be_visible()


def test_a_deleted_job_is_reported_as_gone(
    viewer: BrowserViewer, farm: Farm, tmp_path: Path
) -> None:
    job = tmp_path / "job.json"
    block = {"name": "b", "tasks": [{"name": "t", "command": "true"}], "need_memory": 1 << 30}
    job.write_text(json.dumps({"job": {"name": "unwanted", "blocks": [block]}}))
    with open_program(tmp_path, "submit", job, "--server", farm.server) as submit:
        number = submit.find(r"(?m)^(\d+)$")[1]
        assert submit.process.wait(GUARD) == 0
    page = viewer.page
    viewer.go(f"/jobs/{number}")
    expect(page.locator("h1")).to_have_text("unwanted")
    page.locator(".jobhead .more").click()
    page.locator(".jobhead [role=menuitem]", has_text="Delete").click()
    viewer.agree()
    expect(page.locator(".facts")).to_contain_text("was deleted")
    expect(page.locator(".jobhead .toolline")).to_be_hidden()


def test_parameters_are_edited_in_place(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.expected = ("/api/preview",)  # the browser reports each answer with an error
    viewer.go(f"/jobs/{farm.stuck}/settings")
    setting = page.locator(".setting", has=page.get_by_text("priority", exact=True))
    setting.get_by_role("button", name="Edit priority").click()
    setting.locator("input").fill("300")
    viewer.press("Enter")
    expect(page.locator(".toast.error")).to_contain_text("priority")
    setting.locator("input").fill("42")
    viewer.press("Enter")
    viewer.agree()
    expect(page.locator(".jobhead .facts")).to_contain_text("42")
    expect(setting.locator(".now")).to_have_text("42")
    viewer.go("/renders")
    page.locator(".renders .body .row").first.click()
    page.get_by_label("Edit the annotation").click()
    page.get_by_label("Annotation", exact=True).fill("fan is loud")
    viewer.press("Enter")
    viewer.agree()
    expect(page.locator(".noteline .annotation")).to_have_text("fan is loud")


def test_everything_is_done_by_the_keyboard_alone(viewer: BrowserViewer, farm: Farm) -> None:
    page = viewer.page
    viewer.go("/jobs")
    expect(viewer.row(farm.shot)).to_be_visible()
    viewer.press("Tab")
    assert viewer.focused() == "Skip to the content"
    viewer.tab_to(".body .row")
    while f'"{farm.shot}"' not in json.dumps(page.evaluate("document.activeElement.dataset.id")):
        viewer.press("ArrowDown")
    viewer.press("Enter")
    expect(page.locator("h1")).to_have_text("shot_010")
    expect(page.locator("h1")).to_be_focused()
    # Keys for a list that is still empty would be lost.
    expect(page.locator(".frameline")).to_contain_text("13 frames")
    expect(page.locator(".kinds [data-key=error]")).to_contain_text("1")
    viewer.tab_to(".framegrid")
    viewer.press("Home", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    expect(page.locator("[role=option]")).to_contain_text("frame 5: failed")
    viewer.press("Enter")
    expect(page.locator(".detailhead")).to_contain_text("ERR")
    # Buttons come with the list of what can be changed, which is an answer of its own.
    expect(page.locator(".detail .more")).to_be_visible()
    viewer.tab_to(".detail .more")
    viewer.press("ArrowDown")
    expect(page.locator(".detail [role=menuitem]").first).to_be_focused()
    viewer.press("Escape")
    expect(page.locator(".detail .more")).to_be_focused()
    page.locator(".detail [data-verb=skip]").first.focus()
    viewer.press("Enter")
    expect(page.locator("dialog.agree button.primary")).to_be_visible()
    while not page.evaluate("document.activeElement.matches('.primary')"):
        viewer.press("Tab")
    viewer.press("Enter")
    expect(page.locator(".detailhead")).to_contain_text("SKP")
    viewer.tab_to(".detail .close")
    viewer.press("Enter")
    expect(page.locator(".side")).to_be_hidden()


def test_a_viewer_without_the_right_sees_nothing_of_steering(
    farm: Farm, browser: Browser, tmp_path: Path
) -> None:
    words = ("web", "--server", farm.server, "--listen", "127.0.0.1:0", "--read-only")
    with (
        open_program(tmp_path, *words) as program,
        open_viewer(browser, page_address(program)) as viewer,
    ):
        page = viewer.page
        for path in ("/jobs", f"/jobs/{farm.shot}/0.0", "/renders", "/farm", "/log"):
            viewer.go(path)
            expect(page.locator("h1")).to_be_visible()
            expect(page.locator(".status")).to_contain_text("read-only")
            expect(page.locator("main")).to_contain_text(re.compile(r"(.|\n){40}"))
            for selector in (".tools:not([hidden])", "input[type=checkbox].pick", ".settingsbox"):
                expect(page.locator(f"{selector}:visible")).to_have_count(0)
            assert "Parameters" not in page.locator("main").inner_text()


# -- bad input and faults ----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 1280] if ALL else [360])
def test_hostile_texts_are_texts_and_fit(farm: Farm, browser: Browser, width: int) -> None:
    with open_viewer(browser, farm.address, size=(width, 740)) as viewer:
        page = viewer.page
        job = farm.hostile
        paths = (
            "/jobs?why=1",
            f"/jobs/{job}",
            f"/jobs/{job}/0.0",
            f"/jobs/{job}?as=table",
            f"/jobs/{job}/why",
        )
        for path in paths:
            viewer.go(path)
            expect(page.locator("main")).to_contain_text("⟨U+202E⟩gpj.exe <script>")
            assert page.title() != "taken"
            assert "\u202e" not in page.content()
            assert page.locator("main script, main img[src=x]").count() == 0
            wide = page.evaluate(
                "[document.documentElement.scrollWidth, document.querySelector('main').scrollWidth]"
            )
            assert max(wide) <= width, path


def test_a_server_that_comes_back_is_found_again(
    farm: Farm, browser: Browser, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        # Bound here without a listener, the port is no other program's between the two servers.
        kept = stack.enter_context(socket.socket())
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{kept.getsockname()[1]}"
        words = ("web", "--server", farm.server, "--listen", place)
        expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET")
        with open_program(tmp_path, *words) as program:
            made = open_viewer(browser, page_address(program), expected=expected)
            viewer = stack.enter_context(made)
            viewer.go("/jobs")
            expect(viewer.row(farm.shot)).to_be_visible()
            expect(viewer.page.locator("#banner")).to_be_hidden()
        banner = viewer.page.locator("#banner")
        expect(banner).to_contain_text("does not answer")
        expect(viewer.row(farm.shot)).to_be_visible()  # what was known stays
        with open_program(tmp_path, *words) as program:
            page_address(program)
            expect(banner).to_be_hidden()
            expect(viewer.row(farm.shot)).to_be_visible()
            stack.close()  # the viewer first: it would miss its server


def test_a_viewer_that_slept_for_an_hour_sees_what_is_true(
    viewer: BrowserViewer, farm: Farm
) -> None:
    page = viewer.page
    page.clock.install()
    viewer.go("/jobs")
    expect(viewer.row(farm.stuck)).to_be_visible()
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url))
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.clock.fast_forward(3600_000)
    assert streams == []  # a page that is not looked at costs the server nothing
    with page.expect_response("**/api/events?*") as opened:
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
    assert opened.value.ok
    page.clock.run_for(2000)
    expect(viewer.row(farm.stuck)).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()


def test_the_end_of_a_job_is_notified_if_the_user_has_asked(
    farm: Farm, browser: Browser, tmp_path: Path
) -> None:
    gate = make_gate(tmp_path / "gate")
    job = tmp_path / "job.json"
    tasks = [{"name": "t", "command": f"cat {gate}"}]
    job.write_text(
        json.dumps(
            {
                "job": {
                    "name": "short",
                    "blocks": [{"name": "b", "service": "generic", "tasks": tasks}],
                }
            }
        )
    )
    with open_viewer(browser, farm.address, permissions=["notifications"]) as viewer:
        page = viewer.page
        page.add_init_script(
            "window.Notification = class { constructor(title, more) {"
            " document.documentElement.dataset.shown += title + ': ' + more.body }"
            " static permission = 'granted';"
            " static requestPermission = async () => 'granted'; close() {} }"
        )
        viewer.go("/jobs")
        page.locator(".status .bell").click()
        expect(page.locator(".status .bell")).to_have_attribute("aria-pressed", "true")
        viewer.go("/renders")  # the choice is kept, and counts in every view
        # A job that has ended before its page watches is none to report.
        expect(page.locator(".renders .body .row")).to_have_count(2)
        with open_program(tmp_path, "submit", job, "--server", farm.server) as submit:
            assert submit.process.wait(GUARD) == 0
            gate.write_text("go\n")
        expect(page.locator("html")).to_have_attribute(
            "data-shown", re.compile("short is done: 1 task is done")
        )


# -- accessibility -----------------------------------------------------------------------------------


def look(viewer: BrowserViewer) -> None:
    """Wait until a view has its content."""
    expect(viewer.page.locator("main")).to_contain_text(re.compile(r"(.|\n){60}"))


def open_menu(viewer: BrowserViewer) -> None:
    viewer.page.locator(".jobhead .more").click()
    expect(viewer.page.locator("[role=menuitem]:visible").first).to_be_visible()


def ask(viewer: BrowserViewer) -> None:
    viewer.page.locator(".jobhead [data-verb=pause]").click()
    expect(viewer.page.locator("dialog.agree")).to_be_visible()


def flip(viewer: BrowserViewer) -> None:
    viewer.page.locator("button", has_text="Flip book").click()
    viewer.press("ArrowRight")
    expect(viewer.page.locator("dialog.book .caption")).to_contain_text("frame 2")


def open_parameters(viewer: BrowserViewer) -> None:
    """Those of two nodes at once, one of them edited."""
    boxes = viewer.page.locator("details.inline > summary", has_text="Parameters")
    for number in range(2):
        boxes.nth(number).click()
        expect(viewer.page.locator(".settings").nth(number)).to_be_visible()
    viewer.page.locator(".settings").first.locator("button", has_text="Edit").first.click()


def select_rows(viewer: BrowserViewer) -> None:
    table = viewer.page.locator(".table")
    table.scroll_into_view_if_needed()  # rows below the screen have no elements
    box = table.locator(".body .row input[type=checkbox]").first
    box.click()
    expect(box).to_be_checked()


def find_nothing(viewer: BrowserViewer) -> None:
    viewer.page.locator("input[type=search]").first.fill("no such name")
    expect(viewer.page.locator(".empty").first).to_be_visible()


def fail_to_set(viewer: BrowserViewer) -> None:
    viewer.expected = ("/api/preview",)  # the browser reports each answer with an error
    viewer.page.get_by_role("button", name="Edit priority").click()
    viewer.page.locator(".setting form:visible input").fill("300")
    viewer.press("Enter")
    expect(viewer.page.locator(".toast.error")).to_be_visible()


VIEWS: tuple[tuple[str, Callable[[BrowserViewer], None]], ...] = (
    ("/jobs?why=1", look),
    ("/jobs", select_rows),
    ("/jobs", find_nothing),
    ("/jobs/{shot}", look),
    ("/jobs/{shot}", open_menu),
    ("/jobs/{shot}", ask),
    ("/jobs/{shot}", open_parameters),
    ("/jobs/{shot}?as=table", select_rows),
    ("/jobs/{shot}?as=sheet", look),
    ("/jobs/{shot}?size=small&state=done", look),
    ("/jobs/{shot}?size=large&sort=errors", look),
    ("/jobs/{shot}/0.4", look),
    ("/jobs/{shot}/0.11", look),
    ("/jobs/{shot}/sheet", look),
    ("/jobs/{shot}/sheet", flip),
    ("/jobs/{shot}/why", look),
    ("/jobs/{shot}/settings", fail_to_set),
    ("/jobs/{shot}/log", look),
    ("/jobs/{hostile}/0.0", look),
    ("/jobs/{hostile}?as=table", look),
    ("/jobs/{hostile}/settings", look),
    ("/jobs/999999", look),
    ("/renders", look),
    ("/renders", select_rows),
    ("/renders/1", look),
    ("/renders/999999", look),
    ("/farm", look),
    ("/farm", open_parameters),
    ("/log", look),
    ("/nothing/here", look),
)
"""Each view, and what a user opens in it."""


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark"), (2560, "dark")]
    if ALL
    else [(360, "light"), (1280, "dark")],
)
def test_views_keep_the_rules_of_accessibility(
    farm: Farm, browser: Browser, width: int, scheme: str
) -> None:
    views = VIEWS if ALL else VIEWS[width // 600 :: 9]
    with open_viewer(browser, farm.address, scheme=scheme, size=(width, 800)) as viewer:
        for path, act in views:
            viewer.go(path.format(shot=farm.shot, hostile=farm.hostile))
            expect(viewer.page.locator("h1")).to_be_visible()
            act(viewer)
            viewer.check_accessibility()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_has_no_link_gets_a_page_that_keeps_these_rules(
    farm: Farm, browser: Browser, scheme: str
) -> None:
    with open_viewer(browser, farm.address, scheme=scheme, size=(360, 800)) as viewer:
        viewer.expected = ("401",)
        # As from another user of this host: such a header says that a proxy has passed it on.
        viewer.page.set_extra_http_headers({"X-Forwarded-For": "192.0.2.9"})
        viewer.go("/jobs")
        expect(viewer.page.locator("h1")).to_have_text("This page needs a login")
        viewer.check_accessibility()

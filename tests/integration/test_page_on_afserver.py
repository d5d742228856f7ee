"""The page of a real afserver with an agent of this program, in a real Chromium.

The tests run where an afserver is on PATH or named by AFSERVER, and are skipped by name elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
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
    open_program,
    open_viewer,
    page_address,
)
from support.real_afserver import AfserverProgram, find_afserver, open_afserver

MAX_NAME = 200
"""Letters of a job's name: its folder on an afserver has the name of the job in it."""

expect.set_options(timeout=GUARD * 1000)


@attrs.frozen
class ServedFarm:
    """An afserver with a render, and its page; the numbers are those of the jobs."""

    server: AfserverProgram
    address: str
    gate: Path
    shot: int
    hostile: int
    stuck: int


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedFarm]:
    find_afserver()
    folder = tmp_path_factory.mktemp("farm")
    gate = make_gate(folder / "gate")
    with ExitStack() as stack:
        server = stack.enter_context(open_afserver(folder / "afserver"))
        words = ("--server", server.url)
        store = ("--store", folder / "store", "--name", "r1")
        agent = stack.enter_context(open_program(folder, "agent", *words, *store))
        agent.find("registered as render")
        numbers = []
        for job in write_jobs(folder, MAX_NAME):
            with open_program(folder, "submit", job, *words) as submit:
                numbers.append(int(submit.find(r"(?m)^(\d+)$")[1]))
        page = ("web", *words, "--listen", "127.0.0.1:0")
        program = stack.enter_context(open_program(folder, *page))
        yield ServedFarm(server, page_address(program), gate, *numbers)
        # An agent ends after its frames, and reports them first.
        server.start()
        let_go(gate)


def let_go(gate: Path) -> None:
    """Let the frame at the gate continue, if it is there."""
    with suppress(OSError):  # ENXIO: nothing reads
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))


@pytest.fixture
def viewer(farm: ServedFarm, browser: Browser) -> Iterator[BrowserViewer]:
    with open_viewer(browser, farm.address) as made:
        yield made


def test_a_job_is_looked_at_down_to_the_output_of_a_frame(
    viewer: BrowserViewer, farm: ServedFarm
) -> None:
    page = viewer.page
    viewer.go("/jobs")
    viewer.row(farm.shot).click()
    expect(page.locator("h1")).to_have_text("shot_010")
    expect(page.locator(".kinds [data-key=done]")).to_contain_text("10")
    expect(page.locator(".kinds [data-key=error]")).to_contain_text("1")
    expect(page.locator(".lastlink img")).to_be_visible()
    viewer.go(f"/jobs/{farm.shot}/0.4")
    expect(page.locator(".detailhead")).to_contain_text("ERR")
    expect(page.locator(".output .fg1")).to_have_text("ERROR")
    viewer.go(f"/jobs/{farm.shot}/0.0")
    expect(page.locator(".detailhead")).to_contain_text("DON")
    expect(page.locator(".shot img")).to_be_visible()
    viewer.go(f"/jobs/{farm.shot}/sheet")
    expect(page.locator(".tile img.here").first).to_be_visible()
    viewer.go(f"/jobs/{farm.shot}/log")
    expect(page.locator(".lines").first).to_contain_text("Started")


def test_reasons_and_renders_are_those_of_the_server(
    viewer: BrowserViewer, farm: ServedFarm
) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.stuck}/why")
    expect(page.locator(".sentences")).to_contain_text("memory")
    viewer.go("/renders")
    page.locator(".renders .body .row", has_text="r1").click()
    expect(page.locator(".plotrow").first).to_contain_text("CPU")
    expect(page.locator(".facts").nth(1)).to_contain_text("GHz")
    viewer.go("/farm")
    expect(page.locator("main")).to_contain_text("afadmin")


def test_hostile_texts_are_texts(viewer: BrowserViewer, farm: ServedFarm) -> None:
    page = viewer.page
    for path in ("/jobs?why=1", f"/jobs/{farm.hostile}/0.0", f"/jobs/{farm.hostile}/why", "/farm"):
        viewer.go(path)
        expect(page.locator("main")).to_contain_text("<b>eve</b>" if path == "/farm" else "gpj.exe")
        assert page.title() != "taken"
        assert "\u202e" not in page.content()
        assert page.locator("main script, main img[src=x]").count() == 0


def test_it_is_steered_by_clicks(viewer: BrowserViewer, farm: ServedFarm) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.stuck}")
    page.locator(".jobhead [data-verb=pause]").click()
    assert "It can be undone" in viewer.agree()
    undo = page.locator(".toast button", has_text="Undo")
    undo.focus()  # the message stays as long as its button has the focus
    expect(page.locator(".jobhead .chips")).to_contain_text("OFF")
    undo.click()
    expect(page.locator(".jobhead .chips")).not_to_contain_text("OFF")
    viewer.go(f"/jobs/{farm.stuck}/settings")
    setting = page.locator(".setting", has=page.get_by_text("priority", exact=True))
    setting.get_by_role("button", name="Edit priority").click()
    setting.locator("input").fill("42")
    viewer.press("Enter")
    viewer.agree()
    expect(page.locator(".jobhead .facts")).to_contain_text("42")
    viewer.go(f"/jobs/{farm.shot}/0.4")
    page.locator(".detail [data-verb=skip]").click()
    viewer.agree()
    expect(page.locator(".detailhead")).to_contain_text("SKP")
    viewer.go("/renders")
    page.locator(".renders .body .row", has_text="r1").click()
    page.get_by_label("Edit the annotation").click()
    page.get_by_label("Annotation", exact=True).fill("fan is loud")
    viewer.press("Enter")
    viewer.agree()
    expect(page.locator(".noteline .annotation")).to_have_text("fan is loud")
    viewer.go("/log")
    expect(page.locator(".history")).to_contain_text("fan is loud")


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_views_keep_the_rules_of_accessibility(
    farm: ServedFarm, browser: Browser, width: int, scheme: str
) -> None:
    with open_viewer(browser, farm.address, scheme=scheme, size=(width, 800)) as viewer:
        shot = f"/jobs/{farm.shot}"
        for view in ("/jobs?why=1", f"{shot}/0.4", f"{shot}/log", "/renders/1", "/farm"):
            viewer.go(view)
            expect(viewer.page.locator("main")).to_contain_text(re.compile(r"(.|\n){60}"))
            viewer.check_accessibility()


def test_a_server_that_is_killed_comes_back_and_a_frame_runs_on(
    viewer: BrowserViewer, farm: ServedFarm
) -> None:
    page = viewer.page
    viewer.go(f"/jobs/{farm.shot}/0.11")
    expect(page.locator(".output")).to_contain_text("waiting for the gate")
    farm.server.kill()
    banner = page.locator("#banner")
    expect(banner).to_contain_text(re.compile("does not answer|no server listens there"))
    expect(page.locator("h1")).to_have_text("shot_010")  # what was known stays
    farm.server.start()
    expect(banner).to_be_hidden()
    expect(page.locator(".detailhead")).to_contain_text("RUN")
    farm.gate.write_text("go\n")  # the frame may be between its line and the gate
    expect(page.locator(".output")).to_contain_text("the gate is open")
    expect(page.locator(".detailhead")).to_contain_text("DON")
    expect(page.locator(".shot img")).to_be_visible()

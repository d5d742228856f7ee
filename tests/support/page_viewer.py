"""A farm with its page as a program, and a browser without a screen that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import attrs
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

from support.cli import make_environment
from support.process import PROGRAMS, find_marked

__all__ = (
    "GUARD",
    "PAINT",
    "BrowserViewer",
    "Program",
    "find_chromium",
    "open_browser",
    "open_program",
    "open_viewer",
    "page_address",
)

GUARD: Final = 60.0
"""Seconds after which a test fails; no passing test waits for it."""
PAINT: Final = f"{sys.executable} -I {PROGRAMS / 'paint_frame.py'}"
"""A renderer of test images."""
_MARK = "WEB_PAGE_MARK"


def find_chromium() -> str:
    """The path of a Chromium of this host; skips the test by name without one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("Chromium is not installed (Debian: apt install chromium)")


@attrs.define(eq=False)
class Program:
    """A running command of this package, with what it has printed."""

    process: subprocess.Popen[bytes]
    out: str = attrs.field(default="", repr=False)
    err: str = attrs.field(default="", repr=False)
    _grown: threading.Condition = attrs.field(factory=threading.Condition, repr=False)
    _ended: int = 0

    def read(self, name: str, stream: IO[bytes]) -> None:
        """Collect what a stream brings until its end; runs in a thread."""
        for line in stream:
            with self._grown:
                setattr(self, name, getattr(self, name) + line.decode("utf-8", "replace"))
                self._grown.notify_all()
        with self._grown:
            self._ended += 1
            self._grown.notify_all()

    def find(self, pattern: str) -> re.Match[str]:
        """Wait until stdout or stderr has a text."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, self.out) or re.search(pattern, self.err)
            if match:
                found.append(match)
            return bool(match) or self._ended == 2

        with self._grown:
            self._grown.wait_for(look, GUARD)
        assert found, f"no {pattern!r} in:\n{self.out[-4000:]}\n{self.err[-4000:]}"
        return found[0]


def page_address(program: Program) -> str:
    """The address of the page that a program serves, without a slash at its end."""
    return program.find(r"the page of .* is (http\S+?)/?\n")[1]


@contextmanager
def open_program(home: Path, *words: str | Path, **more: str) -> Iterator[Program]:
    """Start `trio_afrender`; at the end it is ended, and none of its processes may live.

    `more` are further variables of its environment.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "trio_afrender", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=make_environment(home, **{_MARK: mark, **more}),
        cwd=home,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    program = Program(process)
    readers = [
        threading.Thread(target=program.read, args=("out", process.stdout)),
        threading.Thread(target=program.read, args=("err", process.stderr)),
    ]
    for reader in readers:
        reader.start()
    try:
        yield program
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(GUARD)
        finally:
            process.kill()
            for reader in readers:
                reader.join(GUARD)
            process.stdout.close()
            process.stderr.close()
    assert find_marked(_MARK, mark) == []


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium without a screen."""
    # Chromium's sandbox does not start as root.
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=words)
        try:
            yield browser
        finally:
            browser.close()


@attrs.define(eq=False)
class BrowserViewer:
    """A browser's page, and what must not happen on it."""

    page: Page
    address: str
    problems: list[str] = attrs.field(factory=list)
    expected: tuple[str, ...] = ()
    """Parts of messages that a test causes on purpose."""

    def go(self, path: str) -> None:
        """Open an address of the page anew."""
        self.page.goto(self.address + path)

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            self.page.keyboard.press(key)

    def focused(self) -> str:
        """The text of what has the focus."""
        return str(self.page.evaluate("document.activeElement.innerText"))

    def tab_to(self, selector: str, most: int = 80) -> None:
        """Press Tab until an element has the focus: it must be reachable by the keyboard."""
        for _ in range(most):
            self.press("Tab")
            if self.page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{most} times Tab do not lead to {selector}")

    def row(self, node: int) -> Locator:
        """The row of a list that shows a node."""
        return self.page.locator(f'.body .row[data-id="{node}"]')

    def check_accessibility(self) -> None:
        """Raise AssertionError for a violation of axe-core's rules."""
        # What still fades in has the contrast of no theme.
        self.page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
        results = Axe().run(self.page)
        found = [
            f"{each['id']}: {each['nodes'][0]['target']}: {each['nodes'][0]['failureSummary']}"
            for each in results.response["violations"]
        ]
        assert found == [], f"{self.page.url}: {found}"

    def agree(self) -> str:
        """Agree to what the page asks; return what it showed."""
        question = self.page.locator("dialog.agree")
        shown = question.inner_text()
        question.locator("button.primary").click()
        question.wait_for(state="detached")
        return shown

    def _note_console(self, message: ConsoleMessage) -> None:
        text = f"console {message.type}: {message.text} ({message.location.get('url')})"
        if message.type in ("error", "warning") and not any(p in text for p in self.expected):
            self.problems.append(text)

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.address).netloc:
            self.problems.append(f"a request to another host: {request.url}")

    def watch(self) -> None:
        """Note what must not happen, from now on."""
        self.page.on("console", lambda message: self._note_console(message))
        self.page.on("pageerror", lambda error: self.problems.append(f"an error: {error}"))
        self.page.on("request", lambda request: self._note_request(request))
        self.page.on("dialog", lambda dialog: self.problems.append(f"a dialog: {dialog.message}"))


@contextmanager
def open_viewer(
    browser: Browser,
    address: str,
    *,
    size: tuple[int, int] = (1280, 800),
    scheme: Any = "light",  # noqa: ANN401 - one of Playwright's words
    permissions: Sequence[str] = (),
    expected: tuple[str, ...] = (),
) -> Iterator[BrowserViewer]:
    """Look at a page with a fresh browser profile; at the end nothing forbidden has happened."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        timezone_id="Asia/Tokyo",
    )
    context.set_default_timeout(GUARD * 1000)
    if permissions:
        context.grant_permissions(list(permissions))
    try:
        viewer = BrowserViewer(context.new_page(), address, expected=expected)
        viewer.watch()
        yield viewer
        assert not viewer.problems, "\n".join(viewer.problems)
    finally:
        context.close()

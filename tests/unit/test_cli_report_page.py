"""The page of a report: complete, bounded, and nothing of a task is markup."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest

from trio_afrender.cli import report_page
from trio_afrender.cli.report_page import make_report_page
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.protocol.messages import Reason, TaskKey, TaskUsage

NOW = 2000.0
EVIL = "<script>alert(1)</script><img src=//x.example/y onerror=z>\"'&\x1b[31m\u202e"
VOID = {"meta", "img", "br"}


class Texts:
    def __init__(self, output: str = "") -> None:
        self.text = output

    def log(self, key: TaskKey) -> str:
        return ""

    def output(self, key: TaskKey, attempt: int) -> str:
        return self.text

    def path(self, key: TaskKey, name: str) -> Path:
        return Path(name)


def task(number: int = 0, state: str = "done", **fields: object) -> TaskView:
    made = TaskView(
        job=1, block=0, task=number, name=f"frame {number}", block_name="render", service="generic",
        state=state, render="r1", attempts=1, attempt=1, started=1000.0 + number,
        finished=1002.0 + number, texts=Texts(),
    )  # fmt: skip
    return attrs.evolve(made, **fields)  # type: ignore[arg-type]  # fields of the view


def job(tasks: Iterable[TaskView], **fields: object) -> JobView:
    made = JobView(
        id=1, name="film", user_name="jane", state="done", started=1000.0, finished=1100.0,
        counts={}, tasks=tuple(tasks),
    )  # fmt: skip
    return attrs.evolve(made, **fields)  # type: ignore[arg-type]  # fields of the view


class Page(HTMLParser):
    """Collects tags, attributes and text; each tag has to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_has_what_an_artist_asks() -> None:
    why = (
        Reason(
            time=1, event="cause", text='licence: "no seat" (line 2 of the output); exit code 3'
        ),
        Reason(time=1, event="exit", text="the process ended with exit code 3"),
    )
    black = (Reason(time=1, event="image", text="the image is black all over: a.exr"),)
    tasks = (
        task(0, usage=TaskUsage(resident_peak=3 * 1024**3), why=black),
        task(1, "error", exit_code=3, attempts=2, why=why, texts=Texts("start\nno seat\n")),
        task(2, "killed", attempts=0, started=None, finished=None, render=""),
        task(3, started=1050.0, finished=1090.0, render="r2"),
    )
    page = Page(made := make_report_page(job(tasks, state="error"), NOW))
    for words in (
        "film", "failed", "of jane", "2 of 4", "not run", "1:40 min", "3.0 GiB",
        "render / frame 1", "Timeline by render", "Slowest", "Most memory", "Warnings",
        "render / frame 0: the image is black all over: a.exr", "2 tries", "on r1",
    ):  # fmt: skip
        assert words in page.text, words
    assert "<b>no seat</b>" in made
    assert page.tags.count("rect") == 3
    assert page.text.count("exit code 3") == 3  # in the cause, in a reason, in the table


def test_nothing_of_a_task_is_markup() -> None:
    why = (Reason(time=1, event=EVIL, text=EVIL), Reason(time=1, event="cause", text=EVIL))
    fields = {"name": EVIL, "block_name": EVIL, "render": EVIL, "why": why}
    bad = task(1, "error", **fields, texts=Texts(EVIL))
    warned = task(2, name=EVIL, why=(Reason(time=1, event="image", text=EVIL),))
    text = make_report_page(job((bad, warned), name=EVIL, user_name=EVIL, state="error"), NOW)
    page = Page(text)
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert not re.search(
        r"(src|href)\s*=", re.sub(r"&[a-z#0-9]+;", "", text.replace("&lt;img src=", ""))
    )
    assert "<script>alert(1)" in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "default-src 'none'" in text


def test_pictures_are_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for number in range(6):
        path = tmp_path / f"a.{number}.exr.jpg"
        path.write_bytes(b"\xff\xd8" + bytes([number]))
        files.append(path)
    (tmp_path / "large.png").write_bytes(bytes(report_page.MAX_PICTURE + 1))
    (tmp_path / "link.png").symlink_to(files[0])
    odd = (tmp_path / "gone.jpg", tmp_path / "large.png", tmp_path / "link.png", tmp_path / "x.txt")
    view = job((task(files=(*files, *odd)),))
    page = Page(make_report_page(view, NOW))
    sources = [value for name, value in page.attributes if name == "src"]
    encoded = base64.b64encode(b"\xff\xd8\x00").decode()
    assert len(sources) == 6
    assert sources[0] == f"data:image/jpeg;base64,{encoded}"
    assert "... and 3 more pictures" in page.text
    monkeypatch.setattr(report_page, "MAX_PICTURES", 3)
    page = Page(make_report_page(job((task(files=tuple(files)),)), NOW))
    assert page.tags.count("img") == 3
    assert "... and 3 more pictures" in page.text
    monkeypatch.setattr(report_page, "MAX_PICTURE_BYTES", 60)
    page = Page(make_report_page(job((task(files=tuple(files)),)), NOW))
    assert page.tags.count("img") == 2


def test_of_an_overwritten_line_the_last_state_is_shown() -> None:
    failed = task(0, "error", texts=Texts("10 %\r55 %\r    \r\nbroken\r\n"))
    made = make_report_page(job((failed,), state="error"), NOW)
    assert "<pre>55 %\nbroken</pre>" in made


def test_a_large_job_stays_a_page() -> None:
    output = Texts("x" * 5000 + "\n" + "line\rother\r\n" * 100_000)
    failed = [task(number, "error", texts=output) for number in range(60)]
    good = [task(number, finished=1000.0 + 2 * number) for number in range(60, 8000)]
    text = make_report_page(job((*failed, *good), state="error"), NOW)
    page = Page(text)
    assert len(text) < 4_000_000
    assert page.tags.count("rect") == report_page.MAX_BARS
    assert page.tags.count("tr") == report_page.MAX_ROWS + 1
    assert "... and 10 more failed tasks" in page.text
    assert "... and 5000 shorter tasks" in page.text
    assert "... and 3000 more tasks" in page.text


def test_a_job_that_never_started_has_a_page() -> None:
    tasks = (task(0, "killed", attempts=0, started=None, finished=None, render=""),)
    page = Page(make_report_page(job(tasks, state="stopped", started=None, finished=None), NOW))
    assert "never started" in page.text
    assert "Timeline" not in page.text
    assert Page(make_report_page(job(()), NOW)).text


def test_only_tasks_that_run_take_time_until_now() -> None:
    lost = task(0, "killed", finished=None)  # its end is unknown
    page = Page(make_report_page(job((lost,), state="stopped"), NOW))
    assert "0.0 sof all tasks together" in page.text
    running = task(0, "running", finished=None)
    page = Page(make_report_page(job((running,), state="running", finished=None), NOW))
    assert "16:40 minof all tasks together" in page.text


@pytest.mark.parametrize("span", [0.0, 0.5, 7.0, 400.0, 40_000.0, 4_000_000.0])
def test_the_axis_has_few_marks(span: float) -> None:
    page = Page(make_report_page(job((task(0, finished=1000.0 + span),)), NOW))
    assert 1 <= page.tags.count("line") <= 9


def test_tasks_at_once_have_lanes_of_their_own() -> None:
    tasks = [task(number, started=1000.0, finished=1010.0) for number in range(3)]
    tasks.append(task(3, started=1010.0, finished=1020.0))
    text = make_report_page(job(tasks), NOW)
    assert len(set(re.findall(r'<rect [^>]* y="(\d+)"', text))) == 3

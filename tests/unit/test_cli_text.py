"""Texts for the terminal: no control characters, limited length, every event included."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from trio_afrender.cli.job_events import compare
from trio_afrender.cli.progress_display import (
    PlainScreen,
    QuietScreen,
    RichProgress,
    describe_progress,
    make_job_bar,
    make_task_bars,
)
from trio_afrender.cli.summary import (
    describe_failure,
    name_failure,
    seconds_text,
    summarize,
)
from trio_afrender.cli.terminal import Part, clean, shorten_line, tail
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.protocol.messages import Reason, TaskKey, TaskUsage


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]x[/bold] äöü 漢", "plain [bold]x[/bold] äöü 漢"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("a\tb", "a    b"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("\udcff\ud800", "\\xff\\ud800"),
    ],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(alphabet=st.characters(), max_size=300))
def test_cleaned_text_is_one_printable_line(text: str) -> None:
    shown = clean(text)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    shown.encode()
    assert shown.splitlines() in ([], [shown])


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("\x1b", 3, "\\x…"),
    ],
)
def test_text_is_shortened(text: str, width: int, shown: str) -> None:
    assert shorten_line(text, width) == shown


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n \r\n", []),
        ("a\nb\nc\nd\n", ["b", "c", "d"]),
        ("1%\r50%\r100%\r\ndone", ["100%", "done"]),
        ("x" * 1000, ["x" * 199 + "…"]),
        ("one\n\n\ntwo \x1b[0m\n", ["one", "two \\x1b[0m"]),
    ],
)
def test_the_tail_of_an_output(text: str, lines: list[str]) -> None:
    assert tail(text, 3) == lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1:00 min"), (3599, "59:59 min"), (3661, "1:01:01 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


class Texts:
    """Texts of tasks, by key."""

    def __init__(self, outputs: Mapping[TaskKey, str]) -> None:
        self.outputs = outputs

    def log(self, key: TaskKey) -> str:
        return ""

    def output(self, key: TaskKey, attempt: int) -> str:
        return self.outputs.get(key, "")

    def path(self, key: TaskKey, name: str) -> Path:
        return Path(name)


NO_TEXTS = Texts({})


def task(number: int, state: str, *, attempts: int = 0, texts: Texts = NO_TEXTS) -> TaskView:
    return TaskView(
        job=2,
        block=0,
        task=number,
        run=f"run {number} {attempts}" if attempts else "",
        name=f"frame {number}",
        block_name="render",
        service="generic",
        state=state,
        attempts=attempts,
        attempt=attempts,
        texts=texts,
    )


def job(*tasks: TaskView, state: str = "running") -> JobView:
    return JobView(id=2, name="film", user_name="", state=state, counts={}, tasks=tasks)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (None, task(0, "ready"), []),
        (None, task(0, "running", attempts=1), ["started"]),
        (None, task(0, "done", attempts=1), ["ended"]),
        (task(0, "ready"), task(0, "running", attempts=1), ["started"]),
        (task(0, "ready"), task(0, "done", attempts=1), ["ended"]),
        (task(0, "ready"), task(0, "ready", attempts=1), ["retried"]),
        (task(0, "ready"), task(0, "running", attempts=2), ["retried", "started"]),
        (task(0, "running", attempts=1), task(0, "ready", attempts=1), ["retried"]),
        (task(0, "running", attempts=1), task(0, "running", attempts=2), ["retried", "started"]),
        (task(0, "running", attempts=1), task(0, "error", attempts=2), ["ended"]),
        (task(0, "ready", attempts=1), task(0, "running", attempts=2), ["started"]),
        (task(0, "done", attempts=1), task(0, "done", attempts=1), []),
        (task(0, "waiting"), task(0, "killed"), ["ended"]),
    ],
)
def test_every_end_and_every_failed_attempt_is_an_event(
    before: TaskView | None, after: TaskView, kinds: list[str]
) -> None:
    old = job(before) if before is not None else None
    assert [event.kind for event in compare(old, job(after))] == kinds


def texts_of(lines: Sequence[Sequence[Part]]) -> list[str]:
    return ["".join(p if isinstance(p, str) else p[0] for p in line) for line in lines]


def test_the_summary_counts_names_the_slowest_and_explains_failures() -> None:
    texts = Texts({TaskKey(2, 0, 2): "start\n\x1b]0;owned\x07 no licence\n"})
    failed = attrs.evolve(
        task(2, "error", attempts=3, texts=texts),
        exit_code=-11,
        why=(Reason(time=0, event="exit", text="the process ended with signal 11"),),
    )
    view = attrs.evolve(
        job(
            attrs.evolve(task(0, "done", attempts=1), started=10, finished=12.5),
            attrs.evolve(
                task(1, "done", attempts=1),
                started=10,
                finished=80,
                usage=TaskUsage(resident_peak=3 * 1024**3),
            ),
            failed,
            task(3, "killed"),
            task(4, "killed", attempts=1),
            state="error",
        ),
        started=10.0,
        finished=90.0,
    )
    assert texts_of(summarize(view)) == [
        'job "film": error in 1:20 min; tasks: 2 done, 1 error, 1 killed, 1 not run',
        "slowest: render / frame 1 1:10 min, render / frame 0 2.5 s",
        "most memory: render / frame 1 3.0 GiB",
        "failed: render / frame 2: ended by signal 11, 3 tries",
        "    why: the process ended with signal 11",
        "    | start",
        "    | \\x1b]0;owned\\x07 no licence",
    ]


def steps(*events: str) -> tuple[Reason, ...]:
    """Reasons from texts such as ``cause: no seat``."""
    parts = (each.split(": ", 1) for each in events)
    return tuple(Reason(time=0, event=event, text=text) for event, text in parts)


def test_a_failure_begins_with_its_cause() -> None:
    texts = Texts({TaskKey(2, 0, 1): "a\nb\nc\n"})
    why = steps(
        "cause: frame.0007.exr is \x1b missing", "class: licence: no seat", "rule: a rule",
        "figures: 3 MiB", "asked: a rule", "signal: TERM", "exit: exit code 0", "memory: it is short",
    )  # fmt: skip
    failed = attrs.evolve(task(1, "error", attempts=1, texts=texts), exit_code=0, why=why)
    assert texts_of(describe_failure(failed)) == [
        "failed: render / frame 1: frame.0007.exr is \\x1b missing, 1 try",
        "    why: licence: no seat",
        "    why: a rule",
        "    why: it is short",
        "    | a",
        "    | b",
        "    | c",
    ]
    assert name_failure(failed) == [
        "failed: render / frame 1: frame.0007.exr is \\x1b missing, 1 try",
        "    | b",
        "    | c",
    ]
    silent = attrs.evolve(failed, texts=NO_TEXTS)
    assert name_failure(silent) == name_failure(failed)[:1]


def test_a_failure_counts_the_tries_that_have_ended() -> None:
    why = steps("cause: one", "retry: again")
    again = attrs.evolve(task(1, "running", attempts=2), why=why)
    assert name_failure(again) == ["failed: render / frame 1: one, 1 try"]


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ((), ""),
        (("exit: exit code 0",), ""),
        (("cause: one", "exit: x", "retry: again", "cause: two", "exit: x"), "two"),
        (("cause: one", "exit: x", "retry: again"), "one"),
        (("cause: one", "retry: again", "exit: exit code 0"), ""),
        (("cause: one", "retry: again", "lost: the render is gone"), ""),
        (("refused: no such folder", "retry: again", "refused: no folder"), "no folder"),
        (("asked: drain", "bug: internal error"), "internal error"),
    ],
)
def test_the_cause_is_that_of_the_latest_attempt(events: tuple[str, ...], cause: str) -> None:
    failed = attrs.evolve(task(1, "error", attempts=2), why=steps(*events))
    assert failed.cause == cause


def test_the_report_has_the_latest_cause_before_all_reasons() -> None:
    why = steps("cause: one", "exit: x", "retry: again", "cause: two", "exit: y")
    tasks = (
        attrs.evolve(task(1, "error", attempts=2), why=why),
        attrs.evolve(task(2, "done", attempts=2), why=why[:3]),
        attrs.evolve(task(3, "done", attempts=1), why=why[1:2]),
    )
    report: Any = make_report(job(*tasks))
    texts = [[step["text"] for step in each["why"]] for each in report["tasks"]]
    assert texts == [["two", "one", "x", "again", "y"], ["one", "x", "again"], ["x"]]


def test_the_summary_of_many_failures_stays_short() -> None:
    view = job(*(task(number, "error", attempts=1) for number in range(50)), state="error")
    lines = texts_of(summarize(view))
    assert lines[-1] == "... and 40 more failed tasks"
    assert len(lines) == 12


def test_a_bar_shows_the_usage_of_the_tree() -> None:
    running = attrs.evolve(
        task(1, "running", attempts=1),
        activity="Sample 3",
        usage=TaskUsage(resident=2 * 1024**3, cpu_percent=390.4, processes=3),
    )
    assert describe_progress(running) == "Sample 3, 2.0 GiB, 390% cpu"
    assert describe_progress(task(1, "running", attempts=1)) == ""
    second = attrs.evolve(task(1, "running", attempts=1), frame=1, percentframe=40, percent=20)
    assert describe_progress(second) == "frame 2, 40%"
    assert describe_progress(attrs.evolve(second, frames=(10, 18, 4))) == "frame 14, 40%"


@pytest.mark.parametrize("name", ["漢字" * 40, "e\u0301" * 200, "a [bold]long[/bold] name " * 20])
@pytest.mark.parametrize("width", [40, 77])
def test_bars_are_as_wide_as_the_terminal(name: str, width: int) -> None:
    running = attrs.evolve(task(1, "running", attempts=1), name=name, activity=name, percent=50)
    view = attrs.evolve(job(running), name=name)
    console = Console(width=width, file=io.StringIO(), markup=False)
    for table in (make_task_bars(view.tasks, width), make_job_bar(view, width)):
        with console.capture() as captured:
            console.print(table)
        [line] = captured.get().splitlines()
        assert cell_len(line) == width
        assert "…" in line
        assert ("[" in line) == ("[" in name), "names are not markup"


@pytest.mark.parametrize("folds", [True, False])
def test_bars_that_a_narrower_terminal_has_folded_are_erased(
    monkeypatch: pytest.MonkeyPatch, *, folds: bool
) -> None:
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    monkeypatch.setenv("TERM", "tmux-256color" if folds else "linux")
    screen = RichProgress()
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=20, markup=False)
    screen.console = screen._live.console = console
    view = job(task(1, "running", attempts=1))
    screen.open()
    screen.draw(view, "", "", 0.0)
    assert "render / frame 1" in out.getvalue()
    console.width = 40
    out.truncate(0)
    screen.draw(view, "", "", 1.0)
    # Two lines of 97 columns were six rows of 40; rich itself erases two rows.
    assert out.getvalue().count("\x1b[2K") == (6 if folds else 0) + 2
    assert out.getvalue().count("\x1b[1A") == (5 if folds else 0) + 1
    out.truncate(0)
    screen.draw(view, "", "", 2.0)
    assert out.getvalue().count("\x1b[2K") == 2  # once
    screen.close()


def test_tasks_without_a_parser_have_no_percentage() -> None:
    view = job(task(1, "running", attempts=1))
    console = Console(width=80, file=io.StringIO())
    shown = []
    for unparsed in ((), (0,)):
        with console.capture() as captured:
            console.print(make_task_bars(view.tasks, 77, unparsed))
        shown.append("0%" in captured.get())
    assert shown == [True, False]


def test_the_summary_has_warnings_and_colours() -> None:
    black = (Reason(time=0, event="image", text="the image is black all over"),)
    tasks = [attrs.evolve(task(number, "done", attempts=1), why=black) for number in range(3)]
    view = job(*tasks, attrs.evolve(task(3, "error", attempts=1), exit_code=1), state="error")
    coloured = summarize(view)
    warning = "warning: render / frame 0 and 2 more: the image is black all over"
    assert warning in texts_of(coloured)
    assert [("warning", "yellow"), warning.removeprefix("warning")] in coloured
    assert ("error", "bold red") in coloured[0]
    assert ("3 done", "green") in coloured[0]
    assert coloured[-1][0] == ("failed", "bold red")


def test_a_quiet_screen_names_what_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    screen = QuietScreen()
    for now in (0.0, 5.0, 9.0, 20.0):
        screen.draw(job(), "no memory", "", now)
    assert capsys.readouterr().err == "nothing runs: no memory\n"


def test_plain_lines_come_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    view = job(task(1, "running", attempts=1))
    for now in range(0, 31, 5):
        screen.draw(view, "", "ends about 12:00", float(now))
    line = "0 of 1 tasks ended; running: render / frame 1 0%; ends about 12:00\n"
    assert capsys.readouterr().err == line * 3

"""Which windows are closed, and what is reported of it, with windows in memory."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from trio_afrender.config import Config
from trio_afrender.errors import ConfigError
from trio_afrender.process.interfaces import ClosedWindow
from trio_afrender.process.windows.win32 import TopWindow
from trio_afrender.process.windows.window_closer import MAX_SILENT, ROUND_LIMIT, WindowCloser

TITLE = "Microsoft Visual C++ Runtime Library"


@attrs.define
class Desktop:
    """Windows in memory: those in `hung` do not answer, all others close."""

    windows: list[TopWindow]
    hung: set[int] = attrs.field(factory=set)
    images: dict[int, str] = attrs.field(factory=dict)
    asked: list[int] = attrs.field(factory=list)
    posted: list[int] = attrs.field(factory=list)

    def list_windows(self) -> list[TopWindow]:
        return list(self.windows)

    def image_name(self, pid: int) -> str:
        return self.images.get(pid, r"C:\renderer.exe")

    def send_close(self, window: int, seconds: float) -> bool:
        self.asked.append(window)
        if window in self.hung:
            return False
        self.windows = [each for each in self.windows if each.handle != window]
        return True

    def post_close(self, window: int) -> None:
        self.posted.append(window)


@attrs.define
class Tree:
    pids: tuple[int, ...]
    noted: list[ClosedWindow] = attrs.field(factory=list)

    def living(self) -> tuple[int, ...]:
        return self.pids

    def note_window(self, window: ClosedWindow) -> None:
        self.noted.append(window)


def make(desktop: Desktop, titles: Sequence[str] = (TITLE,), crashed: int = 0) -> WindowCloser:
    return WindowCloser(titles, lambda: (), desktop, lambda _pid: crashed)


def window(handle: int, title: str = TITLE, pid: int = 10, *, visible: bool = True) -> TopWindow:
    return TopWindow(handle, title, pid, visible)


@pytest.mark.parametrize(
    "title", [TITLE.lower(), f"{TITLE} ", f" {TITLE}", f"{TITLE}!", "Microsoft", "", "Renderer"]
)
def test_other_titles_are_left_alone(title: str) -> None:
    desktop = Desktop([window(1, title)])
    assert make(desktop).close_round({}) == []
    assert not desktop.asked


def test_hidden_windows_are_left_alone() -> None:
    desktop = Desktop([window(1, visible=False)])
    assert make(desktop).close_round({}) == []


def test_nothing_is_closed_without_titles() -> None:
    desktop = Desktop([window(1), window(2, "")])
    assert make(desktop, ()).close_round({10: Tree((10,))}) == []
    assert not desktop.asked


def test_a_window_is_reported_with_its_tree() -> None:
    tree = Tree((10, 11))
    desktop = Desktop([window(1, pid=11), window(2, pid=99)])
    found = make(desktop).close_round({10: tree, 11: tree})
    assert found == [
        (tree, ClosedWindow(title=TITLE, pid=11, answered=True)),
        (None, ClosedWindow(title=TITLE, pid=99, answered=True)),
    ]


def test_a_hung_window_is_asked_in_each_round_and_reported_once() -> None:
    desktop = Desktop([window(1)], hung={1})
    closer = make(desktop)
    assert [each.answered for _, each in closer.close_round({})] == [False]
    assert closer.close_round({}) == []
    assert desktop.asked == [1, 1]
    desktop.hung.clear()
    assert [each.answered for _, each in closer.close_round({})] == [True]


def test_many_hung_windows_do_not_delay_the_round() -> None:
    handles = range(1, 101)
    desktop = Desktop([window(each) for each in handles], hung=set(handles))
    make(desktop).close_round({})
    assert len(desktop.asked) == MAX_SILENT
    assert len(desktop.posted) == 100 - MAX_SILENT


def test_a_hundred_dialogs_at_once() -> None:
    desktop = Desktop([window(each) for each in range(1, 2 * ROUND_LIMIT + 1)])
    closer = make(desktop)
    assert len(closer.close_round({})) == ROUND_LIMIT
    assert len(closer.close_round({})) == ROUND_LIMIT
    assert not desktop.windows


def test_the_crash_report_of_a_member_is_closed_without_a_list() -> None:
    tree = Tree((10,))
    desktop = Desktop([window(1, "renderer.exe", 77)], images={77: r"C:\Windows\WerFault.exe"})
    found = make(desktop, (), crashed=10).close_round({10: tree})
    assert found == [(tree, ClosedWindow(title="renderer.exe", pid=77, answered=True))]


def test_the_crash_report_of_another_program_is_left_alone() -> None:
    desktop = Desktop([window(1, "other.exe", 77)], images={77: r"C:\Windows\WerFault.exe"})
    assert make(desktop, (), crashed=11).close_round({10: Tree((10,))}) == []


@pytest.mark.parametrize(
    ("titles", "text"), [(("",), "empty"), ((" ",), "empty"), (("a*",), "wild")]
)
def test_titles_that_are_refused(titles: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Config(name="r", windows_must_die=titles)

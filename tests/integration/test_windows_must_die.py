"""Windows that keep a crashed program from ending are closed, and no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio
from support.process_contract import GUARD
from support.windows_trees import open_windows_trees

from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.process.windows import window_closer

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="windows are Windows' own: make windows-test"
)


async def test_two_of_three_message_boxes_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_closer, "INTERVAL", 0.5)
    titles = ("Bad Window", "Worse Window")
    async with open_windows_trees(tmp_path, titles) as trees:
        kept = trees.make_shape("box", "Bad Window 2")
        async with trees.run(kept, until=b"shown Bad Window 2\r\n") as third:
            for title in titles:
                launch = trees.make_shape("box", title)
                async with trees.run(launch, until=f"shown {title}\r\n".encode()) as started:
                    with trio.fail_after(GUARD):
                        await started.tree.exited()
                        await started.ended.wait()
                    assert started.printed.endswith(f"closed {title}\r\n".encode())
                    window = started.tree.closed_windows.receive_nowait()  # type: ignore[union-attr]  # Windows has it
                    assert (window.title, window.pid) == (title, started.tree.pid)
                    assert window.answered
            assert third.printed == b"shown Bad Window 2\r\n"
            assert await third.tree.members() == (third.tree.pid,)
            with pytest.raises(trio.WouldBlock):
                third.tree.closed_windows.receive_nowait()  # type: ignore[union-attr]  # as above


async def test_a_window_of_another_program_is_closed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(window_closer, "INTERVAL", 0.5)
    caplog.set_level("INFO")
    async with open_windows_trees(tmp_path / "other") as other:
        launch = other.make_shape("box", "Not Ours")
        (tmp_path / "other").mkdir()
        async with other.run(launch, until=b"shown Not Ours\r\n") as started:
            async with open_windows_trees(tmp_path, ["Not Ours"]):
                with trio.fail_after(GUARD):
                    await started.tree.exited()
    assert "closed the window 'Not Ours' of pid" in caplog.text


async def test_a_hundred_dialogs_at_once_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_closer, "INTERVAL", 3.0)
    async with open_windows_trees(tmp_path, ["Bad Window"]) as trees:
        launch = trees.make_shape("boxes", "100", "Bad Window")
        async with trees.run(launch, until=b"closed 100\r\n") as started:
            await started.tree.exited()
            closed = started.tree.closed_windows
            assert closed is not None
            windows = [closed.receive_nowait() for _ in range(100)]
            assert {window.pid for window in windows} == {started.tree.pid}
            assert (await started.tree.reap()).code == 0


async def test_a_window_that_never_answers_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_closer, "INTERVAL", 0.5)
    async with open_windows_trees(tmp_path, ["Hung Window", "Bad Window"]) as trees:
        hung = trees.make_shape("hung", "Hung Window")
        async with trees.run(hung, until=b"shown Hung Window\r\n") as first:
            async with trees.run(trees.make_shape("box", "Bad Window"), until=b"closed") as second:
                await second.tree.exited()
            with trio.fail_after(GUARD):
                assert first.tree.closed_windows is not None
                window = await first.tree.closed_windows.receive()
            assert (window.title, window.answered) == ("Hung Window", False)
            # A tree with such a window is ended like any other.
            await first.tree.signal_tree(TreeSignal.TERM)
            assert await first.tree.kill_until_empty(GUARD) == ()

"""Windows that keep a crashed program from ending are closed, and no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio
from support.process_contract import GUARD
from support.windows_trees import open_windows_trees

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

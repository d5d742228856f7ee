"""The end of a session on Windows is a drain, and waits for it."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from trio_afrender.cli.signals import open_signals
from trio_afrender.process import session_end
from trio_afrender.process.windows import session_window
from trio_afrender.process.windows.session_window import CLASS_NAME

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="WM_ENDSESSION is Windows' own: make windows-test"
)
END_SESSION = 0x16
LOGOFF = 0x80000000


def send(second: int, answered: Callable[[], None]) -> None:
    user: Any = vars(ctypes)["WinDLL"]("user32")
    user.FindWindowW.restype = ctypes.c_void_p
    user.SendMessageW.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t, ctypes.c_ssize_t]
    user.SendMessageW(user.FindWindowW(CLASS_NAME, CLASS_NAME), END_SESSION, 1, second)
    answered()


@pytest.mark.parametrize(("second", "name"), [(0, "shutdown"), (LOGOFF, "logoff")])
async def test_it_drains_then_stops_and_is_answered_at_the_end(
    second: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_end, "SECOND_REQUEST", 0.1)
    calls: list[tuple[int, str]] = []
    called, answered = trio.Event(), threading.Event()

    def act(count: int, what: str) -> None:
        calls.append((count, what))
        if count == 2:
            called.set()

    with trio.fail_after(20):
        async with open_signals(act):
            threading.Thread(target=send, args=(second, answered.set), daemon=True).start()
            await called.wait()
            assert not answered.is_set(), "Windows would end the agent now"
        await trio.to_thread.run_sync(answered.wait)
    assert calls == [(1, name), (2, name)]


def test_a_console_that_is_closed_is_reported_and_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_window, "ANSWER_LIMIT", 0.1)
    reported: list[str] = []
    window = session_window.SessionWindow(reported.append)
    # CTRL_C and CTRL_BREAK are Python's.
    assert [window._handle_console(event) for event in (0, 1, 2)] == [False, False, True]
    assert reported == ["the console was closed"]


@pytest.mark.parametrize(
    ("signal_name", "name"), [("SIGINT", "Ctrl-C"), ("SIGBREAK", "Ctrl-Break")]
)
async def test_keys_of_the_console_are_counted(signal_name: str, name: str) -> None:
    calls: list[tuple[int, str]] = []
    called = trio.Event()

    def act(count: int, what: str) -> None:
        calls.append((count, what))
        if count == 2:
            called.set()

    with trio.fail_after(20):
        async with open_signals(act):
            for _ in range(2):
                signal.raise_signal(getattr(signal, signal_name))
                await trio.sleep(0.1)
            await called.wait()
    assert calls == [(1, name), (2, name)]

"""A hidden window by which Windows tells a program that the user logs off or the host shuts down.

Handlers of the console get CTRL_CLOSE only: to a program that uses windows, Windows sends no CTRL_LOGOFF and
CTRL_SHUTDOWN, but WM_ENDSESSION. It ends the program when that message has been answered, so the answer
waits for the end of the agent, up to a limit.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import wintypes
from typing import Any

__all__ = ("CLASS_NAME", "SessionWindow")

CLASS_NAME = "trio_afrender session"
ANSWER_LIMIT = 18.0
"""Seconds that an answer may take. Windows offers to end programs that take 5, services have 20."""
CTRL_CLOSE = 2
_CLOSE, _DESTROY, _QUERY_END, _END = 0x10, 0x2, 0x11, 0x16
_LOGOFF = 0x80000000


class SessionWindow:
    """Calls `report` with "logoff", "shutdown" or "the console was closed", in a thread of its own."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._over = threading.Event()
        self._ready = threading.Event()
        load: Callable[[str], Any] = vars(ctypes)["WinDLL"]
        self._user, self._kernel = load("user32"), load("kernel32")
        make = vars(ctypes)["WINFUNCTYPE"]
        parameters = (wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM)
        self._procedure = make(ctypes.c_ssize_t, *parameters)(self._handle)
        self._console = make(wintypes.BOOL, wintypes.DWORD)(self._handle_console)
        self._user.DefWindowProcW.argtypes = parameters
        self._user.DefWindowProcW.restype = ctypes.c_ssize_t
        self._user.CreateWindowExW.restype = wintypes.HWND
        self._user.PostMessageW.argtypes = parameters
        self._window: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def open(self) -> None:
        """Make the window; return when it can receive messages."""
        self._kernel.SetConsoleCtrlHandler(self._console, 1)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Let answers that wait go, and remove the window."""
        self._over.set()
        self._kernel.SetConsoleCtrlHandler(self._console, 0)
        if self._window:
            self._user.PostMessageW(self._window, _CLOSE, 0, 0)
        self._thread.join()

    def _run(self) -> None:
        class Class(ctypes.Structure):
            _fields_ = (
                ("style", wintypes.UINT),
                ("procedure", ctypes.c_void_p),
                ("class_extra", ctypes.c_int),
                ("window_extra", ctypes.c_int),
                ("instance", wintypes.HINSTANCE),
                ("icon", wintypes.HANDLE),
                ("cursor", wintypes.HANDLE),
                ("background", wintypes.HANDLE),
                ("menu", wintypes.LPCWSTR),
                ("name", wintypes.LPCWSTR),
            )

        made = Class(procedure=ctypes.cast(self._procedure, ctypes.c_void_p).value, name=CLASS_NAME)
        self._user.RegisterClassW(ctypes.byref(made))
        # A top-level window, because message-only ones get no message about the end of a session.
        size = (0, 0, 0, 0)
        self._window = self._user.CreateWindowExW(
            0, CLASS_NAME, CLASS_NAME, 0, *size, None, None, None, None
        )
        self._ready.set()
        message = wintypes.MSG()
        while self._window and self._user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
            self._user.DispatchMessageW(ctypes.byref(message))
        self._user.UnregisterClassW(CLASS_NAME, None)

    def _handle(self, window: int, message: int, first: int, second: int) -> int:
        if message == _QUERY_END:
            return 1
        if message == _END and first:
            self._report("logoff" if second & _LOGOFF else "shutdown")
            self._over.wait(ANSWER_LIMIT)
            return 0
        if message == _DESTROY:
            self._user.PostQuitMessage(0)
            return 0
        answer: int = self._user.DefWindowProcW(window, message, first, second)
        return answer

    def _handle_console(self, event: int) -> bool:
        """Handle CTRL_CLOSE; CTRL_C and CTRL_BREAK are signals of Python."""
        if event != CTRL_CLOSE:
            return False
        self._report("the console was closed")
        self._over.wait(ANSWER_LIMIT)
        return True

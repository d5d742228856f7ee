"""Closes windows that keep a crashed program from ending ("Windows Must Die").

Two kinds: windows with a title that the setting ``af_render_windowsmustdie`` lists, of any program, as with
Afanasy; and the dialogs of WerFault, the crash report of Windows, about a member of a task's own tree.
Titles are compared exactly. A window gets WM_CLOSE and some time to answer; one that does not answer is
passed over and asked again in the next round.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, final

import psutil
import trio

from trio_afrender.process.interfaces import ClosedWindow
from trio_afrender.process.windows.win32 import TopWindow
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("WindowCloser", "read_crash_report")

logger: logging.Logger = logging.getLogger(__name__)

INTERVAL = 3.0
"""Seconds between two rounds; Afanasy's render has one in each of its cycles, of 4 seconds."""
ANSWER_TIMEOUT = 0.5
"""Seconds for a window to answer."""
ROUND_LIMIT = 100
"""Windows that are asked in one round."""
MAX_SILENT = 6
"""Windows of one round that may fail to answer: what comes after them is not waited for."""
CRASH_REPORTER = "werfault.exe"


class WindowCalls(Protocol):
    """What this needs of `win32.Win32`."""

    def list_windows(self) -> list[TopWindow]: ...

    def image_name(self, pid: int) -> str: ...

    def send_close(self, window: int, seconds: float) -> bool: ...

    def post_close(self, window: int) -> None: ...


class WindowOwner(Protocol):
    """A tree, as far as this is concerned."""

    def living(self) -> tuple[int, ...]: ...

    def note_window(self, window: ClosedWindow) -> None: ...


def read_crash_report(pid: int) -> int:
    """Return the pid of the process that a WerFault process reports about; 0 if it is not known."""
    with suppress(psutil.Error, OSError):
        found = re.search(r"(?:^|\s)-p\s+(\d+)", " ".join(psutil.Process(pid).cmdline()))
        return int(found[1]) if found else 0
    return 0


@final
class WindowCloser:
    """Looks for such windows every few seconds while `run` runs."""

    def __init__(
        self,
        titles: Iterable[str],
        owners: Callable[[], Sequence[WindowOwner]],
        win32: WindowCalls,
        crashed: Callable[[int], int] = read_crash_report,
    ) -> None:
        self._titles = frozenset(titles)
        self._owners = owners
        self._win32 = win32
        self._crashed = crashed
        self._seen: dict[tuple[int, str], bool] = {}
        """Windows that were asked and still exist, and whether each has answered."""

    async def run(self) -> None:
        """Close windows until cancelled."""
        while True:
            await trio.sleep(INTERVAL)
            owners = self._owners()
            # Without titles only members of trees can have a window that is closed.
            if not self._titles and not owners:
                continue
            try:
                members = {pid: owner for owner in owners for pid in owner.living()}
                found = await call_in_thread(partial(self.close_round, members), abandon=True)
            except OSError as error:
                logger.warning("cannot look for windows to close: %s", error)
                continue
            for owner, window in found:
                if owner is not None:
                    owner.note_window(window)
                what = "closed" if window.answered else "cannot close, because it does not answer,"
                logger.info("%s the window %r of pid %s", what, window.title, window.pid)

    def close_round(
        self, members: Mapping[int, WindowOwner]
    ) -> list[tuple[WindowOwner | None, ClosedWindow]]:
        """Ask all such windows to close; return those that were asked for the first time.

        Each comes with the tree that it belongs to, None for another program's. Blocks, for some seconds
        at most.
        """
        found: list[tuple[WindowOwner | None, ClosedWindow]] = []
        there: dict[tuple[int, str], bool] = {}
        silent = asked = 0
        for window in self._win32.list_windows():
            wanted, owner = self._judge(window, members)
            if not wanted:
                continue
            key = (window.handle, window.title)
            before = self._seen.get(key)
            if asked >= ROUND_LIMIT or silent >= MAX_SILENT:
                # Asked without waiting: it counts as new in the next round.
                self._win32.post_close(window.handle)
                continue
            asked += 1
            answered = self._win32.send_close(window.handle, ANSWER_TIMEOUT)
            silent += not answered
            there[key] = answered
            if before is None or before != answered:
                facts = ClosedWindow(title=window.title, pid=window.pid, answered=answered)
                found.append((owner, facts))
        self._seen = there
        return found

    def _judge(
        self, window: TopWindow, members: Mapping[int, WindowOwner]
    ) -> tuple[bool, WindowOwner | None]:
        """Return whether a window must be closed, and the tree that it belongs to."""
        if not window.visible:
            return False, None
        if window.title and window.title in self._titles:
            return True, members.get(window.pid)
        image = self._win32.image_name(window.pid) if members else ""
        if not image.lower().endswith(f"\\{CRASH_REPORTER}"):
            return False, None
        owner = members.get(window.pid) or members.get(self._crashed(window.pid))
        return owner is not None, owner

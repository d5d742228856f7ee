"""A tree of an awkward shape on Windows: ``windows_shape.py obeys|ignores|leaves|forks|...``.

A member that obeys has a window, and ends when it is closed as a program without a handler for CTRL_BREAK
does. It prints "up" once its window is there, so that no request is lost.
"""

# ruff: noqa: T201 - tests read what it prints

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from typing import Any

LIFE = 120
"""Seconds after which a process that was not killed ends."""
BREAK_ENDED = 0xC000013A
USER: Any = vars(ctypes)["WinDLL"]("user32")
KERNEL: Any = vars(ctypes)["WinDLL"]("kernel32")


def start(*words: str, flags: int = 0) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", __file__, *words], creationflags=flags)


def show(title: str, text: str) -> None:
    """Show a message box; return when it is closed."""

    def announce() -> None:
        while not USER.FindWindowW(None, title):
            time.sleep(0.01)
        print(text, flush=True)

    threading.Thread(target=announce, daemon=True).start()
    USER.MessageBoxW(None, "a window of a test", title, 0)


def obey(text: str = "up") -> None:
    threading.Timer(LIFE, os._exit, (1,)).start()
    show(f"obeys {os.getpid()}", text)
    KERNEL.ExitProcess(BREAK_ENDED)


def linger() -> None:
    time.sleep(LIFE)


def leave(*, escape: bool = False) -> None:
    """End, and leave a member that holds the output; with `escape` one that tries to leave the job."""
    breakaway = 0x01000000
    try:
        member = start("ignores", "", flags=breakaway if escape else 0)
    except OSError as error:
        print(f"refused {error.winerror}", flush=True)  # type: ignore[attr-defined]  # Windows' own
        member = start("ignores", "")
    print(f"member {member.pid}\nup", flush=True)
    os._exit(3)


def fork() -> None:
    """Run with a member, and obey both."""
    member = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, "obeys"], stdout=subprocess.PIPE
    )
    assert member.stdout is not None
    member.stdout.readline()
    print(f"member {member.pid}", flush=True)
    obey()


def crowd(count: int) -> None:
    for _ in range(count):
        print(f"member {start('ignores', '').pid}", flush=True)
    print("up", flush=True)
    linger()


def chain(left: int) -> None:
    """Each process starts the next one and ends; the last one stays."""
    if left:
        start("chain", str(left - 1))
        return
    print("up", flush=True)
    linger()


def flood() -> None:
    line = b"a line of output that nobody needs\n" * 1000
    while True:
        os.write(1, line)


def hang(title: str) -> None:
    """Show a window whose thread takes no messages."""
    visible, size = 0x10CF0000, (10, 10, 200, 100)
    USER.CreateWindowExW(0, "STATIC", title, visible, *size, None, None, None, None)
    print(f"shown {title}", flush=True)
    time.sleep(LIFE)


def show_many(count: int, title: str) -> None:
    """Show message boxes with the same title, each of a thread of its own; end when all are closed.

    They begin one after another: a hundred threads that open windows at once destroy Wine's memory.
    """
    closed = threading.Semaphore(0)

    def show_one() -> None:
        USER.MessageBoxW(None, "a window of a test", title, 0)
        closed.release()

    for _ in range(count):
        threading.Thread(target=show_one, daemon=True).start()
        time.sleep(0.02)
    for _ in range(count):
        closed.acquire()
    print(f"closed {count}", flush=True)


def show_for(seconds: float, title: str) -> None:
    """Show a message box; end when it is closed, or after some seconds."""

    def keep() -> None:
        print(f"kept {title}", flush=True)
        os._exit(0)

    threading.Timer(seconds, keep).start()
    show(title, f"shown {title}")
    print(f"closed {title}", flush=True)
    os._exit(0)


def main() -> None:
    shape, *words = sys.argv[1:]
    if shape == "obeys":
        obey()
    elif shape == "ignores":
        print(*(words or ["up"]), flush=True, end="" if words else "\n")
        linger()
    elif shape in ("leaves", "escapes"):
        leave(escape=shape == "escapes")
    elif shape == "forks":
        fork()
    elif shape == "crowd":
        crowd(int(words[0]))
    elif shape == "chain":
        chain(int(words[0]))
    elif shape == "flood":
        flood()
    elif shape == "box":
        show(words[0], f"shown {words[0]}")
        print(f"closed {words[0]}", flush=True)
    elif shape == "box-for":
        show_for(float(words[0]), words[1])
    elif shape == "hung":
        hang(words[0])
    elif shape == "boxes":
        show_many(int(words[0]), words[1])


if __name__ == "__main__":
    main()

"""A task of an awkward shape: ``shape.py SHAPE LINES``. Prints numbered lines, then does its worst.

Every process of it has the mark of its round in argv, also those that drop their environment.
"""

# ruff: noqa: T201 - what it prints is what is counted

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

LIFE = 120
"""Seconds after which a process that nobody ended gives up: a broken suite must not fill the host."""


def linger() -> NoReturn:
    signal.alarm(LIFE)
    while True:
        signal.pause()


def fork_off(act: Callable[[], object]) -> None:
    if os.fork() == 0:
        act()
        os._exit(0)


def say(lines: int) -> None:
    for number in range(1, lines + 1):
        print(f"L {number}")
    sys.stdout.flush()


def flood() -> None:
    signal.alarm(LIFE)
    number = 0
    while True:
        text = "".join(f"F {number + i}\n" for i in range(1000))
        os.write(1, text.encode())
        number += 1000


def escape() -> None:
    """As a daemon does: a new session, another parent, and nothing of ours in the environment."""
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execve(sys.executable, [sys.executable, __file__, "linger", "0", *sys.argv[3:]], {})  # noqa: S606
    os._exit(0)


def session() -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linger()


def chain(left: int = 30) -> None:
    """Each forks the next and ends."""
    if left and os.fork() == 0:
        chain(left - 1)
    if not left:
        linger()
    os._exit(0)


def crowd(count: int) -> None:
    for _ in range(count):
        fork_off(linger)


def ignore_term() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linger()


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    linger()


def main() -> None:
    shape, lines = sys.argv[1], int(sys.argv[2])
    say(lines)
    match shape:
        case "linger":
            linger()
        case "ignore_term":
            ignore_term()
        case "freeze":
            freeze()
        case "flood":
            flood()
        case "crowd":
            crowd(100)
            linger()
        case "thousand":
            crowd(1000)
        case "leader_first":
            fork_off(linger)
        case "session":
            fork_off(session)
        case "daemon":
            fork_off(escape)
            os.wait()
        case "chain":
            fork_off(chain)
        case "zombies":
            for _ in range(20):
                fork_off(int)
        case "fail":
            sys.exit(3)
        case "plain":
            pass
        case _:
            sys.exit(f"no such shape: {shape}")


if __name__ == "__main__":
    main()

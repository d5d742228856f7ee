"""A task of an awkward shape: ``shape.py SHAPE LINES MARK``. Prints numbered lines, then does its worst.

Every process of it has the mark of its round in argv, also those that drop their environment.
"""

# ruff: noqa: T201 - what it prints is what is counted
# Started some ten thousand times: it imports no more than it needs.

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
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


def flood() -> NoReturn:
    signal.alarm(LIFE)
    number = 0
    while True:
        text = "".join(f"F {number + i}\n" for i in range(1, 1001)).encode()
        while text:
            text = text[os.write(1, text) :]
        number += 1000


def flood_on() -> NoReturn:
    """It goes on printing while it is being stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    flood()


def escape() -> None:
    """As a daemon does: a new session, another parent, and nothing of ours in the environment."""
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        words = [*sys.orig_argv[: sys.orig_argv.index(__file__) + 1], "linger", "0", *sys.argv[3:]]
        os.execve(sys.executable, words, {})  # noqa: S606
    os._exit(0)


def session() -> NoReturn:
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


def runaway() -> NoReturn:
    """Each forks the next and ends, for as long as it is let: nobody can point at it for long."""
    until = time.monotonic() + LIFE
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)
    os._exit(0)


def storm() -> NoReturn:
    """Forks and reaps in a loop: there is always one more that nobody has seen yet."""
    signal.alarm(LIFE)
    while True:
        fork_off(int)
        os.wait()


def undead() -> NoReturn:
    """Forks in a loop and reaps none, up to a hundred."""
    for _ in range(100):
        fork_off(int)
    linger()


def crowd(count: int) -> None:
    for _ in range(count):
        fork_off(linger)


def ignore_term() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linger()


def freeze() -> NoReturn:
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
        case "flood_on":
            flood_on()
        case "crowd":
            crowd(20)
            linger()
        case "thousand":
            crowd(1000)
            linger()
        case "storm":
            storm()
        case "runaway":
            fork_off(runaway)
            linger()
        case "undead":
            undead()
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

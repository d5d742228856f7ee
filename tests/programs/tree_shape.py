"""A task of an awkward shape: ``tree_shape.py SHAPE LINES MARK``.

Prints LINES numbered lines, then does what SHAPE names, see `SHAPES`. Every process of it has MARK,
the mark of its chaos round, in argv, also the processes that clear their environment.
"""

# ruff: noqa: T201 - tests count what it prints
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
"""Seconds after which a process that was not killed ends: a broken suite must not fill the host."""


def linger() -> NoReturn:
    signal.alarm(LIFE)
    while True:
        signal.pause()


def fork_off(act: Callable[[], object]) -> None:
    if os.fork() == 0:
        act()
        os._exit(0)


def print_lines(lines: int) -> None:
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
    """Continue to print during a stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    flood()


def daemon() -> None:
    """Leave a daemon behind: in a new session, with another parent, with an empty environment."""

    def escape() -> None:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            program = sys.orig_argv[: sys.orig_argv.index(__file__) + 1]
            os.execve(sys.executable, [*program, "linger", "0", *sys.argv[3:]], {})  # noqa: S606
        os._exit(0)

    fork_off(escape)
    os.wait()


def session() -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linger()


def chain(left: int = 30) -> None:
    """Each process forks the next one and ends; the last one stays."""
    if left and os.fork() == 0:
        chain(left - 1)
    if not left:
        linger()
    os._exit(0)


def runaway() -> NoReturn:
    """Each process forks the next one and ends, without an end: no pid stays valid for long."""
    until = time.monotonic() + LIFE
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)
    os._exit(0)


def storm() -> NoReturn:
    """Fork and reap in a loop: each list of processes lacks the newest one."""
    signal.alarm(LIFE)
    while True:
        fork_off(int)
        os.wait()


def undead() -> NoReturn:
    """Fork a hundred children that end, and reap none."""
    for _ in range(100):
        fork_off(int)
    linger()


def zombies() -> None:
    """Fork 20 children that end, reap none, and end."""
    for _ in range(20):
        fork_off(int)


def crowd(count: int) -> NoReturn:
    for _ in range(count):
        fork_off(linger)
    linger()


def linger_beside(act: Callable[[], object]) -> NoReturn:
    fork_off(act)
    linger()


def ignore_term() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linger()


def freeze() -> NoReturn:
    os.kill(os.getpid(), signal.SIGSTOP)
    linger()


SHAPES: dict[str, Callable[[], object]] = {
    "plain": lambda: None,
    "fail": lambda: sys.exit(3),
    "linger": linger,
    "ignore_term": ignore_term,
    "freeze": freeze,
    "flood": flood,
    "flood_on": flood_on,
    "crowd": lambda: crowd(20),
    "thousand": lambda: crowd(1000),
    "storm": storm,
    "runaway": lambda: linger_beside(runaway),
    "undead": undead,
    "leader_first": lambda: fork_off(linger),
    "session": lambda: fork_off(session),
    "daemon": daemon,
    "chain": lambda: fork_off(chain),
    "zombies": zombies,
}


def main() -> None:
    shape, lines = sys.argv[1], int(sys.argv[2])
    print_lines(lines)
    if shape not in SHAPES:
        sys.exit(f"no such shape: {shape}")
    SHAPES[shape]()


if __name__ == "__main__":
    main()

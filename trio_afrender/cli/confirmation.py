"""Asks before something is done that cannot be undone: on a terminal, else ``--yes`` is needed."""

from __future__ import annotations

import sys

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError

__all__ = ("Declined", "confirm")


class Declined(Exception):
    """The answer was no."""


def confirm(question: str, *, yes: bool) -> None:
    """Say what will be done, and ask unless `yes`. Raises `Declined`.

    Raises `ConfigError` without a terminal: a script says ``--yes``.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"{question}: give --yes to do it")
    sys.stderr.write(f"{clean(question)}? [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except UnicodeDecodeError:  # bytes that are no text are no yes
        answer = ""
    except KeyboardInterrupt:
        print_line("")
        raise Declined from None
    if answer.strip().lower() not in ("y", "yes"):
        raise Declined

"""Colours for the output of commands, on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import attrs

__all__ = ("Paint", "writer")


@attrs.frozen(slots=True)
class Paint:
    """Wraps cleaned text in colours; returns it unchanged if `on` is false."""

    on: bool

    def good(self, text: str) -> str:
        return self._wrap("32", text)

    def bad(self, text: str) -> str:
        return self._wrap("1;31", text)

    def warning(self, text: str) -> str:
        return self._wrap("33", text)

    def number(self, text: str) -> str:
        return self._wrap("36", text)

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def writer() -> tuple[Callable[..., None], Paint]:
    """Return a function that writes lines to stdout, and the colours for it."""

    def write(*lines: str) -> None:
        # A character that the terminal's encoding does not have must not raise.
        encoding = sys.stdout.encoding or "utf-8"
        text = "".join(f"{line}\n" for line in lines)
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))

    return write, Paint(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

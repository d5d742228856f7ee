"""Text for a terminal: control characters are made visible, long lines shortened; lines of output.

rich colours lines and cuts them to the width of the terminal. It is an extra and takes long to import,
so it is imported for output to a terminal alone; without it lines are plain.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

from trio_afrender.cli.standard_streams import discard_output
from trio_afrender.text import last_state

__all__ = (
    "Part",
    "clean",
    "has_rich",
    "print_line",
    "print_lines",
    "send_lines_to",
    "shorten_line",
    "tail",
    "write_line",
    "write_lines",
    "write_stderr",
)

Part: TypeAlias = str | tuple[str, str]
"""A part of a line: cleaned text, or cleaned text and the name of one of rich's styles."""
PIPE_WIDTH = 200
"""Characters to which a line is cut if it is not written to a terminal."""
_TAIL_WIDTH = 200
"""Characters to which a line of a task's output is cut."""

# Control characters, line ends of all kinds, marks that change the direction of text, surrogates.
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "    "}

_receivers: list[Callable[[str], None]] = []
"""What `print_line` passes its lines to; empty: they are written to stderr."""


def clean(text: str) -> str:
    """Return `text` as one line in which control characters are shown as ``\\x1b`` and the like."""
    if text.isascii() and text.isprintable():  # most texts of large tables
        return text
    return _CONTROLS.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character in _NAMES:
        return _NAMES[character]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as in names of files
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten_line(text: str, width: int) -> str:
    """Return cleaned text of at most `width` characters, with an ellipsis if it was longer."""
    text = clean(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def tail(text: str, lines: int) -> list[str]:
    """Return the last lines that are not empty; of a line overwritten with ``\\r`` the last state."""
    found: list[str] = []
    # Only the end is split: an output can have megabytes.
    for line in reversed(text[-64 * 1024 :].split("\n")):
        if last := last_state(line):
            found.append(shorten_line(last.rstrip(), _TAIL_WIDTH))
        if len(found) == lines:
            break
    return found[::-1]


def print_line(*lines: str) -> None:
    """Write lines to stderr, or to where `send_lines_to` sends them."""
    if _receivers:
        for line in lines:
            _receivers[-1](line)
    else:
        write_stderr("".join(f"{line}\n" for line in lines))


def send_lines_to(receive: Callable[[str], None] | None) -> None:
    """Have `print_line` pass each line to `receive` until another call; None: write it to stderr."""
    _receivers[:] = [] if receive is None else [receive]


def write_stderr(text: str) -> None:
    """Write to stderr. That it is closed or its disk full is no error of the command."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except UnicodeEncodeError:
        pass
    except BrokenPipeError:
        discard_output(sys.stderr)
    except OSError:
        pass  # a full disk: the next lines may find room again


def print_lines(lines: Iterable[Sequence[Part]]) -> None:
    """Write lines to stderr, coloured on a terminal if rich is installed."""
    if _receivers or not (sys.stderr.isatty() and has_rich()):
        print_line(*("".join(map(_text_of, parts)) for parts in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        for parts in lines:
            console.print(Text.assemble(*parts), soft_wrap=True)
    write_stderr(captured.get())


def _text_of(part: Part) -> str:
    return part if isinstance(part, str) else part[0]


def has_rich() -> bool:
    """Whether rich is installed, without importing it."""
    return importlib.util.find_spec("rich") is not None


def write_line(*parts: Part, cut: bool = False) -> None:
    """Write a line to stdout; with `cut`, at most as much of it as the terminal is wide."""
    write_lines([parts], cut=cut)


def write_lines(lines: Iterable[Sequence[Part]], *, cut: bool = False) -> None:
    """Write lines to stdout, as `write_line` does."""
    if sys.stdout.isatty() and has_rich():
        from rich.console import Console
        from rich.text import Text

        overflow: Literal["ellipsis", "ignore"] = "ellipsis" if cut else "ignore"
        console = Console()
        for parts in lines:
            text = Text.assemble(*parts)
            console.print(text, soft_wrap=not cut, no_wrap=True, overflow=overflow)
        return
    for parts in lines:
        line = "".join(map(_text_of, parts))
        sys.stdout.write(f"{shorten_line(line, PIPE_WIDTH) if cut else line}\n")

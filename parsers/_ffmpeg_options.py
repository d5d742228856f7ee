r"""How much of its input a command line of ffmpeg encodes: ``-ss``, ``-t``, ``-to``, ``-frames:v``.

ffmpeg prints the duration of each input as a whole, and the time of the output from 0 on. An option
before ``-i`` is of that input, one behind it of the output.
"""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

import attrs

__all__ = ("Span", "read_span", "seconds_of")

_CLOCK = re.compile(r"(-?)(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)(s|ms|us)?$")
_UNITS = {None: 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_MAX_COMMAND = 64 * 1024


@attrs.frozen(kw_only=True)
class Span:
    """The part of the input that is encoded."""

    start: float = 0.0
    """Seconds of the input that are left out at its begin; negative: counted from its end."""
    length: float | None = None
    """Seconds of the output, if an option limits them."""
    frames: int = 0
    """Frames of the output, if an option limits them; else 0."""

    def seconds(self, duration: float) -> float:
        """Return the seconds of the output of an input of that duration; 0 if unknown."""
        left = min(-self.start, duration) if self.start < 0 else max(duration - self.start, 0.0)
        if duration <= 0:
            return self.length or 0.0
        return left if self.length is None else min(self.length, left)


def seconds_of(text: str) -> float | None:
    """Convert a time as ffmpeg takes it, ``01:02:03.5``, ``90`` or ``200ms``; None for another text."""
    found = _CLOCK.match(text)
    if found is None:
        return None
    sign, hours, minutes, seconds, unit = found.groups()
    total = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds) * _UNITS[unit]
    return -total if sign else total


def read_span(command: str) -> Span | None:
    """Read the options of the first ffmpeg in a command; None if there is none with an input."""
    words = _split(command[:_MAX_COMMAND])
    first = next((at for at, word in enumerate(words) if _is_ffmpeg(word)), None)
    if first is None or "-i" not in words[first:]:
        return None
    words = words[first + 1 :]
    end = next((at for at, word in enumerate(words) if word in ("&&", "||", ";", "|")), len(words))
    return _read(words[:end])


def _read(words: list[str]) -> Span:
    inputs: list[dict[str, float]] = []
    options: dict[str, float] = {}
    frames = 0
    for name, value in pairwise(words):
        if name == "-i":
            inputs.append(options)
            options = {}
        elif name in ("-ss", "-t", "-to", "-sseof") and (time := seconds_of(value)) is not None:
            options[name] = time
        elif name in ("-frames:v", "-vframes", "-frames") and value.isdigit():
            frames = int(value)
    return _combine(inputs[0] if inputs else {}, options, frames)


def _combine(source: dict[str, float], output: dict[str, float], frames: int) -> Span:
    skipped = source.get("-ss", 0.0)
    lengths = [
        source.get("-t"),
        source["-to"] - skipped if "-to" in source else None,
        output.get("-t"),
        output["-to"] - output.get("-ss", 0.0) if "-to" in output else None,
    ]
    known = [length for length in lengths if length is not None]
    start = source["-sseof"] if "-sseof" in source else skipped + output.get("-ss", 0.0)
    return Span(start=start, length=max(min(known), 0.0) if known else None, frames=frames)


def _is_ffmpeg(word: str) -> bool:
    return re.search(r"(?:^|[\\/])ffmpeg[\w.-]*$", word) is not None


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command, posix="\\" not in command)
    except ValueError:  # an open quote
        words = command.split()
    return [word.strip("\"'") for word in words]

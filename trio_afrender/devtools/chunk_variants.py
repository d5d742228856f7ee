"""Ways to cut a recorded log into the chunks that a parser could have got while it was written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, repeat

from trio_afrender.errors import ConfigError

__all__ = ("Chunk", "cut_log", "spell_chunk")

Chunk = str | int
"""``line``, ``whole``, ``random``, ``random:SEED``, ``speed:LINES_PER_SECOND`` or a number of bytes."""

_WORDS = ("line", "whole", "random")
_CALL_INTERVAL = 0.1
"""Seconds between two calls of a parser during output, as in the agent."""
_TICK_INTERVAL = 1.0
"""Seconds without output after which the agent calls a parser with ``ticks``."""
_MIN_SPEED, _MAX_SPEED = 0.001, 1e9
"""Lines per second."""
_MAX_DIGITS = 18
_MAX_RANDOM = 400
"""Bytes of a random chunk."""
_PAUSE_SHARE = 0.2
"""Share of random chunks that are followed by a pause, at which the agent makes a tick."""


def spell_chunk(chunk: Chunk) -> str:
    """Return `chunk` in a form that always cuts in the same way: ``random`` gets a seed.

    Raises `ConfigError` for any other text.
    """
    text = str(chunk)
    if text.startswith("speed:"):
        given = text.removeprefix("speed:")
        try:
            speed = float(given)
        except ValueError:
            speed = 0.0
        if not _MIN_SPEED <= speed <= _MAX_SPEED:
            raise ConfigError(f'speed "{given}": expected lines per second, {_MIN_SPEED:g} or more')
        return f"speed:{speed:g}"
    word, colon, seed = text.partition(":")
    if word == "random" and (seed or not colon):
        return f"random:{seed or random.randrange(1_000_000)}"  # noqa: S311 - nothing secret
    # Python makes no number of more than 4300 digits.
    digits = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    if text in _WORDS or (digits and int(text) > 0):
        return text
    raise ConfigError(f'chunk "{text}": expected a number of bytes, line, whole or random[:SEED]')


def cut_log(data: bytes, chunk: str) -> Iterator[int]:
    """Yield the offsets at which the chunks end. `chunk` is a result of `spell_chunk`.

    A repeated offset means a call without new output, a tick. No list: a slow program makes a thousand
    ticks for each line.
    """
    word, _, value = chunk.partition(":")
    if chunk == "whole":
        yield from [len(data)] if data else []
    elif chunk == "line":
        # A line that ends with \r is complete only with the next byte, which may be its \n.
        for end in _find_ends(data):
            yield min(len(data), end + data.endswith(b"\r", 0, end))
    elif word == "speed":
        # The chunks that the agent makes of a program that prints this number of lines per second.
        speed, number, now, last = float(value), 0, 0.0, 0
        lines = list(_find_ends(data))
        while number < len(lines):
            printed = number / speed
            yield from repeat(last, int((printed - now) / _TICK_INTERVAL))
            now = max(now, printed)
            number = min(len(lines), max(number, int(now * speed)) + 1)
            last = lines[number - 1]
            yield last
            now += _CALL_INTERVAL
    elif word == "random":
        rng = random.Random(value)  # noqa: S311 - nothing secret
        pauses = random.Random(f"pauses {value}")  # noqa: S311 - apart, so that the cuts stay the same
        end = 0
        while end < len(data):
            # A limit drawn first makes short chunks as frequent as long ones.
            end = min(len(data), end + rng.randint(1, rng.choice((2, 20, _MAX_RANDOM))))
            yield end
            if pauses.random() < _PAUSE_SHARE:
                yield end
    else:
        yield from range(int(chunk), len(data), int(chunk))
        yield from [len(data)] if data else []


def _find_ends(data: bytes) -> Iterator[int]:
    return accumulate(map(len, data.splitlines(keepends=True)))

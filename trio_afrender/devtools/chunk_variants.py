"""How a recorded log is cut before a parser gets it, as a pipe might have cut it."""

from __future__ import annotations

import random
from collections.abc import Iterator

from trio_afrender.errors import ConfigError

__all__ = ("Chunk", "cut_log", "spell_chunk")

Chunk = str | int
"""``line``, ``whole``, ``random``, ``random:SEED``, ``speed:LINES`` (a second) or a number of bytes."""

_WORDS = ("line", "whole", "random")
_PACE = 0.1
"""Seconds between two calls of a parser while output keeps coming."""
_TICK = 1.0
"""Seconds without output after which one is called that wants to be."""
_SLOWEST, _FASTEST = 0.001, 1e9
_RANDOM_MOST = 400
"""Bytes of a random piece at most; short ones are as frequent as long ones."""


def spell_chunk(chunk: Chunk) -> str:
    """Return `chunk` so that it gives the same cuts again: ``random`` gets a seed.

    Raises `ConfigError` for what is no way to cut.
    """
    text = str(chunk)
    if text.startswith("speed:"):
        return f"speed:{_lines_a_second(text.partition(':')[2]):g}"
    word, colon, seed = text.partition(":")
    if word == "random" and (seed or not colon):
        return f"random:{seed or random.randrange(1_000_000)}"  # noqa: S311 - nothing secret
    if text in _WORDS or (text.isascii() and text.isdigit() and int(text) > 0):
        return text
    raise ConfigError(f'chunk "{text}": expected a number of bytes, line, whole or random[:SEED]')


def cut_log(data: bytes, chunk: str) -> list[int]:
    """Return the offsets at which the pieces end; `chunk` as `spell_chunk` returns it.

    An offset that comes again is a call without new output.
    """
    if chunk == "whole":
        return [len(data)] if data else []
    if chunk == "line":
        return _cut_lines(data)
    if chunk.startswith("speed:"):
        return list(_cut_by_time(_cut_lines(data), float(chunk.partition(":")[2])))
    if chunk.startswith("random:"):
        return _cut_randomly(len(data), chunk.partition(":")[2])
    size = int(chunk)
    return [*range(size, len(data), size), *([len(data)] if data else [])]


def _cut_lines(data: bytes) -> list[int]:
    ends, end = [], 0
    for line in data.splitlines(keepends=True):
        end += len(line)
        # A \r waits for what follows it: with that the line is given.
        ends.append(min(len(data), end + line.endswith(b"\r")))
    return ends


def _cut_by_time(lines: list[int], speed: float) -> Iterator[int]:
    """As the agent calls a parser of a program that prints so many lines a second."""
    number, now, last = 0, 0.0, 0
    while number < len(lines):
        printed = number / speed
        for _ in range(int((printed - now) / _TICK)):
            yield last
        now = max(now, printed)
        number = min(len(lines), max(number, int(now * speed)) + 1)
        last = lines[number - 1]
        yield last
        now += _PACE


def _lines_a_second(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not _SLOWEST <= speed <= _FASTEST:
        raise ConfigError(f'speed "{text}": expected lines a second, {_SLOWEST:g} or more')
    return speed


def _cut_randomly(size: int, seed: str) -> list[int]:
    dice = random.Random(seed)  # noqa: S311 - nothing secret
    ends, end = [], 0
    while end < size:
        end = min(size, end + dice.randint(1, dice.choice((2, 20, _RANDOM_MOST))))
        ends.append(end)
    return ends

"""How a recorded log is cut before a parser gets it, as a pipe might have cut it."""

from __future__ import annotations

import random

from trio_afrender.errors import ConfigError

__all__ = ("Chunk", "cut_log", "spell_chunk")

Chunk = str | int
"""``line``, ``whole``, ``random``, ``random:SEED`` or a number of bytes."""

_WORDS = ("line", "whole", "random")
_RANDOM_MOST = 400
"""Bytes of a random piece at most; short ones are as frequent as long ones."""


def spell_chunk(chunk: Chunk) -> str:
    """Return `chunk` so that it gives the same cuts again: ``random`` gets a seed.

    Raises `ConfigError` for what is no way to cut.
    """
    text = str(chunk)
    word, colon, seed = text.partition(":")
    if word == "random" and (seed or not colon):
        return f"random:{seed or random.randrange(1_000_000)}"  # noqa: S311 - nothing secret
    if text in _WORDS or (text.isascii() and text.isdigit() and int(text) > 0):
        return text
    raise ConfigError(f'chunk "{text}": expected a number of bytes, line, whole or random[:SEED]')


def cut_log(data: bytes, chunk: str) -> list[int]:
    """Return the offsets at which the pieces end; `chunk` as `spell_chunk` returns it."""
    if chunk == "whole":
        return [len(data)] if data else []
    if chunk == "line":
        return _cut_lines(data)
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


def _cut_randomly(size: int, seed: str) -> list[int]:
    dice = random.Random(seed)  # noqa: S311 - nothing secret
    ends, end = [], 0
    while end < size:
        end = min(size, end + dice.randint(1, dice.choice((2, 20, _RANDOM_MOST))))
        ends.append(end)
    return ends

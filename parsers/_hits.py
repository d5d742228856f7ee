"""Finds the lines of a text that hold one of several tokens."""

from __future__ import annotations

from itertools import accumulate

__all__ = ("DENSE", "find_dense", "find_sparse")

Hits = list[tuple[int, int, int]]
"""Where a line begins, which token it holds, where it ends."""

DENSE = 8
"""If more than one line in so many holds one, all lines are looked at."""


def find_sparse(tokens: list[tuple[int, str]], text: str, done: int, hits: Hits) -> None:
    """Add lines from `done` on that hold a token, each given with its number: from one to the next."""
    find, rfind = text.find, text.rfind
    for index, token in tokens:
        at = find(token, done)
        while at >= 0:
            end = find("\n", at) + 1 or len(text)
            hits.append((rfind("\n", 0, at) + 1, index, end))
            at = find(token, end)


def find_dense(tokens: list[tuple[int, str]], text: str, done: int, hits: Hits) -> None:
    """The same where many lines hold one: line by line."""
    lines = text[done:].split("\n")
    ends = list(accumulate((len(line) + 1 for line in lines), initial=done))
    ends[-1] = len(text)
    for index, token in tokens:
        hits += [
            (ends[number], index, ends[number + 1])
            for number, line in enumerate(lines)
            if token in line
        ]

"""Makes wrong inputs from valid ones: bytes flipped, cut, doubled, spliced; other JSON values."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

__all__ = ("Mutator",)

NUMBERS = (0, 1, 2, 3, 7, 8, 12, 16, 64, 100, 127, 128, 255, 256, 4096, 65535, 2**31 - 1, 2**31,
           2**32 - 1, 2**63, -1, -2, -(2**31))  # fmt: skip
ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, "",
    " ", "0", "1", "-1", "a", "\0", "\n", "\x1b[2J", "\udcff", "\ud800", "é", "\U0001f600", "..",
    "/", "../../x", "C:\\x", "@#@", "(", "[", "a" * 300, [], {}, [[]], [None], [0], [""], {"": 0},
    {"a": []}, "%s", "{}", "*", "\\", "^(a+)+$",
)  # fmt: skip
"""Values that decoders seldom expect."""
DIGITS = re.compile(rb"\d+")
ODD_DIGITS = (
    b"0",
    b"-1",
    b"9" * 5000,
    b"1e400",
    b"0x10",
    b"18446744073709551616",
    b"4294967295",
    b"007",
)
MAX_INPUT = 1 << 16
"""Bytes of an input; `MAX_TIME` of the runner is for this size."""


class Mutator:
    """Makes inputs from valid ones; a generator with the same seed gives the same inputs."""

    def __init__(self, corpus: Sequence[bytes], rng: random.Random) -> None:
        self._corpus = [*corpus] or [b""]
        self._rng = rng
        self._words = _collect_words(corpus)
        self._keys = sorted({key for each in corpus for key in _collect_keys(_parse(each))})
        self._changes: tuple[Callable[[bytearray], None], ...] = (
            self._flip, self._flip, self._set, self._insert, self._delete, self._repeat,
            self._splice, self._number, self._digits, self._word, self._word, self._truncate, self._swap,
        )  # fmt: skip

    def make(self) -> bytes:
        """Return the next input."""
        source = self._rng.choice(self._corpus)
        if self._rng.random() < 0.6 and (tree := _parse(source)) is not None:
            for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
                tree = self._change(tree)
            data = json.dumps(tree).encode("utf-8", "surrogatepass")
            if self._rng.random() < 0.8:
                return data[:MAX_INPUT]
            source = data
        work = bytearray(source)
        for _ in range(self._rng.choice((1, 1, 2, 3, 5, 8))):
            self._rng.choice(self._changes)(work)
        return bytes(work[:MAX_INPUT])

    # -- bytes ----------------------------------------------------------------------------------

    def _choose_position(self, work: bytearray) -> int:
        return self._rng.randrange(len(work) + 1)

    def _choose_span(self, work: bytearray) -> tuple[int, int]:
        start = self._choose_position(work)
        return start, min(len(work), start + self._rng.choice((1, 1, 2, 4, 8, 30, 200)))

    def _flip(self, work: bytearray) -> None:
        if work:
            work[self._rng.randrange(len(work))] ^= 1 << self._rng.randrange(8)

    def _set(self, work: bytearray) -> None:
        if work:
            work[self._rng.randrange(len(work))] = self._rng.choice((0, 10, 13, 27, 34, 92, 255))

    def _insert(self, work: bytearray) -> None:
        at = self._choose_position(work)
        work[at:at] = self._rng.randbytes(self._rng.choice((1, 1, 2, 8)))

    def _delete(self, work: bytearray) -> None:
        start, end = self._choose_span(work)
        del work[start:end]

    def _repeat(self, work: bytearray) -> None:
        start, end = self._choose_span(work)
        work[start:start] = work[start:end] * self._rng.choice((1, 1, 3, 100))

    def _splice(self, work: bytearray) -> None:
        other = self._rng.choice(self._corpus)
        start = self._rng.randrange(len(other) + 1)
        at = self._choose_position(work)
        work[at : at + self._rng.choice((0, 8))] = other[start : start + 64]

    def _number(self, work: bytearray) -> None:
        """Write a limit of some integer type at any position."""
        size = self._rng.choice((1, 2, 4, 4, 8))
        order = self._rng.choice(("big", "little"))
        value = self._rng.choice(NUMBERS) % (1 << 8 * size)
        at = self._choose_position(work)
        work[at : at + size] = value.to_bytes(size, order)  # type: ignore[arg-type]  # one of two

    def _digits(self, work: bytearray) -> None:
        """Replace a decimal number."""
        if found := list(DIGITS.finditer(work)):
            start, end = self._rng.choice(found).span()
            work[start:end] = self._rng.choice(ODD_DIGITS)

    def _word(self, work: bytearray) -> None:
        at = self._choose_position(work)
        work[at : at + self._rng.choice((0, 0, 1, 4))] = self._rng.choice(self._words)

    def _truncate(self, work: bytearray) -> None:
        del work[self._choose_position(work) :]

    def _swap(self, work: bytearray) -> None:
        start, end = self._choose_span(work)
        part = bytes(work[start:end])
        del work[start:end]
        at = self._choose_position(work)
        work[at:at] = part

    # -- JSON -----------------------------------------------------------------------------------

    def _change(self, value: object) -> object:
        """Return the tree with one change."""
        if isinstance(value, dict) and value and self._rng.random() < 0.9:
            return self._change_object(value)
        if isinstance(value, list) and value and self._rng.random() < 0.9:
            return self._change_list(value)
        return self._replace(value)

    def _change_object(self, value: dict[str, object]) -> dict[str, object]:
        made, key = dict(value), self._rng.choice(list(value))
        chance = self._rng.random()
        if chance < 0.08:
            del made[key]
        elif chance < 0.16:
            made[self._rng.choice(self._keys or [""])] = made[key]
        elif chance < 0.22:
            made[self._rng.choice((key.upper(), key + "_", key[:-1], ""))] = made.pop(key)
        else:
            made[key] = self._change(made[key])
        return made

    def _change_list(self, value: list[object]) -> list[object]:
        made, at = list(value), self._rng.randrange(len(value))
        chance = self._rng.random()
        if chance < 0.1:
            del made[at]
        elif chance < 0.2:
            made.insert(at, made[at])
        elif chance < 0.23:
            made *= 50
        else:
            made[at] = self._change(made[at])
        return made

    def _replace(self, value: object) -> object:
        chance = self._rng.random()
        if isinstance(value, str) and chance < 0.4:
            work = bytearray(value.encode("utf-8", "surrogatepass"))
            self._rng.choice(self._changes)(work)
            return work.decode("utf-8", "surrogateescape")
        if isinstance(value, int) and chance < 0.4:
            return self._rng.choice(NUMBERS) * self._rng.choice((1, 1, -1))
        if chance > 0.95:
            return _wrap(value, self._rng.choice((1, 1, 1, 10, 90, 300)), self._rng.choice((0, 1)))
        return self._rng.choice(ODD_VALUES)


def _parse(data: bytes) -> object:
    """Parse a JSON object or array; None for anything else."""
    if data[:1] not in (b"{", b"["):
        return None
    try:
        tree: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return tree


def _wrap(value: object, depth: int, kind: int) -> object:
    for _ in range(depth):
        value = [value] if kind else {"a": value}
    return value


def _collect_keys(tree: object) -> set[str]:
    if isinstance(tree, dict):
        return {*tree, *(key for each in tree.values() for key in _collect_keys(each))}
    if isinstance(tree, list):
        return {key for each in tree for key in _collect_keys(each)}
    return set()


def _collect_words(corpus: Sequence[bytes]) -> list[bytes]:
    """Words of the valid inputs, and some that are difficult for decoders."""
    words = {word for each in corpus for word in each.split()[:200] if len(word) < 40}
    odd = (b"\r\n", b"\r", b"\0", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"1e999", b"NaN", b"{",
           b"}" * 10, b"[" * 50, b"[" * 5000, b'{"a":' * 3000, b'"', b"\\u0000", b"\\ud800", b"9" * 5000, b"-", b"%", b"a" * 2000)  # fmt: skip
    return sorted({*words, *odd})

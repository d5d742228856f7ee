"""Makes wrong inputs of right ones: bytes that are flipped, cut, doubled, spliced; JSON whose values are not
what they should be."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

__all__ = ("Mutator",)

NUMBERS = (0, 1, 2, 3, 7, 8, 12, 16, 64, 100, 127, 128, 255, 256, 4096, 65535, 2**31 - 1, 2**31,
           2**32 - 1, 2**63, -1, -2, -(2**31))  # fmt: skip
ODD: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, "",
    " ", "0", "1", "-1", "a", "\0", "\n", "\x1b[2J", "\udcff", "\ud800", "é", "\U0001f600", "..",
    "/", "../../x", "C:\\x", "@#@", "(", "[", "a" * 300, [], {}, [[]], [None], [0], [""], {"": 0},
    {"a": []}, "%s", "{}", "*", "\\", "^(a+)+$",
)  # fmt: skip
"""Values that are seldom what somebody expected."""
DIGITS = re.compile(rb"\d+")
WRITTEN = (
    b"0",
    b"-1",
    b"9" * 5000,
    b"1e400",
    b"0x10",
    b"18446744073709551616",
    b"4294967295",
    b"007",
)
LONGEST = 1 << 16
"""Bytes of an input, about: what is slow with these is slow."""


class Mutator:
    """Throws inputs from examples; the same dice give the same ones."""

    def __init__(self, corpus: Sequence[bytes], dice: random.Random) -> None:
        self._corpus = [*corpus] or [b""]
        self._dice = dice
        self._words = _collect_words(corpus)
        self._keys = sorted({key for each in corpus for key in _keys_of(_parse(each))})
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip, self._flip, self._set, self._insert, self._delete, self._repeat,
            self._splice, self._number, self._digits, self._word, self._word, self._truncate, self._swap,
        )  # fmt: skip

    def make(self) -> bytes:
        """The next input."""
        source = self._dice.choice(self._corpus)
        if self._dice.random() < 0.6 and (tree := _parse(source)) is not None:
            for _ in range(self._dice.choice((1, 1, 1, 2, 4))):
                tree = self._change(tree)
            data = json.dumps(tree).encode("utf-8", "surrogatepass")
            if self._dice.random() < 0.8:
                return data[:LONGEST]
            source = data
        work = bytearray(source)
        for _ in range(self._dice.choice((1, 1, 2, 3, 5, 8))):
            self._dice.choice(self._ways)(work)
        return bytes(work[:LONGEST])

    # -- bytes ----------------------------------------------------------------------------------

    def _at(self, work: bytearray) -> int:
        return self._dice.randrange(len(work) + 1)

    def _span(self, work: bytearray) -> tuple[int, int]:
        start = self._at(work)
        return start, min(len(work), start + self._dice.choice((1, 1, 2, 4, 8, 30, 200)))

    def _flip(self, work: bytearray) -> None:
        if work:
            work[self._dice.randrange(len(work))] ^= 1 << self._dice.randrange(8)

    def _set(self, work: bytearray) -> None:
        if work:
            work[self._dice.randrange(len(work))] = self._dice.choice((0, 10, 13, 27, 34, 92, 255))

    def _insert(self, work: bytearray) -> None:
        at = self._at(work)
        work[at:at] = self._dice.randbytes(self._dice.choice((1, 1, 2, 8)))

    def _delete(self, work: bytearray) -> None:
        start, end = self._span(work)
        del work[start:end]

    def _repeat(self, work: bytearray) -> None:
        start, end = self._span(work)
        work[start:start] = work[start:end] * self._dice.choice((1, 1, 3, 100))

    def _splice(self, work: bytearray) -> None:
        other = self._dice.choice(self._corpus)
        start = self._dice.randrange(len(other) + 1)
        at = self._at(work)
        work[at : at + self._dice.choice((0, 8))] = other[start : start + 64]

    def _number(self, work: bytearray) -> None:
        """Put a number that is a limit of something where one may stand."""
        size = self._dice.choice((1, 2, 4, 4, 8))
        order = self._dice.choice(("big", "little"))
        value = self._dice.choice(NUMBERS) % (1 << 8 * size)
        at = self._at(work)
        work[at : at + size] = value.to_bytes(size, order)  # type: ignore[arg-type]  # one of two

    def _digits(self, work: bytearray) -> None:
        """Put another number where one stands in letters."""
        if found := list(DIGITS.finditer(work)):
            start, end = self._dice.choice(found).span()
            work[start:end] = self._dice.choice(WRITTEN)

    def _word(self, work: bytearray) -> None:
        at = self._at(work)
        work[at : at + self._dice.choice((0, 0, 1, 4))] = self._dice.choice(self._words)

    def _truncate(self, work: bytearray) -> None:
        del work[self._at(work) :]

    def _swap(self, work: bytearray) -> None:
        start, end = self._span(work)
        part = bytes(work[start:end])
        del work[start:end]
        at = self._at(work)
        work[at:at] = part

    # -- JSON -----------------------------------------------------------------------------------

    def _change(self, value: object) -> object:
        """The same tree with one change somewhere in it."""
        if isinstance(value, dict) and value and self._dice.random() < 0.9:
            return self._change_object(value)
        if isinstance(value, list) and value and self._dice.random() < 0.9:
            return self._change_list(value)
        return self._odd(value)

    def _change_object(self, value: dict[str, object]) -> dict[str, object]:
        made, key = dict(value), self._dice.choice(list(value))
        way = self._dice.random()
        if way < 0.08:
            del made[key]
        elif way < 0.16:
            made[self._dice.choice(self._keys or [""])] = made[key]
        elif way < 0.22:
            made[self._dice.choice((key.upper(), key + "_", key[:-1], ""))] = made.pop(key)
        else:
            made[key] = self._change(made[key])
        return made

    def _change_list(self, value: list[object]) -> list[object]:
        made, at = list(value), self._dice.randrange(len(value))
        way = self._dice.random()
        if way < 0.1:
            del made[at]
        elif way < 0.2:
            made.insert(at, made[at])
        elif way < 0.23:
            made *= 50
        else:
            made[at] = self._change(made[at])
        return made

    def _odd(self, value: object) -> object:
        way = self._dice.random()
        if isinstance(value, str) and way < 0.4:
            work = bytearray(value.encode("utf-8", "surrogatepass"))
            self._dice.choice(self._ways)(work)
            return work.decode("utf-8", "surrogateescape")
        if isinstance(value, int) and way < 0.4:
            return self._dice.choice(NUMBERS) * self._dice.choice((1, 1, -1))
        if way > 0.95:
            return _wrap(
                value, self._dice.choice((1, 1, 1, 10, 90, 300)), self._dice.choice((0, 1))
            )
        return self._dice.choice(ODD)


def _parse(data: bytes) -> object:
    """JSON that can be changed as a tree; None for anything else."""
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


def _keys_of(tree: object) -> set[str]:
    if isinstance(tree, dict):
        return {*tree, *(key for each in tree.values() for key in _keys_of(each))}
    if isinstance(tree, list):
        return {key for each in tree for key in _keys_of(each)}
    return set()


def _collect_words(corpus: Sequence[bytes]) -> list[bytes]:
    """Words of the examples, and some that trip decoders."""
    words = {word for each in corpus for word in each.split()[:200] if len(word) < 40}
    odd = (b"\r\n", b"\r", b"\0", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"1e999", b"NaN", b"{",
           b"}" * 10, b"[" * 50, b"[" * 5000, b'{"a":' * 3000, b'"', b"\\u0000", b"\\ud800", b"9" * 5000, b"-", b"%", b"a" * 2000)  # fmt: skip
    return sorted({*words, *odd})

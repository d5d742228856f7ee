"""What is made of other kinds: lists, maps, values that may be missing, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from trio_afrender.protocol.afanasy.field_types import (
    BOOL,
    STR,
    U32,
    Kind,
    Misfit,
    Number,
    Source,
    to_bytes,
)

__all__ = ("Listed", "Mapped", "Optional", "Record", "Repeated")

T = TypeVar("T")
V = TypeVar("V")


@attrs.frozen
class Listed(Generic[T]):
    """A list: the count, then the items."""

    item: Kind[T]
    length: Number = U32

    @property
    def least(self) -> int:
        return self.length.least

    def write(self, out: bytearray, value: tuple[T, ...]) -> None:
        self.length.write(out, len(value))
        for index, item in enumerate(value):
            try:
                self.item.write(out, item)
            except Misfit as error:
                raise error.at(f"[{index}]") from None

    def read(self, source: Source) -> tuple[T, ...]:
        count = source.count(self.length.read(source), self.item.least)
        items: list[T] = []
        try:
            for _ in range(count):
                items.append(self.item.read(source))  # noqa: PERF401 - the count tells the index
        except Misfit as error:
            raise error.at(f"[{len(items)}]") from None
        return tuple(items)


@attrs.frozen
class Repeated(Generic[T]):
    """So many items of one kind, without a count."""

    item: Kind[T]
    times: int

    @property
    def least(self) -> int:
        return self.item.least * self.times

    def write(self, out: bytearray, value: tuple[T, ...]) -> None:
        if len(value) != self.times:
            raise Misfit(f"{len(value)} items instead of {self.times}")
        for item in value:
            self.item.write(out, item)

    def read(self, source: Source) -> tuple[T, ...]:
        return tuple(self.item.read(source) for _ in range(self.times))


@attrs.frozen
class Mapped(Generic[V]):
    """A map from strings, written in the byte order of its keys; any order is read."""

    value: Kind[V]
    least = 4

    def write(self, out: bytearray, value: Mapping[str, V]) -> None:
        U32.write(out, len(value))
        for key in sorted(value, key=to_bytes):
            STR.write(out, key)
            try:
                self.value.write(out, value[key])
            except Misfit as error:
                raise error.at(f"[{key[:64]!r}]") from None

    def read(self, source: Source) -> dict[str, V]:
        count = source.count(U32.read(source), STR.least + self.value.least)
        found: dict[str, V] = {}
        for _ in range(count):
            key = STR.read(source)
            try:
                found[key] = self.value.read(source)
            except Misfit as error:
                raise error.at(f"[{key[:64]!r}]") from None
        return found


@attrs.frozen
class Optional(Generic[T]):
    """A value that may be missing, behind a truth value that says whether it is there."""

    value: Kind[T]
    least = 1

    def write(self, out: bytearray, value: T | None) -> None:
        BOOL.write(out, value is not None)
        if value is not None:
            self.value.write(out, value)

    def read(self, source: Source) -> T | None:
        return self.value.read(source) if BOOL.read(source) else None


class Record(Generic[T]):
    """The parts of a value in their order: names of attributes, and the kind of each.

    A name may be several, joined by spaces: their kind has them as one tuple. `fixed` are
    attributes that the bytes do not hold.
    """

    def __init__(
        self,
        make: Callable[..., T],
        *parts: tuple[str, Kind[Any]],
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.make = make
        self.parts = tuple((tuple(names.split()), kind) for names, kind in parts)
        self.fixed = dict(fixed or {})
        self.least = sum(kind.least for _, kind in parts)

    def write(self, out: bytearray, value: T) -> None:
        for names, kind in self.parts:
            found = tuple(getattr(value, name) for name in names)
            try:
                kind.write(out, found if len(names) > 1 else found[0])
            except Misfit as error:
                raise error.at(names[0]) from None

    def read(self, source: Source) -> T:
        found: dict[str, Any] = dict(self.fixed)
        for names, kind in self.parts:
            try:
                value = kind.read(source)
            except Misfit as error:
                raise error.at(names[0]) from None
            if len(names) > 1:
                found.update(zip(names, value, strict=True))
            else:
                found[names[0]] = value
        return self.make(**found)

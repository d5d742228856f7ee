"""Field types made of other field types: lists, maps, optional values, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from trio_afrender.protocol.afanasy.field_types import (
    BOOL,
    STR,
    U32,
    ByteReader,
    DecodeError,
    FieldType,
    Number,
    to_bytes,
)

__all__ = ("Listed", "Mapped", "Optional", "RecordType", "Repeated")

T = TypeVar("T")
V = TypeVar("V")


@attrs.frozen
class Listed(Generic[T]):
    """A list: the count, then the items."""

    item: FieldType[T]
    length: Number = U32

    @property
    def min_size(self) -> int:
        return self.length.min_size

    def write(self, out: bytearray, value: tuple[T, ...]) -> None:
        self.length.write(out, len(value))
        for index, item in enumerate(value):
            try:
                self.item.write(out, item)
            except DecodeError as error:
                raise error.at(f"[{index}]") from None

    def read(self, source: ByteReader) -> tuple[T, ...]:
        # Checked before the loop: a count of 2**31 items must not start it.
        count = source.count(self.length.read(source), self.item.min_size)
        items: list[T] = []
        try:
            for _ in range(count):
                items.append(self.item.read(source))  # noqa: PERF401 - their number is the index
        except DecodeError as error:
            raise error.at(f"[{len(items)}]") from None
        return tuple(items)


@attrs.frozen
class Repeated(Generic[T]):
    """A fixed number of items of one type, without a count."""

    item: FieldType[T]
    times: int

    @property
    def min_size(self) -> int:
        return self.item.min_size * self.times

    def write(self, out: bytearray, value: tuple[T, ...]) -> None:
        if len(value) != self.times:
            raise DecodeError(f"{len(value)} items instead of {self.times}")
        for item in value:
            self.item.write(out, item)

    def read(self, source: ByteReader) -> tuple[T, ...]:
        return tuple(self.item.read(source) for _ in range(self.times))


@attrs.frozen
class Mapped(Generic[V]):
    """A map with string keys, written in the byte order of the keys; any order can be read."""

    value: FieldType[V]
    min_size = 4

    def write(self, out: bytearray, value: Mapping[str, V]) -> None:
        U32.write(out, len(value))
        for key in sorted(value, key=to_bytes):
            STR.write(out, key)
            try:
                self.value.write(out, value[key])
            except DecodeError as error:
                raise error.at(f"[{key[:64]!r}]") from None

    def read(self, source: ByteReader) -> dict[str, V]:
        count = source.count(U32.read(source), STR.min_size + self.value.min_size)
        found: dict[str, V] = {}
        for _ in range(count):
            key = STR.read(source)
            try:
                found[key] = self.value.read(source)
            except DecodeError as error:
                raise error.at(f"[{key[:64]!r}]") from None
        return found


@attrs.frozen
class Optional(Generic[T]):
    """A value that may be missing: a boolean, then the value if the boolean is true."""

    value: FieldType[T]
    min_size = 1

    def write(self, out: bytearray, value: T | None) -> None:
        BOOL.write(out, value is not None)
        if value is not None:
            self.value.write(out, value)

    def read(self, source: ByteReader) -> T | None:
        return self.value.read(source) if BOOL.read(source) else None


class RecordType(Generic[T]):
    """A record: the attributes of a value in their order, each with its field type.

    A part may have several names, separated by spaces: its field type takes them as one tuple.
    `fixed` are attributes that are not encoded.
    """

    def __init__(
        self,
        make: Callable[..., T],
        *parts: tuple[str, FieldType[Any]],
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.make = make
        self.parts: tuple[tuple[tuple[str, ...], FieldType[Any]], ...] = tuple(
            (tuple(names.split()), kind) for names, kind in parts
        )
        self.fixed: dict[str, Any] = dict(fixed or {})
        self.min_size: int = sum(kind.min_size for _, kind in parts)

    def write(self, out: bytearray, value: T) -> None:
        for names, kind in self.parts:
            found = tuple(getattr(value, name) for name in names)
            try:
                kind.write(out, found if len(names) > 1 else found[0])
            except DecodeError as error:
                raise error.at(names[0]) from None

    def read(self, source: ByteReader) -> T:
        found: dict[str, Any] = dict(self.fixed)
        for names, kind in self.parts:
            try:
                value = kind.read(source)
            except DecodeError as error:
                raise error.at(names[0]) from None
            if len(names) > 1:
                found.update(zip(names, value, strict=True))
            else:
                found[names[0]] = value
        return self.make(**found)

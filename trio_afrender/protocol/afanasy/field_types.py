"""What every binary message is made of in the end: numbers, truth values, strings, big-endian.

A kind writes a value behind a buffer's end and reads it from a `Source`. What is read comes from
a stranger: no length is believed before it has been compared with the bytes that are there, and
a message holds a bounded number of items, so that memory stays a small multiple of its size.
"""

from __future__ import annotations

import struct
from typing import Protocol, TypeVar

import attrs

__all__ = (
    "BOOL",
    "I8",
    "I16",
    "I32",
    "I64",
    "MAX_ITEMS",
    "STR",
    "U8",
    "U16",
    "U32",
    "ByteReader",
    "DecodeError",
    "FieldType",
    "Number",
    "Raw",
    "to_bytes",
)

MAX_ITEMS = 65_536
"""Items of all lists and maps of one message together, when it is read."""

T = TypeVar("T")


class DecodeError(ValueError):
    """Something does not fit its place; `at` prepends the place, from the inside out."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem = problem
        self.path = path

    def at(self, place: str) -> DecodeError:
        joint = "" if not self.path or self.path.startswith("[") else "."
        return DecodeError(self.problem, f"{place}{joint}{self.path}")


class ByteReader:
    """Bytes that are read from the front, and the number of items that may still come."""

    def __init__(self, data: bytes, *, items: int = MAX_ITEMS) -> None:
        self.data = data
        self.position = 0
        self._items = items

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.left:
            raise DecodeError(f"expected {count} bytes, {self.left} are left")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def count(self, count: int, least: int) -> int:
        """Check the announced length of a list whose items take `least` bytes each or more."""
        if count < 0 or count * least > self.left:
            raise DecodeError(f"announces {count} items, {self.left} bytes are left")
        self._items -= count
        if self._items < 0:
            raise DecodeError(f"more than {MAX_ITEMS} items in a message")
        return count


class FieldType(Protocol[T]):
    """How one value looks in bytes. Both methods raise `Misfit`."""

    @property
    def min_size(self) -> int:
        """Bytes that the shortest value takes."""
        ...

    def write(self, out: bytearray, value: T) -> None: ...

    def read(self, source: ByteReader) -> T: ...


class Number:
    """An integer of a fixed size; `code` is its letter in `struct`."""

    def __init__(self, code: str) -> None:
        self._format = struct.Struct(f">{code}")
        self.min_size = self._format.size
        self.code = code
        bits = 8 * self.min_size
        self.lowest = 0 if code.isupper() else -(2 ** (bits - 1))
        self.highest = self.lowest + 2**bits - 1

    def write(self, out: bytearray, value: int) -> None:
        try:
            out += self._format.pack(value)
        except struct.error:
            sort = "unsigned " if self.code.isupper() else ""
            raise DecodeError(
                f"{value!r} is no {sort}integer of {8 * self.min_size} bits"
            ) from None

    def read(self, source: ByteReader) -> int:
        value: int = self._format.unpack(source.take(self.min_size))[0]
        return value


class Flag:
    """A truth value, spelled out: ``y`` or ``n``."""

    min_size = 1

    def write(self, out: bytearray, value: bool) -> None:
        out += b"y" if value else b"n"

    def read(self, source: ByteReader) -> bool:
        byte = source.take(1)
        if byte not in (b"y", b"n"):
            raise DecodeError(f"0x{byte.hex()} is neither y nor n")
        return byte == b"y"


def to_bytes(text: str) -> bytes:
    """The bytes of a text as they came. Raises `Misfit` for surrogates that stand for none."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise DecodeError(f"no text: {error.reason} at {error.start}") from None


class String:
    """Bytes with their length, which counts a NUL at the end. As text: UTF-8, what is not as
    surrogate escapes, so that every content comes out as it went in."""

    min_size = 5

    def write(self, out: bytearray, value: str) -> None:
        content = to_bytes(value)
        out += struct.pack(">I", len(content) + 1)  # never 0: that ends the server
        out += content
        out.append(0)

    def read(self, source: ByteReader) -> str:
        length = U32.read(source)
        if length == 0:
            raise DecodeError("a string of length 0: its NUL counts")
        content = source.take(length)
        if content[-1] != 0:
            raise DecodeError("a string without its NUL")
        return content[:-1].decode("utf-8", "surrogateescape")


I8, I16, I32, I64 = Number("b"), Number("h"), Number("i"), Number("q")
U8, U16, U32 = Number("B"), Number("H"), Number("I")
BOOL, STR = Flag(), String()


@attrs.frozen
class Raw:
    """So many bytes, as they are."""

    min_size: int

    def write(self, out: bytearray, value: bytes) -> None:
        if len(value) != self.min_size:
            raise DecodeError(f"{len(value)} bytes instead of {self.min_size}")
        out += value

    def read(self, source: ByteReader) -> bytes:
        return source.take(self.min_size)

"""The basic field types of the binary messages: numbers, booleans, strings, raw bytes; big-endian.

A field type appends a value to a buffer and reads it from a `ByteReader`. Messages come from the
network and are not trusted: every length is compared with the bytes that are present before memory
is allocated, and the number of items in a message is limited, so that memory stays a small multiple
of the message's size.
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
"""Items of all lists and maps in one message together, for reading."""

T = TypeVar("T")


class DecodeError(ValueError):
    """A value or bytes that do not match a field type; `at` prepends a part of the path."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem = problem
        self.path = path

    def at(self, part: str) -> DecodeError:
        joint = "" if not self.path or self.path.startswith("[") else "."
        return DecodeError(self.problem, f"{part}{joint}{self.path}")


class ByteReader:
    """Reads bytes from front to back, and counts the items that may still follow."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position: int = 0
        self._items = MAX_ITEMS

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes. Raises `DecodeError` if there are fewer."""
        if count > self.left:
            raise DecodeError(f"expected {count} bytes, {self.left} are left")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def count(self, count: int, item_size: int) -> int:
        """Return the announced `count` of a list whose items have at least `item_size` bytes.

        Raises `DecodeError` if they cannot fit into the bytes left, or exceed `MAX_ITEMS`.
        """
        if count < 0 or count * item_size > self.left:
            raise DecodeError(f"announces {count} items, {self.left} bytes are left")
        self._items -= count
        if self._items < 0:
            raise DecodeError(f"more than {MAX_ITEMS} items in a message")
        return count


class FieldType(Protocol[T]):
    """The encoding of one value. Both methods raise `DecodeError`."""

    @property
    def min_size(self) -> int:
        """Bytes of the shortest value."""
        ...

    def write(self, out: bytearray, value: T) -> None: ...

    def read(self, source: ByteReader) -> T: ...


class Number:
    """An integer of fixed size; `code` is its letter in the module `struct`."""

    def __init__(self, code: str) -> None:
        self._format = struct.Struct(f">{code}")
        self.min_size: int = self._format.size
        self.code = code
        bits = 8 * self.min_size
        self.lowest = 0 if code.isupper() else -(2 ** (bits - 1))
        self.highest: int = self.lowest + 2**bits - 1

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
    """A boolean, as the letter ``y`` or ``n``."""

    min_size = 1

    def write(self, out: bytearray, value: bool) -> None:
        out += b"y" if value else b"n"

    def read(self, source: ByteReader) -> bool:
        byte = source.take(1)
        if byte not in (b"y", b"n"):
            raise DecodeError(f"0x{byte.hex()} is neither y nor n")
        return byte == b"y"


def to_bytes(text: str) -> bytes:
    """Encode a text as UTF-8, escaped bytes as themselves. Raises `DecodeError` for other surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise DecodeError(f"no text: {error.reason} at {error.start}") from None


class String:
    """Bytes after their length, which includes a NUL at the end. In a text, bytes that are not UTF-8
    are surrogate escapes, so that any content is restored exactly."""

    min_size = 5

    def write(self, out: bytearray, value: str) -> None:
        content = to_bytes(value)
        out += struct.pack(">I", len(content) + 1)  # never 0: a length of 0 makes the server exit
        out += content
        out.append(0)

    def read(self, source: ByteReader) -> str:
        length = U32.read(source)
        if length == 0:
            raise DecodeError("a string of length 0, which must include its NUL")
        content = source.take(length)
        if content[-1] != 0:
            raise DecodeError("a string without its NUL")
        return content[:-1].decode("utf-8", "surrogateescape")


I8, I16, I32, I64 = Number("b"), Number("h"), Number("i"), Number("q")
U8, U16, U32 = Number("B"), Number("H"), Number("I")
BOOL, STR = Flag(), String()


@attrs.frozen
class Raw:
    """A fixed number of bytes, unchanged."""

    min_size: int

    def write(self, out: bytearray, value: bytes) -> None:
        if len(value) != self.min_size:
            raise DecodeError(f"{len(value)} bytes instead of {self.min_size}")
        out += value

    def read(self, source: ByteReader) -> bytes:
        return source.take(self.min_size)

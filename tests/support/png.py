"""A small image."""

from __future__ import annotations

import struct
import zlib

__all__ = ("make_png",)


def make_png() -> bytes:
    """Return an image of 64 by 48 pixels that is neither black nor of one colour."""
    rows = b"".join(b"\0" + bytes((x * 3 + y) % 256 for x in range(192)) for y in range(48))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )

"""A file of a task from a farm: servers serve them over HTTP, on the port of the JSON requests."""

from __future__ import annotations

import re
from urllib.parse import quote

from trio_afrender.afserver.client import Dialer
from trio_afrender.errors import LinkRefused, ProtocolError
from trio_afrender.text import to_bytes

__all__ = ("fetch_file",)

_STORED = "/@TMP@"
"""What the address of a task's file begins with; the path follows."""
_MAX_FILE = 4 * 1024 * 1024
_MAX_HEAD = 16 * 1024
_BLANK = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_LENGTH = re.compile(rb"\r?\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r?\n", re.IGNORECASE)


def _find_length(head: bytes) -> int | None:
    """The length of the body by its head."""
    found = _LENGTH.search(head + b"\r\n")
    return int(found[1]) if found is not None else None


def _is_whole(data: bytearray) -> bool:
    end = data.find(_BLANK, 0, _MAX_HEAD)
    size = _find_length(bytes(data[:end])) if end >= 0 else None
    return size is not None and len(data) >= end + len(_BLANK) + size


async def fetch_file(dialer: Dialer, path: str, token: str = "") -> bytes:
    """Return a stored file by the path that the server has given for it.

    Raises `LinkRefused` if there is none, `LinkLost`, and `ProtocolError` for half of one.
    """
    url = dialer.address.url
    # The interface in a link-local address is a matter of this host alone.
    host = dialer.address.host.partition("%")[0]
    host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    lines = [
        f"GET {quote(to_bytes(_STORED + path), safe='/@')} HTTP/1.1",
        f"Host: {host}:{dialer.address.port}",
        "Connection: close",
    ]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    request = "\r\n".join((*lines, "", "")).encode("ascii")
    # An afserver leaves the connection open: its end would be waited for in vain.
    answer = await dialer.fetch(request, _MAX_FILE, _is_whole)
    head, blank, body = answer.partition(_BLANK)
    status = _STATUS.match(head)
    if not blank or status is None:
        raise ProtocolError(f"{url}: its answer is not HTTP")
    if status[1] != b"200":
        raise LinkRefused("the server has no such file")
    size = _find_length(head)
    if size is None:
        return body
    if len(body) < size:
        raise ProtocolError(f"{url}: sent {len(body)} of {size} bytes of a file")
    # An afserver sends some bytes of its buffer behind the file.
    return body[:size]

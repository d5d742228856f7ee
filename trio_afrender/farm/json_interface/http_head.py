"""The head of an HTTP request: what the interface needs of HTTP/1.1, and no more. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from trio_afrender.text import show_json
from trio_afrender.transport.address import is_loopback, split_host
from trio_afrender.version import __version__

__all__ = (
    "MAX_HEAD",
    "HttpAnswer",
    "HttpHead",
    "HttpRefused",
    "body_length",
    "find_foreign",
    "parse_head",
)

MAX_HEAD = 16 * 1024
"""Bytes of a head, the blank line included."""
_MAX_HEADERS = 100
_REQUEST_LINE = re.compile(r"(GET|POST) ([!-~]{1,4096}) HTTP/1\.[01]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0]*)")
_LENGTH = re.compile(r"\d{1,15}")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    411: "Length Required",
    413: "Content Too Large",
    503: "Service Unavailable",
}


@attrs.frozen(slots=True, kw_only=True)
class HttpHead:
    """The first line and the headers of a request; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


@attrs.frozen(slots=True, kw_only=True)
class HttpAnswer:
    """An answer, after which the connection is closed."""

    status: int = 200
    kind: str
    """The content type."""
    body: bytes
    max_age: int = 0
    """Seconds for which a browser may keep it."""
    policy: str = ""
    """What a page may load and run: the header ``Content-Security-Policy``."""

    def encode(self) -> bytes:
        """The bytes on the wire."""
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            "Connection: close",
            f"Content-Length: {len(self.body)}",
            f"Content-Type: {self.kind}",
            f"Cache-Control: max-age={self.max_age}",
            # What a task has written is never taken for a page or a script.
            "X-Content-Type-Options: nosniff",
            f"Server: trio_afrender/{__version__}",
        ]
        if self.policy:
            lines.append(f"Content-Security-Policy: {self.policy}")
        if self.status == 401:
            lines.append("WWW-Authenticate: Bearer")
        return "\r\n".join((*lines, "", "")).encode("ascii") + self.body


class HttpRefused(Exception):
    """A request that is not answered as asked; `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    def answer(self) -> HttpAnswer:
        """The answer that gives the reason, as plain text."""
        return HttpAnswer(
            status=self.status, kind="text/plain; charset=UTF-8", body=f"{self.text}\n".encode()
        )


def parse_head(raw: bytes) -> HttpHead:
    """Parse a head, without the blank line after it. Raises `HttpRefused`.

    A header that stands twice has to have the same value both times: programs differ in which of
    two lengths or hosts they use, and attacks rest on that.
    """
    # HTTP says Latin-1: each byte is a character, so no byte is invalid.
    first, *lines = [line.removesuffix("\r") for line in raw.decode("latin-1").split("\n")]
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise HttpRefused(400, f"not a request line: {show_json(first)}")
    if len(lines) > _MAX_HEADERS:
        raise HttpRefused(400, f"{len(lines)} headers, at most {_MAX_HEADERS} are allowed")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise HttpRefused(400, f"not a header: {show_json(line)}")
        name, value = header[1].lower(), header[2].strip(" \t")
        if headers.setdefault(name, value) != value:
            raise HttpRefused(400, f"the header {name} stands twice, with different values")
    return HttpHead(method=match[1], target=match[2], headers=headers)


def body_length(head: HttpHead, limit: int) -> int:
    """The length of the body in bytes. Raises `HttpRefused`.

    ``Content-Length`` counts, then ``AFANASY``: the browser page of CGRU counts the latter in
    UTF-16 units, so it is too small for other than ASCII text.
    """
    if "transfer-encoding" in head.headers:
        raise HttpRefused(411, "Transfer-Encoding is not understood: send Content-Length")
    text = head.headers.get("content-length", head.headers.get("afanasy"))
    if text is None:
        raise HttpRefused(411, "neither Content-Length nor AFANASY gives the length of the body")
    if not _LENGTH.fullmatch(text):
        raise HttpRefused(400, f"not a length in bytes: {show_json(text)}")
    length = int(text)
    if length > limit:
        raise HttpRefused(413, f"a body of {length:,} bytes, at most {limit:,} are allowed")
    if length == 0:
        raise HttpRefused(400, "an empty body: expected a JSON object")
    return length


def find_foreign(head: HttpHead) -> str:
    """Explain why a request may come from the web page of another site; empty if it does not.

    Any page that is open in a browser of this machine can send requests here. A browser then gives
    the page's origin; a page whose owner has pointed a name at 127.0.0.1 is found by ``Host``.
    """
    host = head.headers.get("host", "")
    if host and not is_loopback(split_host(host)):
        return f"the Host header is {show_json(host)}, not a name of this machine"
    origin = head.headers.get("origin")
    if origin is not None and (not host or origin.lower() != f"http://{host.lower()}"):
        return f"the Origin header is {show_json(origin)}, not this server"
    site = head.headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin"):
        return f"the Sec-Fetch-Site header is {show_json(site)}: the page of another site asks"
    return ""

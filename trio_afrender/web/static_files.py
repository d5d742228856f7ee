"""The files of the page itself. Blocking."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import attrs

from trio_afrender.safe_files import read_regular

__all__ = ("PageFile", "find_image_type", "read_page_file")

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
_MAX_FILE = 4 * 1024 * 1024
_MAX_PARTS = 8
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


@attrs.frozen(slots=True)
class PageFile:
    """One file with its type and a tag that changes with it."""

    body: bytes
    kind: str
    tag: str


def read_page_file(name: str) -> PageFile | None:
    """Return a file of the page by its name; None if there is none. Blocking.

    Names come from browsers, so only plain ones are looked up.
    """
    parts = name.split("/")
    kind = _TYPES.get(parts[-1].rpartition(".")[2])
    if kind is None or len(parts) > _MAX_PARTS or not all(map(_PART.fullmatch, parts)):
        return None
    path = _FOLDER.joinpath(*parts)
    # A link could lead out of the folder.
    if os.path.realpath(path) != os.path.join(os.path.realpath(_FOLDER), *parts):  # noqa: PTH118 - text
        return None
    try:
        body = read_regular(path, _MAX_FILE)
    except OSError:
        return None
    return PageFile(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def find_image_type(body: bytes) -> str:
    """The type of an image by its first bytes; '' if it is none: a name may say anything."""
    return next((kind for mark, kind in _IMAGES if body.startswith(mark)), "")

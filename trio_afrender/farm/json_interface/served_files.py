"""Files for browsers: CGRU's own page below a studio's folder, and files of tasks. Blocking.

Files of tasks are what a task has written: they are images or text, never a page.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from base64 import b64encode
from html import unescape
from pathlib import Path, PurePosixPath

from trio_afrender.farm.json_interface.http_head import HttpAnswer, HttpRefused
from trio_afrender.safe_files import read_regular

__all__ = ("GuiFolder", "make_policy", "serve_task_file")

INDEX = "/afanasy/browser/index.html"
_CONFIG_FILES = ("config_default.json", "afanasy/config_default.json")
_MAX_CONFIG = 4 * 1024 * 1024
_MAX_FILE = 64 * 1024 * 1024
_MAX_NAMES = 10_000
"""Names in the list of a folder."""
_KEPT = 3600
"""Seconds for which a browser may keep scripts and images of the page."""
_TEXT = "text/plain; charset=UTF-8"
_IMAGES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
}
_PAGES = {
    **_IMAGES,
    "css": "text/css",
    "js": "text/javascript",
    "html": "text/html; charset=UTF-8",
    "ico": "image/x-icon",
    "svg": "image/svg+xml",
}
_HIDDEN = ("..", "htdigest", "htaccess", ".json")
"""Parts of names that are not served, as on a real server: secrets and settings."""


_HANDLER = re.compile(r"""\son[a-z]+\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_HASHES = " 'unsafe-hashes'"
"""Has hashes count for handlers too, which the standard calls unsafe."""
_REST_OF_POLICY = (
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


class GuiFolder:
    """A studio's CGRU folder. Nothing outside it is served, whatever links are in it."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path = Path(os.path.realpath(folder))

    def serve(self, target: str) -> HttpAnswer:
        """Return the file of a request. Raises `HttpRefused`."""
        if target == "/":
            target = INDEX
        elif target.endswith("/"):
            target += "index.html"
        elif "." not in target:
            target += "/index.html"
        kind = _PAGES.get(_extension(target), _TEXT)
        path = self._find(target)
        if path is None:
            raise HttpRefused(404, "there is no such file")
        try:
            body = read_regular(path, _MAX_FILE)
        except OSError:
            raise HttpRefused(404, "there is no such file") from None
        if kind.startswith("text/html"):
            return HttpAnswer(kind=kind, body=body, policy=make_policy(body))
        return HttpAnswer(kind=kind, body=body, max_age=_KEPT)

    def list_names(self, path: str) -> list[str]:
        """The names in a folder below this one, in order; without hidden ones."""
        found = None if path.startswith("/") or ":" in path else self._find(f"/{path}")
        try:
            names = os.listdir(found) if found else []  # noqa: PTH208 - names, not paths
        except OSError:
            names = []
        return sorted(name for name in names if not name.startswith("."))[:_MAX_NAMES]

    def read_config(self) -> list[object]:
        """The settings of CGRU, without those of the studio, which may hold secrets."""
        found: list[object] = []
        for name in _CONFIG_FILES:
            try:
                found.append(json.loads(read_regular(self.folder / name, _MAX_CONFIG)))
            except (OSError, ValueError, RecursionError):
                continue  # the page works without
        return found

    def _find(self, target: str) -> Path | None:
        """The path of a name; None for one that is not served or that a link leads to."""
        if any(part in target for part in _HIDDEN) or not target.isprintable() or "\\" in target:
            return None
        parts = PurePosixPath(target).parts[1:]
        if not parts or any(part.startswith(".") for part in parts):
            return None
        path = self.folder.joinpath(*parts)
        # Links are refused, not followed: one of them may lead out of the folder.
        return path if Path(os.path.realpath(path)) == path else None


def make_policy(page: bytes) -> str:
    """What a page may run: scripts of this server, and the handlers that are written in the page.

    CGRU's page shows names, annotations and reports of jobs as HTML. A script in one of them, which
    any task can print, would act as the user of the farm.
    """
    text = page.decode("utf-8", "replace")
    handlers = {unescape(one or other) for one, other in _HANDLER.findall(text)}
    digests = (hashlib.sha256(each.encode()).digest() for each in sorted(handlers))
    hashes = "".join(f" 'sha256-{b64encode(each).decode()}'" for each in digests)
    scripts = f"script-src 'self'{_HASHES if hashes else ''}{hashes}"
    return f"default-src 'self'; {scripts}; {_REST_OF_POLICY}"


def serve_task_file(name: str, body: bytes) -> HttpAnswer:
    """Return a file of a task under its base name."""
    return HttpAnswer(kind=_IMAGES.get(_extension(name), _TEXT), body=body)


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()

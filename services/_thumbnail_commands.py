"""Commands that make thumbnails, and the names of the thumbnails.

`af_thumbnail_cmd` is a template with ``%(image)s`` and the like, usually between quotes. A file
name may have any characters, so each value is quoted for its place: the shell reads it as one word.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec

from trio_afrender.safe_files import write_whole
from trio_afrender.thumbnail.command import Wanted, make_words
from trio_afrender.thumbnail.common import DEFAULT_HEIGHT

__all__ = ("NoThumbnailer", "ThumbnailNames", "extension", "make_command", "pre_args")

_LONGEST_NAME = 160
_TOKEN = re.compile(r"%(?:%|\((\w+)\)([-+ #0-9.]*[a-zA-Z])|.|$)", re.DOTALL)


class NoThumbnailer(Exception):
    """No thumbnails can be made; the text has the reason."""


class ThumbnailNames:
    """Names of thumbnails in one folder: one name for each image, never that of another file there.

    A file in the folder stores them, so a service that is created again while its task runs
    continues with them. The leading dot of its name keeps it from being sent to the server.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, str] | None = None

    def name(self, path: str) -> str:
        """Return ``<base name>.jpg``, with a number if another image or file has that name."""
        if self._names is None:
            self._names = self._read()
        if path not in self._names:
            base = _shorten(_make_plain(os.path.basename(path)))  # noqa: PTH119 - a text
            taken = {name.casefold() for name in self._names.values()} | self._list_folder()
            name, number = f"{base}.jpg", 2
            while name.casefold() in taken:
                name, number = f"{base}.{number}.jpg", number + 1
            self._names[path] = name
            self._write()
        return self._names[path]

    def _list_folder(self) -> set[str]:
        with suppress(OSError):
            return {entry.name.casefold() for entry in os.scandir(self._folder)}
        return set()

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            with open(self._file(), encoding="ascii") as file:  # noqa: PTH123 - a text
                known = json.load(file)
            if isinstance(known, dict) and all(isinstance(name, str) for name in known.values()):
                return known
        return {}

    def _write(self) -> None:
        with suppress(OSError):  # then only this object has them
            write_whole(self._file(), json.dumps(self._names))

    def _file(self) -> str:
        return os.path.join(self._folder, ".thumbnails.json")  # noqa: PTH118 - as above


def extension(path: str) -> str:
    """The last extension in lower case, without its dot."""
    return os.path.splitext(path)[1][1:].casefold()  # noqa: PTH122 - a text


def pre_args(path: str) -> str:
    """Options that ImageMagick needs to read the colours of such an image correctly."""
    kind = extension(path)
    if kind in ("dpx", "cin"):
        return "-set colorspace Log"
    return "-set colorspace RGB" if kind == "exr" else ""


def make_command(
    template: str,
    info: Mapping[str, object],
    quote: Callable[[list[str]], str],
    height: int = DEFAULT_HEIGHT,
) -> str:
    """Return the command for ``info['image']``. Raises NoThumbnailer.

    `quote` joins words for this host's shell. Without a template the command is the built-in
    thumbnailer, whose images have that height in pixels.
    """
    if template:
        return _fill(template, info, posix=quote is shlex.join)
    if find_spec("OpenImageIO") is None:
        raise NoThumbnailer(
            "No thumbnails: the extra is not installed (pip install 'trio_afrender[thumbnails]'),"
            " and no af_thumbnail_cmd is set."
        )
    wanted = Wanted(str(info["image"]), str(info["thumbnail"]), height)
    return quote(make_words(wanted))


def _make_plain(base: str) -> str:
    """A name that every server accepts: printable UTF-8 without backslashes."""
    text = base.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() and char != "\\" else "_" for char in text)


def _shorten(base: str) -> str:
    """The name, cut at its start to `_LONGEST_NAME` bytes: the frame number is at its end."""
    while len(os.fsencode(base)) > _LONGEST_NAME:
        base = base[1:]
    return base


def _fill(template: str, info: Mapping[str, object], *, posix: bool) -> str:
    """Format the template, each value quoted for its place; `pre_args` is not quoted."""
    quotes = _Quotes() if posix else None
    filled: list[str] = []
    done = 0
    for token in _TOKEN.finditer(template):
        literal = template[done : token.start()]
        done = token.end()
        text, is_plain = _format_token(token, info)
        if quotes:
            quotes.read(literal)
            text = text if is_plain else quotes.quote(text)
        filled += (literal, text)
    return "".join([*filled, template[done:]])


def _format_token(token: re.Match[str], info: Mapping[str, object]) -> tuple[str, bool]:
    """The value of a token as text, and whether it needs no quotes."""
    key, form = token.groups()
    try:
        if key is None:
            return token.group() % (), True  # "%%", or a character that is no token
        value = info[key]
        return f"%{form}" % (value,), key == "pre_args" or isinstance(value, int | float)
    except (KeyError, ValueError, TypeError) as error:
        raise NoThumbnailer(
            f"No thumbnails: af_thumbnail_cmd cannot be used: {type(error).__name__}: {error}"
        ) from None


class _Quotes:
    """Tracks which quotes of a POSIX shell are open."""

    def __init__(self) -> None:
        self._open = ""

    def read(self, text: str) -> None:
        escaped = False
        for char in text:
            if escaped:
                escaped = False
            elif char == "\\" and self._open != "'":
                escaped = True
            elif char == self._open:
                self._open = ""
            elif char in "\"'" and not self._open:
                self._open = char

    def quote(self, value: str) -> str:
        if self._open == "'":
            return value.replace("'", "'\\''")
        if self._open == '"':
            return "".join(f"\\{char}" if char in '"\\$`' else char for char in value)
        return shlex.quote(value)

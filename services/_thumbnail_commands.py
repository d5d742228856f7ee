"""Commands that make thumbnails: their names, and values put into them so that the shell sees one word.

`af_thumbnail_cmd` is a text with ``%(image)s`` and the like, usually between quotes. Names of
files come from anywhere, so each value is quoted for the place where it stands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec

from trio_afrender.thumbnail.command import Wanted, make_words
from trio_afrender.thumbnail.common import DEFAULT_HEIGHT

__all__ = ("Names", "NoThumbnailer", "command", "extension", "pre_args")

_LONGEST_NAME = 160
_TOKEN = re.compile(r"%(?:%|\((\w+)\)([-+ #0-9.]*[a-zA-Z])|.|$)", re.DOTALL)


class NoThumbnailer(Exception):
    """No thumbnails can be made; the text says why."""


class Names:
    """Names for thumbnails in one folder: alike for one image, different for different ones.

    They are written down there, in a file with a leading dot (which stays on the host): a service that
    is made anew while its task runs goes on with them, and what else lies there is not overwritten.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, str] | None = None

    def name(self, path: str) -> str:
        """``<base name>.jpg``, with a number where another image or file has that already."""
        if self._names is None:
            self._names = self._read()
        if path not in self._names:
            base = _shortened(_plain(os.path.basename(path)))  # noqa: PTH119 - a text
            taken = {name.casefold() for name in self._names.values()} | self._here()
            name, number = f"{base}.jpg", 2
            while name.casefold() in taken:
                name, number = f"{base}.{number}.jpg", number + 1
            self._names[path] = name
            self._write()
        return self._names[path]

    def _here(self) -> set[str]:
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
        with suppress(OSError):  # then they are known as long as this object lives
            with open(f"{self._file()}.part", "w", encoding="ascii") as file:  # noqa: PTH123 - as above
                json.dump(self._names, file)
            os.replace(f"{self._file()}.part", self._file())  # noqa: PTH105 - as above

    def _file(self) -> str:
        return os.path.join(self._folder, ".thumbnails.json")  # noqa: PTH118 - as above


def extension(path: str) -> str:
    """The last extension, folded to lower case, without its dot."""
    return os.path.splitext(path)[1][1:].casefold()  # noqa: PTH122 - a text


def pre_args(path: str) -> str:
    """Options by which ImageMagick reads an image of this kind rightly."""
    kind = extension(path)
    if kind in ("dpx", "cin"):
        return "-set colorspace Log"
    return "-set colorspace RGB" if kind == "exr" else ""


def command(
    template: str,
    info: Mapping[str, object],
    quote: Callable[[list[str]], str],
    height: int = DEFAULT_HEIGHT,
) -> str:
    """The command for ``info['image']``; raises NoThumbnailer.

    `quote` joins words for this host's shell; without a template our own program does it, which
    makes pictures of that height.
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


def _plain(base: str) -> str:
    """A name that every server takes: no line ends, no backslashes, nothing that is no UTF-8."""
    text = base.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() and char != "\\" else "_" for char in text)


def _shortened(base: str) -> str:
    """The end of a name that would be too long with what is put behind it."""
    while len(os.fsencode(base)) > _LONGEST_NAME:
        base = base[1:]
    return base


def _fill(template: str, info: Mapping[str, object], *, posix: bool) -> str:
    """Format the template, each value quoted for its place (the words of `pre_args` stay words)."""
    quotes = _Quotes() if posix else None
    filled: list[str] = []
    done = 0
    for token in _TOKEN.finditer(template):
        literal = template[done : token.start()]
        done = token.end()
        text, plain = _formatted(token, info)
        if quotes:
            quotes.read(literal)
            text = text if plain else quotes.quoted(text)
        filled += (literal, text)
    return "".join([*filled, template[done:]])


def _formatted(token: re.Match[str], info: Mapping[str, object]) -> tuple[str, bool]:
    """What stands for a token, and whether it goes into the command as it is."""
    key, form = token.groups()
    try:
        if key is None:
            return token.group() % (), True  # "%%", or what is no token at all
        value = info[key]
        return f"%{form}" % (value,), key == "pre_args" or isinstance(value, int | float)
    except (KeyError, ValueError, TypeError) as error:
        raise NoThumbnailer(
            f"No thumbnails: af_thumbnail_cmd cannot be used: {type(error).__name__}: {error}"
        ) from None


class _Quotes:
    """Follows which quotes of a POSIX shell are open."""

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

    def quoted(self, value: str) -> str:
        if self._open == "'":
            return value.replace("'", "'\\''")
        if self._open == '"':
            return "".join(f"\\{char}" if char in '"\\$`' else char for char in value)
        return shlex.quote(value)

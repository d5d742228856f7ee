"""Commands that make thumbnails, and the names of the thumbnails.

`af_thumbnail_cmd` is a template with ``%(image)s`` and the like, usually between quotes. A file
name may have any characters, so each value is quoted for its place: the shell reads it as one word. A
template with a value in a place that cannot be made safe is refused.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from itertools import dropwhile

from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.extras import how_to_install
from trio_afrender.safe_files import write_whole
from trio_afrender.thumbnail.command import Wanted, make_words
from trio_afrender.thumbnail.common import DEFAULT_HEIGHT

__all__ = ("NoThumbnailer", "ThumbnailNames", "extension", "make_command", "pre_args")

_LONGEST_NAME = 160
_EVALUATING = frozenset(
    {"eval", "let", "ssh", "rsh", "su", "trap", "watch", "parallel", "source", "."}
)
"""Programs that give all of their arguments to a shell."""
_FIRST_WORD = frozenset({"awk", "gawk", "mawk", "sed"})
"""Programs whose first argument is a program."""
_INTERPRETERS = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish", "busybox", "env"}
    | {"python", "perl", "ruby", "node", "php", "lua", "awk", "gawk", "mawk", "sed", "xargs"}
)
_PROGRAM_OPTION = re.compile(r"-[A-Za-z]*[ceErS]|--(eval|expression|command|split-string)=?")
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
            "No thumbnails: no af_thumbnail_cmd is set, and OpenImageIO is not installed;"
            f" {how_to_install('thumbnails')}"
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
    # Files with a leading dot are not sent.
    return f"_{base[1:]}" if base.startswith(".") else base


def _fill(template: str, info: Mapping[str, object], *, posix: bool) -> str:
    """Format the template, each value quoted for its place; `pre_args` is not quoted."""
    quotes = _ShellText() if posix else None
    filled: list[str] = []
    done = 0
    for token in _TOKEN.finditer(template):
        literal = template[done : token.start()]
        done = token.end()
        text, is_plain = _format_token(token, info)
        if quotes:
            quotes.read(literal)
            if is_plain:
                quotes.read(text)
            else:
                text = quotes.quote(text)
        elif not is_plain:
            quoted = "".join([*filled, literal]).count('"') % 2 == 1
            # Between quotes only the percent sign has a meaning, see `join_for_cmd`.
            text = _AFTER_PERCENT.sub(r'%"\1"', text) if quoted else join_for_cmd([text])
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


_AFTER_PERCENT = re.compile(r"%(\w)")


class _ShellText:
    """Tracks where in the text of a POSIX shell the next character stands, to quote a value for it.

    A value is placed as a word or within quotes, also of a command substitution ``$(...)``. Every other
    place is refused: there a shell or another program would read the value as a part of its program.
    """

    def __init__(self) -> None:
        self._open = [""]
        """Quotes and substitutions that are open; ``""`` and ``(`` hold commands."""
        self._words = [[""]]
        """The words of the command so far, of each open text of commands."""
        self._last = ""
        """The character before, unless it was escaped."""
        self._escaping = False
        self._here = False
        """Whether a here-document has begun."""
        self._case = False
        """Whether there was the word ``case``."""

    def read(self, text: str) -> None:
        """Follow a part of the template."""
        for index, char in enumerate(text):
            quote = self._open[-1]
            if self._escaping:
                self._escaping, self._last = False, ""
                self._words[-1][-1] += char
            elif char == "\\" and quote not in ("'", "#"):
                self._escaping = True
            elif quote == "#":
                if char == "\n":
                    self._open.pop()
                    self._words[-1][:] = [""]
            elif quote == "'":
                if char == "'":
                    self._open.pop()
                else:
                    self._words[-1][-1] += char
            elif char == "(" and (self._last == "$" or quote != '"'):
                # A subshell too, for its closing parenthesis.
                self._open.append("((" if text[index + 1 : index + 2] == "(" else "(")
                self._words.append([""])
            elif char in '`"':
                self._toggle(char)
            elif quote == '"':
                self._words[-1][-1] += char
            else:
                self._read_command(char)
            self._last = "" if self._escaping else char

    def _toggle(self, char: str) -> None:
        if self._open[-1] == char:
            self._open.pop()
        else:
            self._open.append(char)

    def _read_command(self, char: str) -> None:
        """Follow a character that is not quoted."""
        words = self._words[-1]
        if char == "'" or (char == "#" and not words[-1]):
            self._open.append(char)
        elif char == ")" and self._open[-1] in ("(", "(("):
            self._open.pop()
            self._words.pop()
        elif char in ";&|\n \t":
            # The pattern of a case ends with a parenthesis that nothing has opened.
            self._case = self._case or words[-1] == "case"
        if char in ";&|\n":
            words[:] = [""]
        elif char in " \t":
            if words[-1]:
                words.append("")
        elif char not in "'#)":
            self._here = self._here or (char == self._last == "<")
            words[-1] += char

    def quote(self, value: str) -> str:
        """Return `value` for this place. Raises `NoThumbnailer`."""
        if reason := self._find_danger():
            raise NoThumbnailer(
                f"No thumbnails: af_thumbnail_cmd cannot be used: a value of the task stands {reason}"
            )
        self._words[-1][-1] += "x"
        self._last = ""
        if self._open[-1] == "'":
            return value.replace("'", "'\\''")
        if self._open[-1] == '"':
            return "".join(f"\\{char}" if char in '"\\$`' else char for char in value)
        return shlex.quote(value)

    def _find_danger(self) -> str:
        """Return why no value can stand here; empty if one can."""
        if self._escaping or self._last == "$":
            return "after a backslash or a $"
        if "`" in self._open:
            return "in backticks: use $(...)"
        if "((" in self._open:
            return "in arithmetic"
        if "#" in self._open:
            return "in a comment"
        if self._case:
            return "behind a case"
        if self._here:
            return "behind a here-document: give it as an argument"
        # Of all commands that are open: the result of an inner one may be the program of an outer one.
        for words in self._words:
            if "${" in words[-1].rpartition("}")[2] or "$[" in words[-1].rpartition("]")[2]:
                return "in ${...} or $[...]"
            if program := _find_program(words):
                return f"in the program of {program}: give it as an argument after it"
        return ""


def _find_program(words: list[str]) -> str:
    """Return the interpreter that reads the last of a command's words as its program; empty for none."""
    *before, _ = words
    for index, word in enumerate(before):
        name = word.rpartition("/")[2]
        if name in _EVALUATING or (name in _FIRST_WORD and index == len(before) - 1):
            return name
        is_interpreter = name.rstrip("0123456789.") in _INTERPRETERS or name.startswith("$")
        # The program is the first word behind the option that is no option itself.
        options = dropwhile(lambda each: not _PROGRAM_OPTION.fullmatch(each), before[index + 1 :])
        behind = list(options) if is_interpreter else []
        if behind and all(each.startswith(("-", "+")) for each in behind):
            return name
    return ""

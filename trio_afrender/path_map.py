"""Translates paths in texts between the server's form and that of this host (the client).

A map is a list of pairs (client, server). A text - a command, an environment variable - is scanned
from left to right. Where a path can begin, the pairs are tried in the order of the map, and the
first that matches whole path elements wins. Scanning continues after that path, so nothing is mapped
twice. Server paths have slashes. On Windows, client paths have backslashes and are compared without
regard to case and kind of slash.

A path can begin at the start of the text, after white space, quotes and other punctuation of shells,
lists and options, and directly after a one-letter option (``-f/ps/prj``). It does not begin after a
drive's colon, nor in a URL (``scheme://...``). A drive alone (``P:``) is a path only if it is all of the
text, stands between quotes or is the value of an option: in ``step p: done`` it is a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ("PathMap",)

_STOPS = r"""\s"'`;:=,<>|&"""  # what ends a path in a text
_BEFORE = _STOPS + r"(\[{@"  # what can precede one; not a closing bracket, as in ${X}/ps
_AFTER = _STOPS + r")\]}"  # what can directly follow a folder of the map
_BEGIN = (
    rf"(?:(?<![^{_BEFORE}])|(?<=[{_BEFORE}]-[A-Za-z])|(?<=\A-[A-Za-z]))"
    rf"(?<!\A[A-Za-z]:)(?<![{_BEFORE}][A-Za-z]:)"
)
_REST = re.compile(rf"[^{_STOPS}]*")
# After a quote that opens directly before the path, spaces belong to the path, unless they precede
# an option, another path or a drive letter.
_QUOTED_REST = re.compile(rf"[^{_STOPS}]*(?:[ ](?![-/\\ ]|[A-Za-z]:)[^{_STOPS}]*)*")
_URL_BEGIN = re.compile(rf"(?:\A|[{_BEFORE}])[A-Za-z][A-Za-z0-9+.-]+:(?://[^\s\"'`;,<>|]*)?\Z")
"""The end of a text after which a path belongs to a URL: its host, or a part of its query."""
_LONGEST_URL = 1000
_OPTION_BEGIN = re.compile(r"(?:\A|\s)-[^\s=]*[ =]\Z")
_LONGEST_OPTION = 64
_DRIVE = re.compile(r"[A-Za-z]:")


class PathMap:
    """Translates paths in texts; without pairs it leaves them unchanged.

    `windows`: whether the client runs Windows. `unix_separators`: client paths keep slashes there,
    too. Invalid pairs are left out; `problems` has a sentence for each.
    """

    def __init__(
        self,
        pairs: Iterable[Sequence[str]] = (),
        *,
        windows: bool = False,
        unix_separators: bool = False,
    ) -> None:
        self.windows = windows
        self.unix_separators = unix_separators
        good = []
        problems = []
        for number, pair in enumerate(pairs, start=1):
            if (
                isinstance(pair, str)
                or len(pair) != 2
                or not all(isinstance(side, str) for side in pair)
            ):
                problem = "it must be two strings, the client's folder and the server's"
            elif not all(side.strip() for side in pair):
                problem = "a side of it is empty"
            else:
                good.append((_bare(pair[0]), _bare(pair[1])))
                continue
            problems.append(f"pair {number} of the paths map is not used: {problem}")
        self.pairs: tuple[tuple[str, str], ...] = tuple(good)
        self.problems: tuple[str, ...] = tuple(problems)
        backslashes = windows and not unix_separators
        swapped = [(server, client) for client, server in good]
        self._to_client = _Translation(swapped, windows, to_server=False, backslashes=backslashes)
        self._to_server = _Translation(good, windows, to_server=True)

    def to_client(self, text: str, *, whole: bool = False) -> str:
        """Return the text with the server's paths replaced by this host's.

        `whole`: the text is a single path, which may contain any punctuation and spaces.
        """
        return self._to_client(text, whole=whole)

    def to_server(self, text: str, *, whole: bool = False) -> str:
        """Return the text with this host's paths replaced by the server's; `whole` as above."""
        return self._to_server(text, whole=whole)


class _Translation:
    """Translates in one direction. `pairs` are (from, to), without slashes at their ends."""

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        windows: bool,
        *,
        to_server: bool,
        backslashes: bool = False,
    ) -> None:
        """`backslashes`: client paths are returned with them."""
        self._targets = [target for _, target in pairs]
        self._windows = windows
        self._server = to_server
        self._backslashes = backslashes
        self._anywhere, self._at_start = _compile_patterns(
            tuple(source for source, _ in pairs), windows, windows and to_server
        )

    def __call__(self, text: str, *, whole: bool) -> str:
        if not self._targets or not text:
            return text
        if whole:
            found = self._at_start.match(text)
            return self._replaced(found, text[found.end() :]) if found else text
        pieces: list[str] = []
        done = 0
        while found := self._anywhere.search(text, done):
            pieces.append(text[done : found.start()])
            quoted = self._windows and text[found.start() - 1 : found.start()] in ('"', "'")
            after = (_QUOTED_REST if quoted else _REST).match(text, found.end())
            rest = after.group() if after else ""
            if _is_in_url(text, found.start()) or _is_word(text, found):
                pieces.append(found.group() + rest)
            else:
                pieces.append(self._replaced(found, rest))
            done = found.end() + len(rest)
        return "".join(pieces) + text[done:]

    def _replaced(self, found: re.Match[str], rest: str) -> str:
        folder = self._targets[int((found.lastgroup or "p0")[1:])]
        if self._server:
            return folder + (rest.replace("\\", "/") if self._windows else rest) or "/"
        if not rest and (not folder or _DRIVE.fullmatch(folder)):
            rest = "/"  # "P:" alone means the current folder of that drive
        path = folder + rest
        return path.replace("/", "\\") if self._backslashes else path


def _is_in_url(text: str, start: int) -> bool:
    found = _URL_BEGIN.search(text[max(0, start - _LONGEST_URL) : start])
    # After the colon alone it is the host of a URL, or a path behind a word: "in:/ps/prj".
    return found is not None and (text.startswith("//", start) or "//" in found.group())


def _is_word(text: str, found: re.Match[str]) -> bool:
    """Whether a folder of the map is a letter and a colon in a sentence."""
    start, end = found.span()
    before, after = text[max(0, start - _LONGEST_OPTION) : start], text[end : end + 1]
    if not _DRIVE.fullmatch(found.group()) or after in ("/", "\\") or end - start == len(text):
        return False
    quoted = before[-1:] in ("'", '"') and before[-1:] == after
    return not quoted and _OPTION_BEGIN.search(before) is None


@lru_cache(maxsize=64)
def _compile_patterns(
    sources: tuple[str, ...], windows: bool, blind: bool
) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns that find the sources anywhere in a text, and only at its start.

    They are cached, because all tasks use the same map. `blind`: ignore case and kind of slash.
    """
    slash = r"/\\" if windows else "/"  # elsewhere a backslash quotes the next character
    flags = re.IGNORECASE if blind else 0
    escaped = [re.escape(source) for source in sources]
    if blind:
        escaped = [source.replace("/", r"[/\\]") for source in escaped]
    anywhere = _BEGIN + _alternatives(escaped, rf"(?=[{slash}{_AFTER}]|\Z)", slash)
    at_start = _alternatives(escaped, rf"(?=[{slash}]|\Z)", slash)
    return re.compile(anywhere, flags), re.compile(at_start, flags)


def _alternatives(sources: Sequence[str], end: str, slash: str) -> str:
    """Return the pattern of the sources in order, each with its end; an empty one is the root."""
    # Two slashes are no path below the root: a share, or a comment in a file.
    root = f"(?=[{slash}](?![{slash}]))"
    return "(?:{})".format(
        "|".join(
            f"(?P<p{number}>{source}{end if source else root})"
            for number, source in enumerate(sources)
        )
    )


def _bare(text: str) -> str:
    return text.replace("\\", "/").rstrip("/")

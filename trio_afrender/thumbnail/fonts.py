"""A font that has the characters of some texts, and what is written for those that none has.

The font in OpenImageIO has Latin, Greek and Cyrillic letters. For others, as in Japanese or Chinese
names, fontconfig is asked for a font of this host; without fontconfig some usual files are tried.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import attrs

__all__ = ("FontChoice", "choose_font", "parse_charset")

LAST_BUILT_IN = 0x52F
"""The last character of Cyrillic; the built-in font has these letters, and some signs."""
BUILT_IN_SIGNS = frozenset(
    "\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2022\u2026\u20ac\u2122"
)
"""Dashes, quotation marks, the bullet, the ellipsis, the euro, the trade mark."""
USUAL_FILES = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/Library/Fonts/Arial Unicode.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/YuGothM.ttc",
)
TIMEOUT = 20.0
"""Seconds for fontconfig, whose first call on a host reads all fonts."""
MAX_CHARACTERS = 2000
"""Different characters that fontconfig is asked for."""


@attrs.frozen
class FontChoice:
    """`file` is the font, '' for the built-in one; `missing` are the characters that it lacks."""

    file: str = ""
    missing: frozenset[str] = frozenset()

    def spell(self, text: str) -> str:
        r"""Return the text with ``\uXXXX`` in place of each character that the font lacks."""
        if self.missing.isdisjoint(text):
            return text
        return "".join(
            char.encode("ascii", "backslashreplace").decode() if char in self.missing else char
            for char in text
        )


def choose_font(texts: Iterable[str]) -> FontChoice:
    """Return the font for all of the texts. Runs fontconfig: blocking, for seconds at worst."""
    wanted = {
        char
        for text in texts
        for char in text
        if ord(char) > LAST_BUILT_IN and char.isprintable() and char not in BUILT_IN_SIGNS
    }
    if not wanted:
        return FontChoice()
    # Asked for the font that has most of them, and for the characters that it has.
    codes = " ".join(f"{ord(char):x}" for char in sorted(wanted)[:MAX_CHARACTERS])
    words = ["fc-match", "--format=%{file}\n%{charset}\n", f":charset=20-7e {codes}"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        answer = ""
    else:
        answer = done.stdout.decode("utf-8", "surrogateescape")
    file, _, charset = answer.partition("\n")
    known = parse_charset(charset)
    missing = frozenset(char for char in wanted if not any(ord(char) in each for each in known))
    if file and missing < wanted:
        return FontChoice(file, missing)
    # What they have is not known without fontconfig: most have all of the usual characters.
    for usual in USUAL_FILES if not file else ():
        if Path(usual).is_file():
            return FontChoice(usual)
    return FontChoice("", frozenset(wanted))


def parse_charset(text: str) -> tuple[range, ...]:
    """Return the characters of a font from fontconfig's ``20-7e a0``; wrong parts are left out."""
    found = []
    for part in text.split():
        first, dash, last = part.partition("-")
        try:
            found.append(range(int(first, 16), int(last if dash else first, 16) + 1))
        except ValueError:
            continue
    return tuple(found)

"""The commands that README and docs show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ("ShownCommand", "list_commands", "read_sections")

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = re.compile(r"(?:\$ )?(?:\S*/)?trio_afrender(?: |$)")
SYNOPSIS = re.compile(r" \[|\.\.\.|\w\|\w")
"""In a line that shows what can be given, not a command: ``[options]``, ``NAME ...``, ``a|b``."""


@attrs.frozen
class ShownCommand:
    """One command of a page."""

    page: str
    line: int
    words: tuple[str, ...]
    """Those behind ``trio_afrender``, without comment and redirection."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: trio_afrender {shlex.join(self.words)}"


def list_commands() -> Iterator[ShownCommand]:
    """Yield each command once, page by page."""
    seen = set()
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for page in (*pages, *sorted((ROOT / "examples").rglob("README.md"))):
        for number, text in _code_lines(page.read_text(encoding="utf-8").splitlines()):
            program = PROGRAM.match(text)
            if program is None:
                continue
            words = tuple(shlex.split(text[program.end() :].partition(" > ")[0], comments=True))
            if words not in seen and not SYNOPSIS.search(f" {' '.join(words)}"):
                seen.add(words)
                yield ShownCommand(str(page.relative_to(ROOT)), number, words)


def read_sections(page: Path) -> dict[str, list[str]]:
    """Return the lines of code of a page by the heading above them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    headings = {n: line[3:] for n, line in enumerate(lines, start=1) if line.startswith("## ")}
    sections: dict[str, list[str]] = {heading: [] for heading in headings.values()}
    for number, text in _code_lines(lines):
        sections[headings[max(n for n in headings if n < number)]].append(text)
    return sections


def _code_lines(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines of blocks of code, continued ones joined, with the number of the first."""
    fenced, joined, first = False, "", 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            first = first if joined else number
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
            else:
                yield first, joined
                joined = ""

"""Finds words of a private language in source files and pages, from the list in `tests/data`.

    python tests/support/private_words.py [FILE ...]

prints `file:line`, the word and its standard replacement for each finding, and exits 1 if there is
one. Without files it checks the whole repository. Only the standard library is needed.

Each line of `private_words.txt` has an entry, a tab and the replacement. There are two kinds:

* Words in lower case, `gizmo` or `by and by`. They match whole words in any case and their plural,
  as prose or as parts of an identifier: `gizmo` finds `Gizmo` and `open_gizmos`, not `gizmology`.
  In Python files that covers identifiers, docstrings, comments, file names and the string literals
  that contain a space. Other literals are data, and so is a single word in double quotes in prose:
  names of fields and values that a format fixes.
* Identifiers in backticks, `` `Gizmo` `` or `` `gizmo_*` ``. They match an identifier of the program
  exactly, case included, and in prose only what stands in backticks. A `*` at the end matches any
  rest.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ("Finding", "WordList", "check_file", "find_files", "load_words", "main")

ROOT = Path(__file__).resolve().parents[2]
WORDS_FILE = ROOT / "tests" / "data" / "private_words.txt"
FOLDERS = ("trio_afrender", "services", "parsers", "resmeters", "tests", "examples", "docs")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")

WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
"""One word of prose, of a snake_case or of a CamelCase name."""
GAP = re.compile(r"[\s_-]*")
"""What may stand between two words of a phrase."""
FIXED = re.compile(r'"\w+(?=")')
"""A single word in double quotes: the name of a field or a value."""
QUOTED = re.compile(r"`+([^`\n]+)`+")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A private word in a file."""

    path: Path
    line: int
    found: str
    replacement: str

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: "{self.found}", better: {self.replacement}'


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    found: str
    replacement: str


def _word_forms(word: str) -> set[str]:
    """A word and its plural."""
    forms = {word, f"{word}s", f"{word}es"}
    return forms | {f"{word[:-1]}ies"} if word.endswith("y") else forms


class WordList:
    """The entries of the list, ready for the search."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises ValueError for a line without a tab or with an empty half."""
        self.entries: dict[str, str] = {}
        self._phrases: dict[str, list[tuple[list[set[str]], str]]] = defaultdict(list)
        self._identifiers: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        for line in lines:
            if line.strip() and not line.startswith("#"):
                self._add(line.rstrip("\n"))

    def _add(self, line: str) -> None:
        entry, tab, replacement = line.partition("\t")
        if not (entry and tab and replacement) or entry in self.entries:
            raise ValueError(f"expected a new entry, a tab and its replacement: {line!r}")
        self.entries[entry] = replacement
        if entry.startswith("`"):
            name = entry.strip("`")
            kind = self._prefixes if name.endswith("*") else self._identifiers
            kind[name.removesuffix("*")] = replacement
            return
        if not re.fullmatch(r"[a-z]+( [a-z]+)*", entry):
            raise ValueError(f"expected words in lower case: {line!r}")
        *words, last = entry.split()
        forms = [*({word} for word in words), _word_forms(last)]
        for first in forms[0]:
            self._phrases[first].append((forms, replacement))

    def find_words(self, text: str) -> Iterator[_Match]:
        """Every listed word or phrase in prose or in an identifier, but for quoted data."""
        words = list(WORD.finditer(text))
        fixed = [(name.start(), name.end()) for name in FIXED.finditer(text)]
        for index, word in enumerate(words):
            if any(start < word.start() < end for start, end in fixed):
                continue
            for forms, replacement in self._phrases.get(word[0].lower(), ()):
                matched = words[index : index + len(forms)]
                if _matches(matched, forms, text):
                    found = " ".join(text[word.start() : matched[-1].end()].split())
                    yield _Match(word.start(), found, replacement)

    def find_identifier(self, name: str) -> str | None:
        """The replacement of an identifier that is listed as such."""
        if name in self._identifiers:
            return self._identifiers[name]
        for prefix, replacement in self._prefixes.items():
            if name.startswith(prefix):
                return replacement
        return None

    def find_in_prose(self, text: str) -> Iterator[_Match]:
        """Listed words, and listed identifiers in backticks."""
        yield from self.find_words(text)
        for quoted in QUOTED.finditer(text):
            for name in IDENTIFIER.finditer(quoted[1]):
                if replacement := self.find_identifier(name[0]):
                    yield _Match(quoted.start(1) + name.start(), name[0], replacement)

    def find_in_name(self, name: str) -> Iterator[_Match]:
        """Listed words in an identifier or in a dotted name, and the identifier itself."""
        yield from self.find_words(name)
        for part in name.split("."):
            if replacement := self.find_identifier(part):
                yield _Match(0, part, replacement)


def _matches(words: Sequence[re.Match[str]], forms: Sequence[set[str]], text: str) -> bool:
    if len(words) < len(forms):
        return False
    if any(word[0].lower() not in form for word, form in zip(words, forms, strict=True)):
        return False
    return all(GAP.fullmatch(text, left.end(), right.start()) for left, right in pairwise(words))


class _PythonFile:
    """The names, texts and comments of a Python file with their lines."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines = source.splitlines()
        self._tree = ast.parse(source)

    def names(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Constant):
                continue
            # An attribute begins where the expression before it begins.
            position = "end_lineno" if isinstance(node, ast.Attribute) else "lineno"
            line = getattr(node, position, 1)
            for _, value in ast.iter_fields(node):
                for item in value if isinstance(value, list) else [value]:
                    if isinstance(item, str):
                        yield line, item

    def texts(self) -> Iterator[tuple[ast.expr, str]]:
        """Docstrings, and other literals that contain a space."""
        parts: set[ast.expr] = set()
        docstrings: set[ast.expr] = set()
        for node in ast.walk(self._tree):
            if isinstance(node, ast.JoinedStr):
                parts.update(node.values)
                pieces = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
                text = "".join(str(piece) for piece in pieces)
                if " " in text and node not in parts:
                    yield node, text
            elif isinstance(node, ast.Expr):
                docstrings.add(node.value)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                is_text = " " in node.value or node in docstrings
                if is_text and node not in parts:
                    yield node, node.value

    def comments(self) -> Iterator[tuple[int, str]]:
        """Comments; those of consecutive lines as one text, with the number of the first line."""
        first, block = 0, list[str]()
        for token in tokenize.generate_tokens(io.StringIO(self._source).readline):
            if token.type != tokenize.COMMENT:
                continue
            line = token.start[0]
            if block and line != first + len(block):
                yield first, "\n".join(block)
                block = []
            first = first if block else line
            block.append(token.string.lstrip("#"))
        if block:
            yield first, "\n".join(block)

    def line_of(self, node: ast.expr, text: str, match: _Match) -> int:
        """The line of a match in a string; escapes and joined literals make it a guess."""
        expected = node.lineno + text.count("\n", 0, match.start)
        word = match.found.split()[0]
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        found = [line for line in lines if word in self._lines[line - 1]]
        return min(found, key=lambda line: abs(line - expected), default=node.lineno)


def _check_python(source: str, words: WordList) -> Iterator[tuple[int, _Match]]:
    file = _PythonFile(source)
    for line, name in file.names():
        yield from ((line, match) for match in words.find_in_name(name))
    for node, text in file.texts():
        for match in words.find_in_prose(text):
            yield file.line_of(node, text, match), match
    for line, text in file.comments():
        for match in words.find_in_prose(text):
            yield line + text.count("\n", 0, match.start), match


def _check_page(text: str, words: WordList) -> Iterator[tuple[int, _Match]]:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    for match in words.find_in_prose(text):
        yield bisect_right(starts, match.start), match


def check_file(path: Path, words: WordList) -> list[Finding]:
    """What is wrong in a Python file, a page or a script and in its name, by lines; else []."""
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    if path.suffix not in {".py", ".md", ".js", ".css", ".html"}:
        return []
    check = _check_python if path.suffix == ".py" else _check_page
    matches = [(1, match) for part in shown.parts for match in words.find_words(part)]
    matches += check(path.read_text(encoding="utf-8"), words)
    return sorted({Finding(shown, line, each.found, each.replacement) for line, each in matches})


def find_files() -> list[Path]:
    """All files of the repository that the list holds for."""
    found = [ROOT / page for page in PAGES if (ROOT / page).exists()]
    for folder in FOLDERS:
        for pattern in ("*.py", "*.md", "*.js", "*.css", "*.html"):
            found += (ROOT / folder).rglob(pattern)
    ignored = {"__pycache__", "out"}  # the demo writes into the second
    return sorted(path for path in found if not ignored.intersection(path.parts))


def load_words() -> WordList:
    return WordList(WORDS_FILE.read_text(encoding="utf-8").splitlines())


def main(arguments: Sequence[str]) -> int:
    words = load_words()
    files = [Path(argument).resolve() for argument in arguments] or find_files()
    findings = [finding for path in files for finding in check_file(path, words)]
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The pages: links and anchors resolve, lines and table cells are short, quoted files exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md")) + [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")
]
MAX_COLUMNS = 120
BASES = (ROOT, ROOT / "trio_afrender", ROOT / "tests")
"""Folders that quoted file names are relative to, besides the page's own."""
MADE = {"examples/cornell/out"}
"""Quoted paths that a command makes and a fresh clone lacks."""

FENCE = re.compile(r"\s*(```|~~~)")
CODE_SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"#{1,6} +(.+?) *#*$")
FILE_NAME = re.compile(
    r"(?:tests|docs|examples)/[\w./-]+"  # files and folders that only this project has
    r"|[\w.-]+/[\w./-]+\.(?:py|md)"  # a file below a package, as `agent/session.py`
    r"|test_\w+\.py"
)
PLACEHOLDER = re.compile(r"[A-Z]{3}|^studio/")
"""`NAME.py` is a name to choose, `studio/` the folder of a studio."""


@attrs.frozen
class Line:
    """One line of a page. `kind` is ``code``, ``table`` or ``prose``."""

    number: int
    text: str
    kind: str


def split_page(text: str) -> Iterator[Line]:
    """Each line with its kind. A fence and what it encloses are code, indented by four or more too."""
    fenced = in_list = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line) is not None
        if line.strip() and not line.startswith(" "):
            in_list = re.match(r"([-*]|\d+\.) ", line) is not None
        # Text of a list item is indented, too, by up to three columns; code in it by seven or more.
        indented = line.startswith(" " * (7 if in_list else 4))
        if fenced or fence or indented:
            kind = "code"
        else:
            kind = "table" if line.lstrip().startswith("|") else "prose"
        fenced ^= fence
        yield Line(number, line, kind)


def find_anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    anchors: set[str] = set()
    for line in split_page(text):
        heading = HEADING.match(line.text) if line.kind == "prose" else None
        if heading is None:
            continue
        title = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading[1])
        base = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number, anchor = 0, base
        while anchor in anchors:
            number += 1
            anchor = f"{base}-{number}"
        anchors.add(anchor)
    return anchors


@cache
def anchors_of(page: Path) -> set[str]:
    return find_anchors(page.read_text(encoding="utf-8"))


def check_links(page: Path, lines: list[Line]) -> Iterator[tuple[int, str]]:
    """Links to files and anchors that do not exist. Links to other sites are not followed."""
    for line in lines:
        if line.kind == "code":
            continue
        for target in LINK.findall(CODE_SPAN.sub("", line.text)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                yield line.number, f"link to {target}: there is no such file"
            elif anchor and (file.suffix != ".md" or anchor not in anchors_of(file)):
                yield line.number, f"link to {target}: there is no such heading"


def check_lengths(page: Path, lines: list[Line]) -> Iterator[tuple[int, str]]:
    """Lines of prose and cells of tables that are too long. Code may be as long as it is."""
    del page
    for line in lines:
        if line.kind == "prose" and len(line.text) > MAX_COLUMNS:
            yield line.number, f"{len(line.text)} columns, at most {MAX_COLUMNS}"
        elif line.kind == "table":
            for cell in re.split(r"(?<!\\)\|", line.text):
                if len(cell.strip()) > MAX_COLUMNS:
                    yield (
                        line.number,
                        f"a cell of {len(cell.strip())} characters, at most {MAX_COLUMNS}",
                    )


def check_files(page: Path, lines: list[Line]) -> Iterator[tuple[int, str]]:
    """Quoted file names of this project that do not exist."""
    for line in lines:
        quoted = [line.text] if line.kind == "code" else CODE_SPAN.findall(line.text)
        for word in " ".join(quoted).split():
            name = word.strip("\"'`(),;:").removesuffix("/").removesuffix(".")
            if not FILE_NAME.fullmatch(name) or PLACEHOLDER.search(name) or name in MADE:
                continue
            # In code, a path may be relative to any folder but those that only this project has.
            if line.kind == "code" and not re.match(r"(tests|docs|examples)/", name):
                continue
            if not exists(name, page.parent):
                yield line.number, f"`{name}`: there is no such file"


def exists(name: str, folder: Path) -> bool:
    if "/" not in name:
        return any((ROOT / "tests").rglob(name))
    return any((base / name).exists() for base in (folder, *BASES))


CHECKS = (check_links, check_lengths, check_files)


@pytest.mark.parametrize("check", CHECKS)
def test_pages(check: Callable[[Path, list[Line]], Iterator[tuple[int, str]]]) -> None:
    findings = []
    for page in PAGES:
        lines = list(split_page(page.read_text(encoding="utf-8")))
        shown = page.relative_to(ROOT)
        findings += [f"{shown}:{number}: {problem}" for number, problem in check(page, lines)]
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


def check_text(text: str, page: Path = ROOT / "README.md") -> list[str]:
    lines = list(split_page(text))
    return [f"{number}: {text}" for check in CHECKS for number, text in check(page, lines)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n[a](nowhere.md)", "2: link to nowhere.md: there is no such file"),
        (
            "[a](docs/index.md#nowhere)",
            "1: link to docs/index.md#nowhere: there is no such heading",
        ),
        ("x" * 121, "1: 121 columns, at most 120"),
        ("- x\n  " + "x" * 119, "2: 121 columns, at most 120"),
        (f"| a | {'x' * 121} |", "1: a cell of 121 characters, at most 120"),
        ("`tests/unit/test_nothing.py`", "1: `tests/unit/test_nothing.py`: there is no such file"),
        ("`test_nothing.py`,", "1: `test_nothing.py`: there is no such file"),
        ("see `agent/nothing.py`.", "1: `agent/nothing.py`: there is no such file"),
        ("    python tests/nothing.py 3", "1: `tests/nothing.py`: there is no such file"),
    ],
)
def test_what_is_found(text: str, problem: str) -> None:
    assert check_text(text) == [problem]


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/index.md), [b](https://nowhere.example/x), `[c](nowhere.md)`",
        "    [a](nowhere.md)",
        "```\n[a](nowhere.md)\n" + "x" * 200 + "\n```",
        "1. x\n\n       " + "x" * 200,
        "| " + "x" * 100 + " | " + "x" * 100 + r" \| a |",
        "`agent/session.py`, `support/cli.py`, `test_docs_pages.py`, `tests/unit/`",
        "`tests/unit/test_NAME.py`, `studio/parsers/moth.py`, `examples/cornell/out/`",
        "    python parsers/moth.py",
    ],
)
def test_what_is_permitted(text: str) -> None:
    assert check_text(text) == []


def test_anchors_are_those_of_github() -> None:
    text = "# One, `two`: (3)!\n## Same\n### Same\n```\n# code\n```\n## a_b [c](d.md)-e\n"
    assert find_anchors(text) == {"one-two-3", "same", "same-1", "a_b-c-e"}

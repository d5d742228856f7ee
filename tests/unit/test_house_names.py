"""One name means one thing: public classes, modules, and no word of a private language."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.private_words import check_file, find_files, load_words

ROOT = Path(__file__).resolve().parents[2]
REPEATABLE = {"__init__", "__main__", "interfaces", "settings"}
"""Module names that may stand in several packages."""
COMMANDS = ROOT / "trio_afrender" / "cli" / "commands"
"""Modules here are named after the commands of the program, other modules after concepts."""


def modules_of(package: str) -> list[Path]:
    found = (ROOT / package).rglob("*.py")
    return sorted(path for path in found if "__pycache__" not in path.parts)


def describe_repeated(places: Iterable[tuple[str, str]]) -> str:
    """A line for each name that stands in several places; empty if there is none."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, place in places:
        found[name].append(place)
    repeated = {name: listed for name, listed in found.items() if len(listed) > 1}
    return "\n".join(f"{name}: {', '.join(repeated[name])}" for name in sorted(repeated))


@pytest.mark.parametrize("package", ["trio_afrender", "services", "parsers", "resmeters"])
def test_a_public_class_name_means_one_thing(package: str) -> None:
    """Each package by itself: Afanasy's contract gives a service and its parser the same name."""
    places = [
        (node.name, f"{path.relative_to(ROOT)}:{node.lineno}")
        for path in modules_of(package)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    if repeated := describe_repeated(places):
        pytest.fail(f"public class names that stand twice:\n{repeated}", pytrace=False)


def test_a_module_name_stands_once() -> None:
    places = [
        (path.stem, str(path.relative_to(ROOT)))
        for path in modules_of("trio_afrender")
        if path.stem not in REPEATABLE and path.parent != COMMANDS
    ]
    if repeated := describe_repeated(places):
        pytest.fail(f"module names that stand twice:\n{repeated}", pytrace=False)


def test_no_private_words() -> None:
    """In code and pages; `tests/data/private_words.txt` is the list."""
    words = load_words()
    findings = [str(finding) for path in find_files() for finding in check_file(path, words)]
    if findings:
        listed = "\n".join(findings)
        pytest.fail(f"{len(findings)} private words:\n{listed}", pytrace=False)

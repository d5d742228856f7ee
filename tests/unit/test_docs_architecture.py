"""The package map and the file names in docs/architecture.md are those of the source."""

from __future__ import annotations

import ast
import re

import pytest
from support.layers import LAYERS, OWN_PACKAGES, PACKAGE, ROOT

PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- packages: generated from the docstrings, checked by tests/unit/test_docs_architecture.py -->"
END = "<!-- end of packages -->"


def package_map() -> str:
    """Return the map: a row for each package or module, in the order in which they may import."""
    rows = ["| package | what it is |", "|---|---|"]
    for name in (name for layer in LAYERS for name in layer if name != "__main__"):
        folder = PACKAGE / name
        path = folder / "__init__.py" if folder.is_dir() else PACKAGE / f"{name}.py"
        rows.append(f"| `{name}` | {first_line(path.read_text(encoding='utf-8'))} |")
    for name in OWN_PACKAGES[1:]:
        text = (ROOT / name / "__init__.py").read_text(encoding="utf-8")
        rows.append(f"| `{name}` (top level) | {first_line(text)} |")
    return "\n".join(rows)


def first_line(source: str) -> str:
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def test_the_package_map_follows_the_docstrings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert BEGIN in text
    assert END in text
    found = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert found == package_map(), "replace the table by what `package_map()` returns"


def named_files() -> list[str]:
    return sorted(set(re.findall(r"`([\w./]+\.py)`", PAGE.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("name", named_files())
def test_every_file_that_the_page_names_exists(name: str) -> None:
    assert (PACKAGE / name).exists() or (ROOT / name).exists() or list(PACKAGE.rglob(name)), name


def test_the_page_names_files() -> None:
    assert len(named_files()) > 20

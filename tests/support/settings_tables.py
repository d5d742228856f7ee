"""The tables of settings of docs/command-line.md, made from the declarations.

    python tests/support/settings_tables.py

writes them into the page, in place of the tables that it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trio_afrender.config.settings import CGRU, OURS, PREFIX, SettingSpec

__all__ = ("PAGE", "make_table")

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
_TITLES = {"CGRU's key": CGRU, "key": OURS}


def make_table(specs: Iterable[SettingSpec]) -> str:
    """Return a table of Markdown with a row for each setting."""
    specs = list(specs)
    title = "key" if specs[0].key.startswith(PREFIX) else "CGRU's key"
    rows = [
        f"| `{spec.key.removeprefix(PREFIX)}` | {spec.shown or _show_default(spec)} | {spec.text} |\n"
        for spec in specs
    ]
    return f"| {title} | default | meaning |\n|---|---|---|\n{''.join(rows)}"


def _show_default(spec: SettingSpec) -> str:
    match spec.default:
        case bool():
            return str(spec.default).lower()
        case 0 if spec.unit:
            return f"0: none, in {spec.unit}"
        case int() | float():
            unit = spec.unit.removesuffix("s") if spec.default == 1 else spec.unit
            return f"{spec.default:.15g} {unit}".rstrip()
        case str(text) if text:
            return f"`{text}`"
        case list(items) if items:
            return " ".join(f"`{item}`" for item in items)
        case _:
            return "none"


def _replace_table(page: str, title: str, table: str) -> str:
    before, _, rest = page.partition(f"\n| {title} | default | meaning |\n")
    _, _, after = rest.partition("\n\n")
    return f"{before}\n{table}\n{after}"


if __name__ == "__main__":
    page = PAGE.read_text()
    for title, specs in _TITLES.items():
        page = _replace_table(page, title, make_table(specs.values()))
    PAGE.write_text(page)

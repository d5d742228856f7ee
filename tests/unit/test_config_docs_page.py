"""docs/command-line.md lists every setting with its default and unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_afrender.config.keys import CGRU, NESTED, OURS, Key

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *CGRU.items(),
        *((name, key) for name, key in OURS.items() if key.kind not in NESTED),
        *((f"{kind}.{name}", key) for kind, keys in NESTED.items() for name, key in keys.items()),
    ],
)
def test_the_page_has_a_row_for_each_setting(name: str, key: Key) -> None:
    [row] = [row for row in ROWS if f"`{name}`" in row.split("|")[1]]
    if isinstance(key.default, bool):
        assert str(key.default).lower() in row
    elif isinstance(key.default, int | float):
        assert f"{key.default:g}" in row or str(key.default) in row
        assert key.unit.removesuffix("s") in row

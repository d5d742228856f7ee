"""The example that docs/testing.md asks people to paste works as it stands there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


def examples() -> list[tuple[str, str]]:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [
        (name, block) for block in blocks for name in re.findall(r"async def (test_\w+)", block)
    ]


@pytest.mark.parametrize(("name", "block"), examples(), ids=[name for name, _ in examples()])
def test_example(name: str, block: str) -> None:
    space: dict[str, object] = {}
    exec(compile(block, str(PAGE), "exec"), space)  # noqa: S102 - that is what a reader does
    test = space[name]
    assert inspect.iscoroutinefunction(test)
    clock = MockClock(autojump_threshold=0)
    trio.run(test, clock, clock=clock)


def test_there_is_an_example() -> None:
    assert examples()

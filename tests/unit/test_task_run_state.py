"""The state of a run has one writer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import trio_afrender
from trio_afrender.task.run_state import RunState
from trio_afrender.task.task_control import TaskControl

PACKAGE = Path(trio_afrender.__file__).parent
WRITERS = {RunState: "run_state", TaskControl: "task_control"}
CHANGING = {"add", "append", "clear", "discard", "extend", "pop", "remove", "update"}


def written(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each attribute of another object that is set, deleted or changed."""
    for node in ast.walk(tree):
        found = None
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            found = node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if node.func.attr in CHANGING and isinstance(inner, ast.Attribute):
                found = inner
        if found is None or (isinstance(found.value, ast.Name) and found.value.id == "self"):
            continue
        yield found.lineno, found.attr


@pytest.mark.parametrize("written_class", [RunState, TaskControl])
def test_the_state_of_a_run_has_one_writer(written_class: type) -> None:
    # `why` is a log, to which each part of a run adds.
    fields = {field.name for field in attrs.fields(written_class)} - {"why"}
    files = [
        path
        for package in ("task", "agent")
        for path in (PACKAGE / package).rglob("*.py")
        if path.stem != WRITERS[written_class]
    ]
    assert len(files) > 30
    assert [
        f"{path.name}:{line} {name}"
        for path in files
        for line, name in written(ast.parse(path.read_text(encoding="utf-8")))
        if name in fields
    ] == []


def test_a_second_writer_is_found() -> None:
    source = "state.pid = 1\nself._state.flags.update(x)\ndel state.usage\nself.pid = 2\nstate.pid"
    assert {name for _, name in written(ast.parse(source))} == {"flags", "pid", "usage"}

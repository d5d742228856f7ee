"""The house rules that can be read from the source: who imports whom, who knows the platform."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import trio_afrender

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "trio_afrender"

FIRST_LINE = ("errors", "config", "pathmap", "frames", "backoff", "thumbnail")
ROOMS = (
    FIRST_LINE,
    ("messages",),
    ("wire",),
    ("output",),
    ("keeper",),
    ("child",),
    ("plugins",),
    ("host",),
    ("task",),
    ("link",),
    ("agent",),
    ("farm",),
    ("gateway",),
    ("testing",),
    ("cli", "__main__"),
)
"""Each line may import from the lines above it (and within itself), never from below."""
LEVEL = {room: level for level, line in enumerate(ROOMS) for room in line}
FORBIDDEN = {"farm": {"agent", "task"}, "gateway": {"agent", "task"}}
NO_TRIO = (
    *("errors", "config", "pathmap", "frames", "backoff", "thumbnail", "messages", "wire"),
    "keeper",
)


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions; TYPE_CHECKING counts too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path))
    found = {part[1] for part in parts if part[0] == "trio_afrender" and len(part) > 1}
    return {room for room in found if room in LEVEL}


@pytest.mark.parametrize("path", sources(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return  # the package's own face re-exports what it likes
    assert room in LEVEL, f"{room} has no place in the house: give it one here and in the docs"
    for other in rooms_imported(path):
        assert LEVEL[other] <= LEVEL[room], f"{path.name} reaches from {room} down to {other}"
        assert other not in FORBIDDEN.get(room, ()), f"{room} reaches into {other}"


@pytest.mark.parametrize("folder", ["services", "parsers", "resmeters"])
def test_plugins_import_the_first_line_only(folder: str) -> None:
    for path in sources(ROOT / folder):
        assert rooms_imported(path) <= set(FIRST_LINE), path


def test_nothing_imports_a_plugin() -> None:
    """Plugins are reached by name: the plugin host is the only door."""
    plugins = {"services", "parsers", "resmeters"}
    for path in sources(PACKAGE):
        if room_of(path) != "plugins":
            assert not plugins & {name.split(".")[0] for name in imports(path)}, path


def test_only_child_knows_the_platform() -> None:
    for path in sources(PACKAGE):
        if room_of(path) == "child":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("sys", "platform"), ("os", "name")}, path


@pytest.mark.parametrize("room", NO_TRIO)
def test_values_and_rules_know_no_trio(room: str) -> None:
    paths = sources(PACKAGE / room) if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]
    for path in paths:
        assert "trio" not in {name.split(".")[0] for name in imports(path)}, path


def test_every_public_name_can_be_had() -> None:
    for name in trio_afrender.__all__:
        assert getattr(trio_afrender, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = trio_afrender.nonsense


def test_modules_say_what_they_export() -> None:
    """A tuple `__all__` in every module, and every name in it is there."""
    for info in pkgutil.walk_packages([str(PACKAGE)], "trio_afrender."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        if info.ispkg and not hasattr(module, "__all__"):
            continue  # a room without a face of its own
        assert isinstance(module.__all__, tuple), info.name
        for name in module.__all__:
            assert hasattr(module, name), f"{info.name} lacks {name}"


def test_the_project_speaks_of_itself_alone() -> None:
    """No absolute paths of somebody's machine in what ships."""
    marks = ("/" + "work/", "/" + "root/")
    made = {"__pycache__", "out"}  # not ours: the second is what the demo renders
    for folder in ("trio_afrender", "services", "parsers", "resmeters", "examples", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".json", ".sh"} and not made.intersection(path.parts):
                text = path.read_text(encoding="utf-8")
                assert not any(mark in text for mark in marks), path

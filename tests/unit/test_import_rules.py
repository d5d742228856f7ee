"""Rules that can be read from the source: import direction, where the platform may be tested."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest
from support.layers import BASE, LAYERS, OWN_PACKAGES, PACKAGE, ROOT

import trio_afrender
from trio_afrender import errors

LEVEL = {package: level for level, layer in enumerate(LAYERS) for package in layer}
FORBIDDEN = {"farm": {"agent", "task"}, "gateway": {"agent", "task"}}
NO_TRIO = (*BASE, "protocol", "config", "jobs", "supervisor")


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


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def packages_imported(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path))
    found = {part[1] for part in parts if part[0] == "trio_afrender" and len(part) > 1}
    return {package for package in found if package in LEVEL}


@pytest.mark.parametrize("path", sources(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: Path) -> None:
    package = package_of(path)
    if package == "__init__":
        return  # trio_afrender/__init__.py re-exports public names
    assert package in LEVEL, f"{package} is in no layer: add it here and to docs/architecture.md"
    for other in packages_imported(path):
        assert LEVEL[other] <= LEVEL[package], f"{path.name} reaches from {package} down to {other}"
        assert other not in FORBIDDEN.get(package, ()), f"{package} reaches into {other}"


@pytest.mark.parametrize("folder", ["services", "parsers", "resmeters"])
def test_plugins_import_base_and_config_only(folder: str) -> None:
    for path in sources(ROOT / folder):
        assert packages_imported(path) <= {*BASE, "config"}, path


def test_nothing_imports_a_plugin() -> None:
    """Plugins are loaded by name, by the package `plugins` alone."""
    plugins = {"services", "parsers", "resmeters"}
    for path in sources(PACKAGE):
        if package_of(path) != "plugins":
            assert not plugins & {name.split(".")[0] for name in imports(path)}, path


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def own_imports() -> dict[str, set[str]]:
    """The modules of the project that each of its modules imports.

    ``from package import module`` counts as an import of the module alone. Python runs the package
    first, but that does not make the importing module depend on the package's other modules.
    """
    paths = [path for package in OWN_PACKAGES for path in sources(ROOT / package)]
    modules = {module_of(path): path for path in paths}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = graph[module] = set[str]()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                found.update(name if name in modules else node.module or "" for name in names)
        found &= modules.keys()
    return graph


def find_import_cycles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Name import cycles as ``a -> b -> a``. The first import of each is then left out, so that the
    search finds the next one."""
    graph = {module: set(imported) for module, imported in graph.items()}
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1][::-1]  # graphlib lists what is imported first
            yield " -> ".join(cycle)
            graph[cycle[0]].discard(cycle[1])
        else:
            return


def test_no_import_cycles() -> None:
    """Imports under TYPE_CHECKING and in functions count: a reader has to open both modules."""
    cycles = list(find_import_cycles(own_imports()))
    if cycles:
        listed = "\n".join(cycles)
        pytest.fail(f"{len(cycles)} import cycles:\n{listed}", pytrace=False)


def test_import_cycles_are_found_and_named() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set[str](), "e": {"f"}, "f": {"e"}}
    cycles = list(find_import_cycles(graph))
    assert len(cycles) == 2
    assert {frozenset(cycle.split(" -> ")) for cycle in cycles} == {
        frozenset("abc"),
        frozenset("ef"),
    }
    for cycle in cycles:
        steps = cycle.split(" -> ")
        assert steps[0] == steps[-1]
        assert all(after in graph[before] for before, after in pairwise(steps))


def test_only_process_tests_the_platform() -> None:
    for path in sources(PACKAGE):
        if package_of(path) == "process":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("sys", "platform"), ("os", "name")}, path


@pytest.mark.parametrize("package", NO_TRIO)
def test_values_and_rules_import_no_trio(package: str) -> None:
    paths = (
        sources(PACKAGE / package) if (PACKAGE / package).is_dir() else [PACKAGE / f"{package}.py"]
    )
    for path in paths:
        assert "trio" not in {name.split(".")[0] for name in imports(path)}, path


def test_every_public_name_can_be_imported() -> None:
    for name in trio_afrender.__all__:
        assert getattr(trio_afrender, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = trio_afrender.nonsense


def test_public_names_are_those_that_type_checkers_see() -> None:
    """Each is imported under TYPE_CHECKING, and found at run time in the module that it comes from."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: getattr(importlib.import_module(node.module or ""), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "typing")
        for alias in node.names
    }
    assert seen.keys() == set(trio_afrender.__all__)
    for name, value in seen.items():
        assert getattr(trio_afrender, name) is value


def test_public_names_can_be_listed() -> None:
    assert set(trio_afrender.__all__) <= set(dir(trio_afrender))
    assert list(trio_afrender.__all__) == sorted(trio_afrender.__all__)


def test_all_errors_are_public() -> None:
    """A program can catch each by the name of the package."""
    public = {name for name in errors.__all__ if not name.startswith("is_")}
    missing = public - set(trio_afrender.__all__)
    assert not missing, "add them to trio_afrender/__init__.py: to the imports and to __all__"


def test_modules_say_what_they_export() -> None:
    """A tuple `__all__` in every module, and every name in it is there."""
    for info in pkgutil.walk_packages([str(PACKAGE)], "trio_afrender."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        if info.ispkg and not hasattr(module, "__all__"):
            continue  # a package that exports nothing itself
        assert isinstance(module.__all__, tuple), info.name
        for name in module.__all__:
            assert hasattr(module, name), f"{info.name} lacks {name}"


def test_the_project_speaks_of_itself_alone() -> None:
    """What ships has no absolute paths of the machine it was written on."""
    marks = ("/" + "work/", "/" + "root/")
    made = {"__pycache__", "out"}  # not ours: the second is what the demo renders
    for folder in ("trio_afrender", "services", "parsers", "resmeters", "examples", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".json", ".sh"} and not made.intersection(path.parts):
                text = path.read_text(encoding="utf-8")
                assert not any(mark in text for mark in marks), path

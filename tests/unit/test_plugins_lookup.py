"""Lookup and loading of plugins: search order, imports between plugins, changed and broken files."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from support.plugins import PLUGINS

from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins.loader import PluginFolder, import_builtin
from trio_afrender.plugins.lookup import is_builtin, list_plugins, load_class, near


def write(folder: Path, kind: str, name: str, body: str) -> Path:
    """Write a plugin with an mtime that differs from that of any earlier version (Windows counts 100 ns)."""
    path = folder / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat().st_mtime_ns if path.exists() else 1_000_000_000
    path.write_text(body, encoding="utf-8")
    os.utime(path, ns=(before + 1000, before + 1000))
    return path


def parser_of(name: str, mark: str, base: str = "parser") -> str:
    return (
        f"from parsers import {base}\n"
        f"class {name}({base}.{base}):\n"
        f"    mark = {mark!r}\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["", "../generic", "generic.py", "a.b", "a b", "1a", "a/b", "é", "a\nb", "x" * 65, "\x1b[2J"],
)
@pytest.mark.parametrize("kind", ["service", "parser", "meter"])
def test_only_identifiers_are_names(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(PluginNotFound) as caught:
        load_class(kind, name, [tmp_path])
    assert str(caught.value).isprintable()


def test_the_first_folder_precedes_the_built_in_plugins(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    write(second, "parsers", "both", parser_of("both", "second"))
    write(second, "parsers", "generic", parser_of("generic", "foreign"))
    folders = [first, second]
    assert vars(load_class("parser", "both", folders))["mark"] == "second"
    write(first, "parsers", "both", parser_of("both", "first"))
    assert vars(load_class("parser", "both", folders))["mark"] == "first"
    assert vars(load_class("parser", "generic", folders))["mark"] == "foreign"
    assert is_builtin(load_class("parser", "generic"))
    assert not is_builtin(load_class("parser", "generic", folders))


def test_the_base_classes_are_always_the_built_in_ones(tmp_path: Path) -> None:
    write(tmp_path, "parsers", "parser", "class parser: pass\n")
    write(tmp_path, "services", "service", "class service: pass\n")
    write(tmp_path, "parsers", "mine", parser_of("mine", ""))
    ours = import_builtin("parser", "parser")
    assert ours is not None
    assert load_class("parser", "parser", [tmp_path]) is vars(ours)["parser"]
    assert is_builtin(load_class("service", "service", [tmp_path]))
    assert issubclass(load_class("parser", "mine", [tmp_path]), vars(ours)["parser"])


def test_a_plugin_imports_from_its_folder_first(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        write(folder, "parsers", "near", parser_of("near", folder.name))
        write(
            folder, "parsers", "top", parser_of("top", "", base="near").replace("    mark", "    m")
        )
    write(one, "parsers", "ours", parser_of("ours", "", base="generic"))
    assert load_class("parser", "top", [one]).mark == "one"  # type: ignore[attr-defined]  # made here
    assert load_class("parser", "top", [two]).mark == "two"  # type: ignore[attr-defined]  # made here
    assert issubclass(load_class("parser", "ours", [one]), load_class("parser", "generic"))


@pytest.mark.parametrize(
    "head",
    [
        "from parsers.near import near",
        "from .near import near",
        "from . import near as n\nnear = n.near",
        "import parsers.near\nnear = parsers.near.near",
        "import parsers.near as n\nnear = n.near",
        "def late():\n    from parsers import near\n    return near.near\nnear = late()",
    ],
)
def test_all_ways_to_import_a_neighbour(head: str, tmp_path: Path) -> None:
    write(tmp_path, "parsers", "near", parser_of("near", "mark"))
    write(tmp_path, "parsers", "top", f"{head}\nclass top(near): pass\n")
    assert load_class("parser", "top", [tmp_path]).mark == "mark"  # type: ignore[attr-defined]  # made here
    assert "near" not in sys.modules
    assert "parsers.near" not in sys.modules


def test_services_reach_parsers_of_their_folder(tmp_path: Path) -> None:
    write(tmp_path, "parsers", "near", parser_of("near", "mark"))
    body = "from parsers import near\nfrom services import service\n"
    write(tmp_path, "services", "user", f"{body}class user(service.service): near = near.near\n")
    assert vars(load_class("service", "user", [tmp_path]))["near"].mark == "mark"


def test_a_changed_file_is_loaded_again_and_the_old_class_stays_usable(tmp_path: Path) -> None:
    write(tmp_path, "parsers", "changing", parser_of("changing", "old"))
    old = load_class("parser", "changing", [tmp_path])
    assert load_class("parser", "changing", [tmp_path]) is old
    write(tmp_path, "parsers", "changing", parser_of("changing", "new"))
    new = load_class("parser", "changing", [tmp_path])
    assert (vars(old)["mark"], vars(new)["mark"]) == ("old", "new")
    assert new.__module__ in sys.modules
    assert old.__module__ not in sys.modules


def test_a_change_of_an_imported_plugin_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, "parsers", "deep", parser_of("deep", "old"))
    write(tmp_path, "parsers", "mid", "from parsers import deep\nclass mid(deep.deep): pass\n")
    write(tmp_path, "parsers", "top", "from parsers import mid\nclass top(mid.mid): pass\n")
    assert load_class("parser", "top", [tmp_path]).mark == "old"  # type: ignore[attr-defined]  # made here
    write(tmp_path, "parsers", "deep", parser_of("deep", "new"))
    assert load_class("parser", "top", [tmp_path]).mark == "new"  # type: ignore[attr-defined]  # made here


def test_circular_imports_end(tmp_path: Path) -> None:
    write(tmp_path, "parsers", "yin", "from parsers import yang\nclass yin: other = yang\n")
    write(tmp_path, "parsers", "yang", "from parsers import yin\nclass yang: other = yin\n")
    found = vars(load_class("parser", "yin", [tmp_path]))["other"]
    assert found.yang.other.__name__ == found.yang.other.yin.__module__


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("class broken(:\n", "SyntaxError"),
        ("import nowhere_at_all\n", "nowhere_at_all"),
        ("from parsers import nowhere_at_all\n", "nowhere_at_all"),
        ("raise ValueError('at import')\n", "at import"),
        ("import sys; sys.exit(3)\n", "SystemExit"),
        ("1/0\n", "ZeroDivisionError"),
    ],
)
def test_a_broken_file_is_an_error_with_its_traceback(body: str, seen: str, tmp_path: Path) -> None:
    path = write(tmp_path, "parsers", "broken", body)
    before = set(sys.modules)
    with pytest.raises(PluginError, match=r"broken\.py") as caught:
        load_class("parser", "broken", [tmp_path])
    assert not isinstance(caught.value, PluginNotFound)
    assert seen in caught.value.details
    assert str(path) in caught.value.details
    assert not [name for name in set(sys.modules) - before if "_broken_" in name]
    write(tmp_path, "parsers", "broken", parser_of("broken", "fixed"))
    assert vars(load_class("parser", "broken", [tmp_path]))["mark"] == "fixed"


def test_the_class_name_may_differ_from_the_module_name_in_case(tmp_path: Path) -> None:
    write(tmp_path, "parsers", "ftrack", "class Ftrack: pass\n")
    write(tmp_path, "parsers", "other", "class different: pass\n")
    assert load_class("parser", "ftrack", [tmp_path]).__name__ == "Ftrack"
    with pytest.raises(PluginError, match='no class "other"'):
        load_class("parser", "other", [tmp_path])


def test_a_folder_without_sub_folders_has_modules_directly_in_it(tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text("class flat: pass\n", encoding="utf-8")
    assert load_class("parser", "flat", [tmp_path]).__name__ == "flat"
    (tmp_path / "services").mkdir()
    with pytest.raises(PluginNotFound):
        load_class("parser", "flat", [tmp_path])


def test_meters_are_found_in_resources(tmp_path: Path) -> None:
    write(tmp_path, "resources", "power", "class power: pass\n")
    assert load_class("meter", "power", [tmp_path]).__name__ == "power"
    assert "power" in list_plugins("meter", [tmp_path])


def test_listing_and_similar_names() -> None:
    ours = list_plugins("parser")
    assert {"generic", "blender", "ffmpeg", "mitsuba"} <= set(ours)
    assert "parser" not in ours
    assert not any(name.startswith("_") for name in ours)
    assert "counts" in list_plugins("parser", [PLUGINS])
    assert near("parser", "Blendr")[0] == "blender"
    with pytest.raises(PluginNotFound, match='did you mean "blender"') as caught:
        load_class("parser", "blendr")
    assert caught.value.near[0] == "blender"
    with pytest.raises(PluginNotFound) as caught:
        load_class("service", "zzzzqqqq")
    assert caught.value.near == ()


def announce(folder: Path, parsers: str) -> None:
    """Write a package with these entry points for parsers."""
    (folder / "announced_plugins.py").write_text(
        "from parsers.parser import parser\nclass announced(parser): pass\n", encoding="utf-8"
    )
    info = folder / "announced-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trio_afrender.parsers]\n{parsers}")


def test_a_package_may_have_plugins_as_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trio_afrender.plugins import lookup

    announce(
        tmp_path,
        "announced = announced_plugins:announced\ngeneric = announced_plugins:announced\n"
        "gone = announced_plugins:gone\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    lookup._entry_points.cache_clear()
    try:
        assert load_class("parser", "announced").__module__ == "announced_plugins"
        assert load_class("parser", "generic").__name__ == "announced"
        assert "announced" in list_plugins("parser")
        with pytest.raises(PluginError, match="entry point announced_plugins:gone"):
            load_class("parser", "gone")
        write(tmp_path, "parsers", "announced", parser_of("announced", "folder"))
        assert vars(load_class("parser", "announced", [tmp_path]))["mark"] == "folder"
    finally:
        lookup._entry_points.cache_clear()


def test_a_package_that_cannot_be_read_for_a_moment_keeps_its_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trio_afrender.plugins import lookup

    announce(tmp_path, "announced = announced_plugins:announced\n")
    monkeypatch.syspath_prepend(tmp_path)
    lookup._entry_points.cache_clear()

    def fail(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    try:
        with monkeypatch.context() as without:
            without.setattr(Path, "read_bytes", fail)
            with pytest.raises(OSError, match="Too many"):
                load_class("parser", "announced")
        assert load_class("parser", "announced").__module__ == "announced_plugins"
    finally:
        lookup._entry_points.cache_clear()


def test_built_in_plugins_are_found_beside_another_package_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An application that embeds the agent may have a package called `parsers`."""
    from types import ModuleType

    for name in [name for name in sys.modules if name.split(".")[0] == "parsers"]:
        monkeypatch.delitem(sys.modules, name)
    other = ModuleType("parsers")
    other.__path__ = ["/somewhere/else/parsers"]
    monkeypatch.setitem(sys.modules, "parsers", other)
    made = load_class("parser", "generic")
    assert is_builtin(made)
    assert issubclass(made, load_class("parser", "parser"))
    assert sys.modules["parsers"] is other


def test_the_import_system_of_the_process_is_not_changed(tmp_path: Path) -> None:
    before = (list(sys.meta_path), list(sys.path), list(sys.path_hooks))
    write(tmp_path, "parsers", "quiet", parser_of("quiet", ""))
    load_class("parser", "quiet", [tmp_path])
    assert (sys.meta_path, sys.path, sys.path_hooks) == before


def test_a_missing_folder_has_no_plugins(tmp_path: Path) -> None:
    assert list(PluginFolder(tmp_path / "no").names("parser")) == []
    assert PluginFolder(tmp_path / "no").find("parser", "x") is None

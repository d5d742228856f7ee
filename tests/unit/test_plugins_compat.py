"""CGRU's helper modules: only plugin files can import them, and they work as in CGRU."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.plugins import make_spec

from trio_afrender.config import PluginSettings
from trio_afrender.config.load import load_settings, make_config
from trio_afrender.errors import PluginError
from trio_afrender.plugins import compat, lookup
from trio_afrender.plugins.compat import (
    active_settings,
    afcommon,
    cgruconfig,
    cgrupathmap,
    cgrusequence,
    cgruutils,
)
from trio_afrender.plugins.lookup import load_class
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.tasklog.memory_log import MemoryLogStore

STUDIO = Path(__file__).parents[1] / "data" / "studio"
SETTINGS = PluginSettings(
    paths_map=(("/mnt/shows/", "/shows/"),),
    thumbnail_extensions=("exr",),
    post_limit=16.0,
    variables={"lumen_quality": 3, "af_render_nice": 5, "list": [1, 2]},
)


@pytest.fixture(autouse=True)
def _active_settings() -> Iterator[None]:
    active_settings.use(SETTINGS)
    yield
    active_settings.use(PluginSettings())


def write(path: Path, body: str) -> Path:
    """Write a module with an mtime that differs from that of any earlier version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat().st_mtime_ns if path.exists() else 1_000_000_000
    path.write_text(body, encoding="utf-8")
    os.utime(path, ns=(before + 1000, before + 1000))
    return path


def evaluate(folder: Path, head: str, found: str, kind: str = "parser") -> Any:  # noqa: ANN401 - any value
    """The value of the expression `found` in a plugin that begins with `head`."""
    subfolder = {"parser": "parsers", "service": "services", "meter": "resources"}[kind]
    write(folder / subfolder / "asks.py", f"{head}\nclass asks:\n    got = {found}\n")
    return vars(load_class(kind, "asks", [folder]))["got"]


# -- imports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(compat.NAMES))
@pytest.mark.parametrize("kind", ["parser", "service", "meter"])
def test_every_kind_of_plugin_imports_them(name: str, kind: str, tmp_path: Path) -> None:
    before = set(sys.modules)
    made = evaluate(tmp_path, f"import {name}", name, kind)
    assert made.__name__ == f"trio_afrender.plugins.compat.{name}"
    assert name not in set(sys.modules) - before
    with pytest.raises(ModuleNotFoundError):
        __import__(name)


@pytest.mark.parametrize(
    "head",
    [
        "from cgruutils import toStr",
        "import cgruutils as cu\ntoStr = cu.toStr",
        "def late():\n    import cgruutils\n    return cgruutils.toStr\ntoStr = late()",
        "toStr = __import__('cgruutils', globals(), locals(), ['toStr']).toStr",
    ],
)
def test_all_ways_to_import_them(head: str, tmp_path: Path) -> None:
    assert evaluate(tmp_path, head, "toStr(b'\\xc3\\xa4')") == "ä"


@pytest.mark.parametrize("name", sorted(compat.NAMES))
def test_files_of_the_same_name_do_not_replace_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The original cgruconfig creates files when it is imported, so it must never be imported here."""
    write(tmp_path / f"{name}.py", "raise OSError('imported the original')\n")
    write(tmp_path / "parsers" / f"{name}.py", "raise OSError('imported the original')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert evaluate(tmp_path, f"import {name}", f"{name}.__name__").startswith("trio_afrender.")


@pytest.mark.parametrize("name", sorted(compat.NAMES))
def test_a_missing_function_is_explained(name: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=f"{name} has no 'webbrowse' here"):
        evaluate(tmp_path, f"import {name}", f"{name}.webbrowse('x')")
    assert evaluate(tmp_path, f"import {name}", f"hasattr({name}, 'webbrowse')") is False
    with pytest.raises(PluginError, match="cannot import name 'webbrowse'"):
        evaluate(tmp_path, f"from {name} import webbrowse", "webbrowse")


# -- a studio's own modules -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ("import studiolib", "studiolib.NAME"),
        ("import studiolib.deep.leaf", "studiolib.deep.leaf.NAME"),
        ("import studiolib.deep.leaf as leaf", "leaf.NAME"),
        ("from studiolib.deep import leaf", "leaf.NAME"),
        ("from studiolib import deep", "deep.leaf.NAME"),
        ("from studiolib.deep.leaf import NAME", "NAME"),
        ("from studiolib import *", "plain.NAME"),
        ("from .. import studiotool", "studiotool.NAME"),
        ("from ..studiolib import plain", "plain.NAME"),
        ("import studiotool", "studiotool.NAME"),
        ("import beside", "beside.NAME"),
        ("from parsers import beside", "beside.NAME"),
        ("from . import beside", "beside.NAME"),
    ],
)
def test_modules_of_a_plugin_folder(head: str, found: str, tmp_path: Path) -> None:
    lib = tmp_path / "studiolib"
    write(lib / "__init__.py", "__all__ = ['plain']\nNAME = 'mark'\n")
    write(lib / "plain.py", "import cgruutils\nNAME = cgruutils.toStr(b'mark')\n")
    write(lib / "deep" / "__init__.py", "from . import leaf\n")
    write(lib / "deep" / "leaf.py", "from ..plain import NAME\nfrom studiolib import plain\n")
    write(tmp_path / "studiotool.py", "NAME = 'mark'\n")
    write(tmp_path / "parsers" / "beside.py", "NAME = 'mark'\n")
    before = (list(sys.path), {name for name in sys.modules if "studio" in name})
    assert evaluate(tmp_path, head, found) == "mark"
    ours = [name for name in sys.modules if name.split(".")[0] in ("studiolib", "studiotool")]
    assert (list(sys.path), ours) == (before[0], [])


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        ("import studiolib.nowhere", "studiolib.nowhere"),
        ("import studiolib.plain.nowhere", "studiolib.plain.nowhere"),
        ("from ..nowhere import x", "nowhere"),
        ("from .... import x", "beyond the plugin folder"),
        ("import nowhere_at_all", "nowhere_at_all"),
        ("from studiolib import nowhere", "cannot import name 'nowhere'"),
    ],
)
def test_a_missing_module_is_named(head: str, missing: str, tmp_path: Path) -> None:
    write(tmp_path / "studiolib" / "__init__.py", "")
    write(tmp_path / "studiolib" / "plain.py", "")
    with pytest.raises(PluginError, match=missing):
        evaluate(tmp_path, head, "0")


def test_a_plugin_with_the_name_of_a_library_imports_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "installed" / "tracker.py", "NAME = 'library'\n")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    write(
        tmp_path / "parsers" / "tracker.py", "import tracker\nclass tracker: got = tracker.NAME\n"
    )
    try:
        assert vars(load_class("parser", "tracker", [tmp_path]))["got"] == "library"
    finally:
        sys.modules.pop("tracker", None)
    write(tmp_path / "parsers" / "lonely.py", "import lonely\nclass lonely: pass\n")
    with pytest.raises(PluginError, match="No module named 'lonely'"):
        load_class("parser", "lonely", [tmp_path])


def test_helper_modules_do_not_replace_the_standard_library(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "parsers"):
        write(folder / "json.py", "NAME = 'theirs'\n")
    assert evaluate(tmp_path, "import json", "json.dumps(1)") == "1"


def test_helpers_of_a_flat_folder_lie_beside_the_plugins(tmp_path: Path) -> None:
    write(tmp_path / "flathelper.py", "NAME = 'mark'\n")
    write(tmp_path / "flat.py", "import flathelper, cgruutils\nclass flat: got = flathelper.NAME\n")
    assert vars(load_class("parser", "flat", [tmp_path]))["got"] == "mark"


def test_the_next_task_uses_a_changed_helper(tmp_path: Path) -> None:
    write(tmp_path / "studiolib" / "__init__.py", "")
    for value in ("old", "new"):
        write(tmp_path / "studiolib" / "leaf.py", f"NAME = {value!r}\n")
        write(tmp_path / "parsers" / "base.py", "from studiolib import leaf\n")
        if value == "old":
            got = evaluate(tmp_path, "from parsers import base", "base.leaf.NAME")
        else:
            got = vars(load_class("parser", "asks", [tmp_path]))["got"]
        assert got == value


def test_the_next_task_uses_a_changed_helper_that_was_imported_late(tmp_path: Path) -> None:
    write(tmp_path / "tool.py", "NAME = 'old'\n")
    body = "class late:\n    def get(self):\n        import tool\n        return tool.NAME\n"
    write(tmp_path / "services" / "late.py", body)
    first: Any = load_class("service", "late", [tmp_path])
    assert first().get() == "old"
    write(tmp_path / "tool.py", "NAME = 'new'\n")
    second: Any = load_class("service", "late", [tmp_path])
    assert second().get() == "new"


def test_a_class_derived_from_a_module_is_explained(tmp_path: Path) -> None:
    write(tmp_path / "parsers" / "wrong.py", "from parsers import maya\nclass wrong(maya): pass\n")
    with pytest.raises(PluginError, match=r"derived from a module: it must use module\.class"):
        load_class("parser", "wrong", [tmp_path])


# -- cgruconfig -----------------------------------------------------------------------------------


def test_vars_hold_the_settings() -> None:
    assert cgruconfig.VARS["pathsmap"] == [["/mnt/shows/", "/shows/"]]
    assert cgruconfig.VARS["af_thumbnail_extensions"] == ["exr"]
    assert cgruconfig.VARS["af_task_post_limit_sec"] == 16
    assert cgruconfig.getVar("lumen_quality") == 3
    assert cgruconfig.getVar("nothing") is None
    assert {"unix", "windows"} & set(cgruconfig.VARS["platform"])
    for name in ("HOSTNAME", "USERNAME", "HOME"):
        assert cgruconfig.VARS[name]


def test_vars_follow_changes_of_the_settings_and_do_not_alter_them() -> None:
    held = cgruconfig.VARS
    held["list"].append(3)
    held["mine"] = 1
    active_settings.use(attrs.evolve(SETTINGS))
    assert held["mine"] == 1  # equal settings: no update
    active_settings.use(attrs.evolve(SETTINGS, variables={"other": True}))
    assert cgruconfig.VARS is held
    assert held["other"] is True
    assert not {"mine", "lumen_quality"} & set(held)
    assert SETTINGS.variables["list"] == [1, 2]
    held["other"] = False
    cgruconfig.reconfigure()
    assert held["other"] is True


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"USER": "Ann"}, "ann"),
        ({"USER": "Ann", "AF_USERNAME": "STUDIO\\Bob"}, "bob"),
        ({"AF_USERNAME": "b", "CGRU_USERNAME": "studio/cy"}, "cy"),
    ],
)
def test_the_user_name_is_found_as_in_cgru(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CGRU_USERNAME", "AF_USERNAME", "USER", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    cgruconfig.reconfigure()
    assert cgruconfig.VARS["USERNAME"] == name


def test_a_user_that_the_host_does_not_know_has_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", refuse)
    cgruconfig.reconfigure()
    assert (cgruconfig.VARS["HOME"], cgruconfig.VARS["HOME_CGRU"]) == ("/", "/.cgru")


def test_the_default_thumbnail_command_can_be_formatted() -> None:
    command = cgruconfig.VARS["af_thumbnail_cmd"] % {"image": "/a b.exr", "thumbnail": "/t.jpg"}
    assert command.endswith(' -m trio_afrender.thumbnail -- "/a b.exr" "/t.jpg"')
    active_settings.use(attrs.evolve(SETTINGS, thumbnail_command="make %(image)s"))
    assert cgruconfig.VARS["af_thumbnail_cmd"] == "make %(image)s"


def test_vars_hold_keys_of_the_studio_but_not_those_of_the_agent(tmp_path: Path) -> None:
    own = {"lumen_quality": 7, "nested": {"a": [1]}, "-off": 1, "trio_afrender": {"max_tasks": 2}}
    path = write(tmp_path / "config.json", json.dumps({"cgru_config": own}))
    environment = {"HOME": str(tmp_path), "CGRU_LUMEN_QUALITY": "9"}
    config = make_config(load_settings(environment=environment, files=[path]))
    active_settings.use(config.plugin_settings())
    assert cgruconfig.VARS["lumen_quality"] == 9
    assert cgruconfig.VARS["nested"] == {"a": [1]}
    assert cgruconfig.VARS["af_render_nice"] == 10
    assert not [key for key in cgruconfig.VARS if key.startswith(("trio_afrender", "-"))]
    assert "nested" not in repr(config) + repr(config.plugin_settings())


# -- cgrupathmap ----------------------------------------------------------------------------------


def test_the_paths_map_has_the_names_of_cgru() -> None:
    pm = cgrupathmap.CompatPathMap()
    assert pm.initialized
    assert (pm.PathClient, pm.PathServer) == (["/mnt/shows/"], ["/shows/"])
    assert pm.toClient("cat /shows/a > /shows/b") == "cat /mnt/shows/a > /mnt/shows/b"
    assert pm.toServer(b"/mnt/shows/a", True) == "/shows/a"
    assert pm.translatePath("/shows/a", False, False) == "/mnt/shows/a"
    pm.init([])
    assert pm.toClient("/shows/a") == "/shows/a"


def test_a_paths_map_without_pairs_is_not_initialized() -> None:
    active_settings.use(PluginSettings())
    assert not cgrupathmap.CompatPathMap().initialized


def test_windows_paths_and_unix_separators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cgruconfig.VARS, "platform", ["windows"])
    monkeypatch.setitem(cgruconfig.VARS, "pathsmap", [["P:/", "/shows/"]])
    assert cgrupathmap.CompatPathMap().toClient("/shows/a/b") == "P:\\a\\b"
    assert cgrupathmap.CompatPathMap(UnixSeparators=True).toClient("/shows/a/b") == "P:/a/b"


def test_only_paths_of_a_file_are_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cgruconfig.VARS, "platform", ["windows"])
    monkeypatch.setitem(cgruconfig.VARS, "pathsmap", [["P:/", "/shows/"], ["T:/", "/tools/"]])
    log = tmp_path / "log"
    text = "12:30:01 step p: done, T: 0.5 s, ratio t:p 16:9\r\nget http://farm:80/a?b=P:/c\r\n"
    log.write_bytes(f"{text}saved P:\\a\\b.exr\r\n".encode())
    cgrupathmap.CompatPathMap().toServerFile(str(log), str(log))
    assert log.read_bytes() == f"{text}saved /shows/a/b.exr\r\n".encode()


def test_an_unusable_pair_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    pm = cgrupathmap.CompatPathMap()
    pm.init([["/a/", "/b/"], ["/a/", ""]], True)
    assert "pair 2 of the paths map is not used" in capsys.readouterr().out
    assert pm.initialized


def test_files_are_mapped_line_by_line(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.write_bytes(b"read /shows/a\r\nkeep /shows/b\n\xff /shows/c")
    pm = cgrupathmap.CompatPathMap()
    assert pm.toClientFile(str(scene), str(tmp_path / "all")) is True
    everything = b"read /mnt/shows/a\r\nkeep /mnt/shows/b\n\xff /mnt/shows/c"
    assert (tmp_path / "all").read_bytes() == everything
    assert pm.toClientFile(str(scene), str(scene), ["read", "\udcff"]) is True
    assert scene.read_bytes() == b"read /mnt/shows/a\r\nkeep /shows/b\n\xff /mnt/shows/c"
    assert pm.toServerFile(str(scene), str(scene), SearchStrings=["read"]) is True
    assert scene.read_bytes() == b"read /shows/a\r\nkeep /shows/b\n\xff /mnt/shows/c"
    with pytest.raises(FileNotFoundError):
        pm.toServerFile(str(tmp_path / "no"), str(scene))


# -- afcommon, cgrusequence, cgruutils ------------------------------------------------------------


def test_block_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert afcommon.checkBlockFlag(1 | 32, "skipthumbnails") == 32
    assert afcommon.checkBlockFlag(1, "skipthumbnails") == 0
    assert afcommon.setBlockFlag(1, "checkrenderedfiles") == 129
    assert afcommon.checkBlockFlag(255, "skipthumbs") == 0
    assert afcommon.setBlockFlag(255, "skipthumbs") == 255
    assert 'no block flag "skipthumbs"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("function", "text", "pattern"),
    [
        (afcommon.patternFromDigits, "/a/b.####.exr", "/a/b.@####@.exr"),
        (afcommon.patternFromDigits, "/a@##@/b.#.exr", "/a@##@/b.@#@.exr"),
        (afcommon.patternFromDigits, "/a/b.exr", "/a/b.exr"),
        (afcommon.patternFromStdC, "/a/b.%04d.exr", "/a/b.@####@.exr"),
        (afcommon.patternFromStdC, "/a%d/b.%s", "/a@#@/b.%s"),
        (afcommon.patternFromFile, "/a1/b.0012.exr", "/a1/b.@####@.exr"),
        (afcommon.patternFromFile, "/a/b12.tar.gz", "/a/b12.tar.gz"),
        (afcommon.patternFromFile, "12.exr", "@##@.exr"),
        (afcommon.patternFromFile, "noext", "noext"),
        (afcommon.filterFileName, "a b/c:d.exr", "a_b_c_d.exr"),
    ],
)
def test_patterns(function: Callable[[str], str], text: str, pattern: str) -> None:
    assert function(text) == pattern
    assert afcommon.fillNumbers("@##@ @#@", 3, 5) == "03 5"


def test_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["/d/b.9.exr", "/d/a.010.exr", "/d/a.009.exr", "/d/b.10.exr", "/d/a.012.exr", "/d/x"]
    found = cgrusequence.cgruSequence(files, True)
    values = [(one["name"], one["seq"], one["first"], one["last"], one["count"]) for one in found]
    assert values == [
        ("/d/a.009.exr", True, 9, 10, 2),
        ("/d/a.012.exr", False, 12, 12, 1),
        ("/d/b.10.exr", False, 10, 10, 1),
        ("/d/b.9.exr", False, 9, 9, 1),
        ("/d/x", False, None, None, 1),
    ]
    assert (found[0]["prefix"], found[0]["suffix"], found[0]["padding"]) == (
        f"/d{os.sep}a.",
        ".exr",
        3,
    )
    assert capsys.readouterr().out.replace("\\", "/").startswith("/d/a.###.exr 9-10 (2)\n")
    assert cgrusequence.cgruSequence([]) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12", None),
        ("12 b", 12),
        ("1.5 GB", 3 * 2**29),
        (" 2kb of memory", 2048),
        ("1,5 GB", None),
        ("much", None),
        ("3 GBit", None),
    ],
)
def test_memory_sizes_in_texts(text: str, size: int | None) -> None:
    assert cgruutils.memStrToBytes(text) == size


def test_texts_and_times() -> None:
    assert cgruutils.toStr(b"a\xff") == "a�"
    with pytest.raises(TypeError):
        cgruutils.toStr(3)  # type: ignore[arg-type]  # the error is tested
    assert cgruutils.isImageExt("a.EXR")
    assert cgruutils.isMovieExt("a.mov")
    assert not cgruutils.isImageExt("exr")
    assert cgruutils.sepThousands(1234567) == "1 234 567"
    assert cgruutils.timecodeToFrame("01:00:02:03", 25) == 90053
    assert cgruutils.timecodeToFrame("none") is None
    assert cgruutils.timecodesToFrameRange("1:0-2:0") == (24, 48)
    assert cgruutils.timecodesToFrameRange("1:0") is None
    assert cgruutils.timecodesFromFrameRange(24, 90053, 25) == "00:00:00:24 - 01:00:02:03"


def test_files_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "new" / "two"
    one.write_text("text")
    assert cgruutils.copy_file(str(one), str(two))
    assert not cgruutils.copy_file(str(one), str(two), debug=True)
    assert not cgruutils.copy_file(str(tmp_path / "no"), str(two))
    os.utime(two, (1, 1))
    assert cgruutils.copy_file(str(one), str(two), delete_original=True)
    assert not one.exists()
    (tmp_path / "new" / "deep").mkdir()
    (tmp_path / "new" / "deep" / "b.txt").write_text("b")
    (tmp_path / "new" / "c.txt").write_text("c")
    assert cgruutils.copy_directory(str(tmp_path / "new"), str(tmp_path / "to"), "c") == 2
    assert (tmp_path / "to" / "deep" / "b.txt").read_text() == "b"
    assert cgruutils.copy_directory([str(tmp_path / "no")], str(tmp_path / "to")) == 0
    copy = cgruutils.copyJobFile(str(two), "job", "sh")
    assert Path(copy).read_text() == "text"
    assert copy.startswith(f"{two}.job.")
    assert copy.endswith(".sh")
    assert cgruutils.copyJobFile(str(tmp_path / "no")) == ""
    assert not cgruutils.createFolder(str(two))
    assert "Cannot make the folder" in capsys.readouterr().out


# -- the studio of tests/data ---------------------------------------------------------------------

LOG = b"""lumen 4.2
frame 1
pass 1/2
memory: 1.5 GB
pass 2/2
wrote one.exr
preview look.exr
frame 2
pass 1/2
"""


def lumen(tmp_path: Path, **info: object) -> tuple[TaskWorker, MemoryLogStore]:
    own: dict[str, object] = {"frame_finish": 2, "frames_num": 2, "user_name": "Ann Lee"}
    own |= {"wdir": str(tmp_path), "store_dir": str(tmp_path), "environment": {}}
    spec = make_spec("lumen_log", "lumen", **{**own, **info})
    store = MemoryLogStore()
    store.append(LOG)
    return TaskWorker(spec, store.reader(), SETTINGS, (STUDIO,)), store


def test_a_service_of_the_studio(tmp_path: Path) -> None:
    task = {"command_block": "lumen @#@-@#@ @AF_HOSTS@", "hosts": ["r1", "r2"]}
    worker, _ = lumen(tmp_path, **task)
    facts = worker.facts
    words = facts.command.split()
    assert words[:5] == ["lumen", "1-2", "--helpers=r1;r2", "--user", "Ann_Lee"]
    assert words[-2:] == ["-q", "3"]
    assert facts.environment == {
        "LUMEN_SCENE": "/mnt/shows/scenes/moth.lum",
        "LUMEN_SERVER": "/shows/moth",
        "LUMEN_RANGE": "01-02",
    }
    assert facts.has_parser
    assert facts.log == ""
    assert worker.check_exit_status(3)
    assert not worker.check_exit_status(1)
    assert worker.log() == "Service: Lumen had warnings."


def test_without_hosts_an_override_of_apply_cmd_hosts_is_not_called(tmp_path: Path) -> None:
    worker, _ = lumen(tmp_path, command_block="lumen @AF_HOSTS@")
    assert worker.facts.command.startswith("lumen @AF_HOSTS@ --user")


def test_a_parser_of_the_studio(tmp_path: Path) -> None:
    for name in ("one.exr", "look.exr"):
        (tmp_path / name).touch()
    worker, _ = lumen(tmp_path)
    state = worker.parse(len(LOG))
    assert (state.percent, state.frame, state.percentframe) == (75, 1, 50)
    assert state.resources == "mem:1610612736"
    assert [Path(name).name for name in state.files] == ["one.exr"]
    post = worker.do_post()
    assert post == (f'echo thumbnail of one.exr > "{tmp_path / "lumen.txt"}"',)
    assert worker.problems() == ()


def test_thumbnails_on_the_fly_by_an_override_with_the_signature_of_afanasy(tmp_path: Path) -> None:
    (tmp_path / "look.exr").touch()
    worker, _ = lumen(tmp_path)
    state = worker.parse(len(LOG))
    assert state.files_onthefly == (str(tmp_path / "look.exr"),)
    commands = worker.on_the_fly(state.files_onthefly)
    assert commands == (f'echo thumbnail of look.exr > "{tmp_path / "lumen.txt"}"',)
    assert worker.parse(len(LOG)).files_onthefly == ()


def test_a_meter_of_the_studio() -> None:
    made: Any = load_class("meter", "lumen_licences", [STUDIO])()
    assert made.do() is made
    assert made.label == "1/4"


# -- installed packages ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "group", "base"),
    [
        ("service", "services", "services.service:service"),
        ("parser", "parsers", "parsers.parser:parser"),
        ("meter", "resmeters", "resmeters.resbase:resbase"),
    ],
)
def test_an_installed_package_may_have_plugins_of_every_kind(
    kind: str, group: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, name = base.partition(":")
    write(
        tmp_path / f"studio_{group}.py",
        f"from {module} import {name}\nclass orchid({name}): got = 'package'\n",
    )
    info = tmp_path / "studio_plugins-1.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: studio_plugins\nVersion: 1.0\n")
    write(info / "entry_points.txt", f"[trio_afrender.{group}]\norchid = studio_{group}:orchid\n")
    monkeypatch.syspath_prepend(tmp_path)
    lookup._entry_points.cache_clear()
    try:
        assert "orchid" in lookup.list_plugins(kind)
        found = load_class(kind, "orchid", [STUDIO])
        assert vars(found)["got"] == "package"
        assert issubclass(found, load_class(kind, name))
    finally:
        lookup._entry_points.cache_clear()
        sys.modules.pop(f"studio_{group}", None)

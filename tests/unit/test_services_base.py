"""The contract of the services' base class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.host_paths import as_here

from parsers.generic import generic as generic_parser
from parsers.parser import parser
from services import service as module
from services.service import service
from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound

NUMERIC, SKIP_THUMBNAILS, SKIP_EXISTING, CHECK_RENDERED = 1, 32, 64, 128

MakeService = Callable[..., service]


def make_as(
    made: type[service], settings: PluginSettings | None = None, /, **info: object
) -> service:
    """Create a service as the plugin host does."""
    task_info = {
        "wdir": "",
        "parser": "",
        "command_block": "",
        "command_task": "",
        "block_flags": NUMERIC,
        "frame_start": 1,
        "frame_finish": 1,
        **info,
    }
    new = made.__new__(made)
    if settings is not None:
        new.settings = settings
    new.__init__(task_info, False)  # type: ignore[misc] # as the plugin host does it
    return new


def make(**info: object) -> service:
    """The base class, with default settings."""
    return make_as(service, **info)


# Commands.


@pytest.mark.parametrize(
    ("info", "command"),
    [
        (
            {"command_block": "r -s @#@ -e @##@", "frame_start": 3, "frame_finish": 9},
            "r -s 3 -e 09",
        ),
        ({"command_block": "r", "block_flags": 0}, "r"),
        ({"command_block": "r @#@ x", "command_task": "a", "block_flags": 0}, "r a x"),
        ({"command_block": "r ", "command_task": "a", "block_flags": 0}, "r a"),
        ({"command_task": "a", "block_flags": 0}, "a"),
        ({"command_block": "r", "command_task": "no", "block_flags": 1}, "r"),
        ({}, ""),
    ],
)
def test_command(info: dict[str, Any], command: str) -> None:
    assert make(**info).getCommand() == command


@pytest.mark.parametrize(
    ("coefficient", "command"),
    [
        (3, "r -t 3 3"),
        (0, "r -t @AF_CAPACITY@ @AF_CAPACITY@"),
        (-1, "r -t @AF_CAPACITY@ @AF_CAPACITY@"),
    ],
)
def test_capacity(coefficient: int, command: str) -> None:
    made = make(command_block="r -t @AF_CAPACITY@ @AF_CAPACITY@", capacity_coeff=coefficient)
    assert made.getCommand() == command


def test_hosts() -> None:
    made = make(command_block="r @AF_HOSTS@ x", hosts=[b"r01", "r02"])
    assert made.getCommand() == "r -H r01,r02 x"
    assert make(command_block="r @AF_HOSTS@", hosts=[]).getCommand() == "r @AF_HOSTS@"


def test_a_subclass_formats_hosts_by_attributes() -> None:
    class spaced(service):
        str_hostsprefix = "-hosts "
        str_hostseparator = " "

    assert make_as(spaced, command_block="@AF_HOSTS@", hosts=["a", "b"]).getCommand() == (
        "-hosts a b"
    )


def test_an_override_of_hosts_is_called() -> None:
    class other(service):
        def applyCmdHosts(self, command: str) -> str:
            return command.replace(self.str_hosts, "/".join(self.taskInfo["hosts"]))

    assert make_as(other, command_block="@AF_HOSTS@", hosts=["a", "b"]).getCommand() == "a/b"


def test_module_names() -> None:
    assert (module.str_capacity, module.str_hosts) == ("@AF_CAPACITY@", "@AF_HOSTS@")
    assert (module.str_hostsprefix, module.str_hostseparator) == ("-H ", ",")


# Files.


def _files(**info: object) -> list[str]:
    return make(**info).getFiles()


def test_files_of_a_numeric_block() -> None:
    assert _files(files_block=["a.@###@.x", "b.@#@"], frame_start=-2, frame_finish=2, frame_inc=2) == [
        "a.-02.x", "a.000.x", "a.002.x", "b.-2", "b.0", "b.2",
    ]  # fmt: skip
    assert _files(files_block=["movie.mp4"], frame_finish=50) == ["movie.mp4"]


def test_files_of_a_block_with_tasks() -> None:
    info = {"block_flags": 0, "files_task": ["a", "", "b"], "frame_start": 4, "frame_finish": 5}
    assert _files(files_block=["x/@#@.exr"], **info) == ["x/a.exr", "x/b.exr"]
    assert _files(files_block=["x/"], block_flags=0, files_task=[]) == ["x/"]
    assert _files(files_block=[], **info) == []


@pytest.mark.parametrize("step", [0, -3])
def test_a_step_below_one_does_not_loop_for_ever(step: int) -> None:
    assert _files(files_block=["@#@"], frame_finish=3, frame_inc=step) == ["1", "2", "3"]


# Paths.

MAP = PluginSettings(paths_map=(("/mnt/prj/", "/ps/prj/"), ("/bad", "")))


def test_paths_are_mapped_after_numbers_are_filled() -> None:
    settings = PluginSettings(paths_map=(("/mnt/two", "/ps/prj2"), ("/mnt/prj", "/ps/prj")))
    made = make_as(service, settings, command_block="r /ps/prj@#@/a", frame_start=2, frame_finish=2)
    assert made.getCommand() == as_here("r /mnt/two/a")


def test_all_values_are_mapped() -> None:
    made = make_as(
        service,
        MAP,
        wdir="/ps/prj/my shot",
        command_block="r (/ps/prj/a)\n/ps/prj/b",
        environment={"LIST": "/ps/prj/x:/usr", b"BYTES": b"/ps/prj", "NUMBER": 3},
        files_block=["/ps/prj/f @#@"],
        parsed_files=[b"/ps/prj/p"],
    )
    assert made.getWDir() == as_here("/mnt/prj/my shot")
    assert made.getCommand() == as_here("r (/mnt/prj/a)\n/mnt/prj/b")
    assert made.getEnvironment() == {
        "LIST": f"{as_here('/mnt/prj/x')}:/usr",
        "BYTES": as_here("/mnt/prj"),
        "NUMBER": "3",
    }
    assert made.getFiles() == [as_here("/mnt/prj/f 1")]
    assert made.getParsedFiles() == [as_here("/mnt/prj/p")]
    assert made.pm.toClient("/ps/prj/a") == as_here("/mnt/prj/a")
    assert made.pm.toServer("/mnt/prj/a") == "/ps/prj/a"


def test_an_unusable_pair_of_the_paths_map_is_logged() -> None:
    assert "pair 2 of the paths map is not used" in make_as(service, MAP).getLog()


# taskInfo.


def test_bytes_are_text_everywhere() -> None:
    made = make(job_name=b"j\xc3\xa9", command_block=b"r", task_name=b"\xff", tickets={b"t": 1})
    assert made.taskInfo["job_name"] == "jé"
    assert made.taskInfo["task_name"] == "\udcff"
    assert made.taskInfo["tickets"] == {"t": 1}
    assert made.getCommand() == "r"


def test_missing_and_invalid_values_get_a_default() -> None:
    made = service({"files_block": None, "block_flags": "x", "hosts": ("a",)})
    assert made.getCommand() == made.getWDir() == made.getLog() == ""
    assert made.getFiles() == made.getParsedFiles() == []
    assert made.getEnvironment() == {}
    assert made.taskInfo["hosts"] == ["a"]
    assert not made.skipTask()
    assert not made.hasParser()


def test_the_constructor_writes_into_task_info() -> None:
    info: dict[str, Any] = {"command_block": "r @#@", "block_flags": NUMERIC, "frame_start": 4}
    made = service(info, True)
    assert made.taskInfo is info
    assert info["command"] == "r 4"
    assert made.numeric
    assert made.verbose


def test_block_flags() -> None:
    made = make(block_flags=NUMERIC | SKIP_EXISTING)
    assert made.checkBlockFlag("numeric") == NUMERIC
    assert made.checkBlockFlag("skipexistingfiles") == SKIP_EXISTING
    assert made.checkBlockFlag("checkrenderedfiles") == 0
    with pytest.raises(KeyError):
        made.checkBlockFlag("nonsense")


# Parsers.


def test_a_parser_by_name() -> None:
    made = make(parser="generic", frames_num=7)
    assert made.hasParser()
    assert made.parser_problem == ""
    seen = made.parse({"data": "FRAME: 1\nPROGRESS: 70%\n", "mode": "RUN"})
    assert seen is made.parser
    assert isinstance(seen, generic_parser)
    assert (seen.percent, seen.numframes) == (10, 7)


@pytest.mark.parametrize("name", ["", "none"])
def test_no_parser_is_no_problem(name: str) -> None:
    made = make(parser=name)
    assert not made.hasParser()
    assert made.parser_problem == ""
    assert made.parse({"data": "x"}) is None
    assert made.toHTML("<x>") == "<x>"
    assert made.getParsedFiles() == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nonsense", 'no parser "nonsense"'),
        ("os.path", 'no parser "os.path"'),
        ("_text", 'parser "_text": its module has no class of that name'),
    ],
)
def test_a_parser_that_does_not_exist(name: str, text: str) -> None:
    made = make(parser=name)
    assert not made.hasParser()
    assert made.parser_problem == text


class _Broken:
    def __init__(self) -> None:
        raise ValueError("odd")


def _refuse(name: str) -> type:
    raise PluginError(f"{name} is broken", "Traceback of it")


def _not_found(name: str) -> type:
    raise PluginNotFound("parser", name, ("blender",))


@pytest.mark.parametrize(
    ("load", "texts"),
    [
        (lambda name: _Broken, ("ValueError: odd", "Traceback")),
        (_refuse, ("x is broken", "Traceback of it")),
        (_not_found, ('did you mean "blender"?',)),
    ],
)
def test_a_parser_that_cannot_be_created(
    load: Callable[[str], type], texts: tuple[str, ...]
) -> None:
    class loading(service):
        load_parser = staticmethod(load)

    made = make_as(loading, parser="x", command_block="go")
    assert not made.hasParser()
    assert made.getCommand() == "go"
    for text in texts:
        assert text in made.parser_problem


def test_the_parser_makes_html() -> None:
    assert make(parser="parser").toHTML("<x>") == "&lt;x&gt;"


def test_parsed_files_have_the_servers_paths_and_the_parsers_list_stays(tmp_path: Path) -> None:
    settings = PluginSettings(paths_map=((str(tmp_path), "/ps"),))
    made = make_as(service, settings, parser="generic", wdir="/ps")
    (tmp_path / "a, b.png").write_bytes(b"x")
    made.parse({"data": "@IMAGE@a, b.png\n"})
    for _ in range(2):
        assert made.getParsedFiles() == ["/ps/a, b.png"]
        assert made.parser.getFiles() == [str(tmp_path / "a, b.png")]


# The log and the end.


def test_log() -> None:
    made = make(parser="generic")
    assert made.getLog() == ""
    made.addLog("from the service")
    assert made.getLog() == "Service: from the service\n"
    made.parser.log = "from the parser"
    assert made.getLog() == "Parser: from the parser\nService: from the service\n"


@pytest.mark.parametrize(("code", "good"), [(0, True), (1, False), (-9, False)])
def test_exit_status(code: int, good: bool) -> None:
    assert make().checkExitStatus(code) is good


def test_defaults_for_the_host() -> None:
    made = make_as(service, PluginSettings(post_limit=7.5))
    assert made.doPostLimitSec() == 7.5
    assert made.grace is None
    assert service({}).doPostLimitSec() == 16


# Files that exist.


def _task_with_files(folder: Path, flags: int, **info: object) -> service:
    return make(
        wdir=str(folder),
        block_flags=NUMERIC | flags,
        files_block=["", "a.@#@"],
        frame_start=1,
        frame_finish=2,
        **info,
    )


def _write(folder: Path, *sizes: int) -> None:
    for number, size in enumerate(sizes, start=1):
        (folder / f"a.{number}").write_bytes(b"x" * size)


def test_existing_files_are_skipped(tmp_path: Path) -> None:
    _write(tmp_path, 5, 5)
    made = _task_with_files(tmp_path, SKIP_EXISTING, file_size_min=5, file_size_max=5)
    assert made.skipTask() is True
    assert made.log == (
        "".join(f'File exists: "{tmp_path / name}"\n' for name in ("a.1", "a.2"))
        + "Task file(s) exists. Skipping command execution.\n"
    )


@pytest.mark.parametrize(
    ("sizes", "limits", "log"),
    [
        ((5,), {}, ""),
        ((5, 5), {"file_size_min": 6}, 'Existing file size less than minimum(5 < 6): "{}/a.1"\n'),
        (
            (5, 5),
            {"file_size_max": 4},
            'Existing file size greater than maximum(5 > 4): "{}/a.1"\n',
        ),
    ],
)
def test_missing_files_and_wrong_sizes_are_not_skipped(
    tmp_path: Path, sizes: tuple[int, ...], limits: dict[str, int], log: str
) -> None:
    _write(tmp_path, *sizes)
    made = _task_with_files(tmp_path, SKIP_EXISTING, **limits)
    assert made.skipTask() is False
    assert as_here(log.format(tmp_path)) in made.log


def test_nothing_is_skipped_without_the_flag_or_without_names(tmp_path: Path) -> None:
    _write(tmp_path, 5, 5)
    assert not _task_with_files(tmp_path, 0).skipTask()
    empty = make(wdir=str(tmp_path), block_flags=NUMERIC | SKIP_EXISTING, files_block=["", ""])
    assert not empty.skipTask()


@pytest.mark.parametrize(
    ("sizes", "limits", "log"),
    [
        ((5, 5), {}, None),
        ((5, 5), {"file_size_min": -1, "file_size_max": 0}, None),
        ((5,), {}, "File does not exist:\n{}/a.2"),
        ((5, 5), {"file_size_min": 6}, "Rendered file size less than minimum (5 < 6):\n{}/a.1"),
        ((5, 9), {"file_size_max": 5}, "Rendered file size greater than maximum (9 > 5):\n{}/a.2"),
    ],
)
def test_rendered_files(
    tmp_path: Path, sizes: tuple[int, ...], limits: dict[str, int], log: str | None
) -> None:
    _write(tmp_path, *sizes)
    made = _task_with_files(tmp_path, CHECK_RENDERED, **limits)
    made.addLog("before")
    assert made.checkRenderedFiles() is (log is None)
    assert made.log == ("before\n" if log is None else as_here(log.format(tmp_path)))


@pytest.mark.parametrize(
    ("sizes", "limits", "finding"),
    [
        ((5, 5), {}, ""),
        ((5,), {}, "a.2 is missing in {}"),
        ((), {}, "a.1 and a.2 are missing in {} (all files)"),
        ((5, 2), {"file_size_min": 3}, "a.2 has 2 bytes, not at least 3, in {}"),
        (
            (9, 8),
            {"file_size_max": 5},
            "a.1 has 9 bytes, not at most 5, in {}, and 1 more has a wrong size",
        ),
        ((2,), {"file_size_min": 3}, "a.2 is missing in {}"),
    ],
)
def test_a_finding_names_the_files(
    tmp_path: Path, sizes: tuple[int, ...], limits: dict[str, int], finding: str
) -> None:
    _write(tmp_path, *sizes)
    made = _task_with_files(tmp_path, CHECK_RENDERED, **limits)
    made.checkRenderedFiles()
    assert made.finding == finding.format(tmp_path)


def test_a_finding_names_some_of_many_files(tmp_path: Path) -> None:
    (tmp_path / "f.3").write_bytes(b"x")
    info = {"block_flags": NUMERIC, "files_block": ["f.@#@"], "frame_start": 1, "frame_finish": 9}
    made = make(wdir=str(tmp_path), **info)
    assert not made.checkRenderedFiles()
    assert made.finding == f"f.1, f.2, f.4 and 5 more are missing in {tmp_path} (8 of 9 files)"
    assert make(wdir="", files_block=["x/../none"]).checkRenderedFiles() is False


def test_a_folder_is_no_rendered_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not make(wdir=str(tmp_path), files_block=["a"]).checkRenderedFiles()


def test_subclasses_in_the_style_of_cgru() -> None:
    class cgru(service):
        def __init__(self, taskInfo: dict[str, Any], i_verbose: bool) -> None:
            service.__init__(self, taskInfo, i_verbose)
            self.taskInfo["command"] += " -J " + str(self.taskInfo["job_id"])
            self.log += "cgru"

        def checkExitStatus(self, i_status: int) -> bool:
            return i_status in (0, 1)

    made = make_as(cgru, command_block="h", job_id=12)
    assert made.getCommand() == "h -J 12"
    assert made.checkExitStatus(1)
    assert made.getLog() == "Service: cgru"


def test_the_parser_base_class_is_a_parser_too() -> None:
    assert type(make(parser="parser").parser) is parser
    assert os.sep == "/" or make().pm.windows

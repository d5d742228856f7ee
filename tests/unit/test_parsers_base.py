"""The contract of the parsers' base class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parsers import parser as base
from parsers.parser import parser

FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")


def _parse(made: parser, data: str, mode: str = "RUN", **more: object) -> None:
    made.parse({"data": data, "mode": mode, "pid": 1, "resources": "", **more})


def test_initial_state() -> None:
    made = parser()
    assert (made.percent, made.frame, made.percentframe, made.numframes) == (0, 0, 0, 0)
    assert not any(getattr(made, flag) for flag in FLAGS)
    assert (made.activity, made.report, made.resources, made.problem) == ("", "", "", "")
    assert made.getFiles() == made.getFilesOnTheFly() == []
    assert made.getLog() is None
    assert made.result is None


@pytest.mark.parametrize(("value", "frames"), [(5, 5), (0, 1), (-3, 1), ("x", 1)])
def test_number_of_frames(value: object, frames: int) -> None:
    made = parser()
    made.setTaskInfo({"frames_num": value})
    assert made.numframes == frames


def test_module_names_of_the_markers() -> None:
    assert (base.ACTIVITY, base.REPORT) == ("ACTIVITY: ", "REPORT: ")


@pytest.mark.parametrize(
    ("numframes", "frame", "percentframe", "percent"),
    [
        (1, 0, 40, 40),
        (1, 7, 40, 40),
        (4, 1, 50, 37),
        (4, 4, 0, 100),
        (4, 9, 50, 100),
        (4, -2, -5, 0),
        (0, 0, 250, 100),
    ],
)
def test_calculate(numframes: int, frame: int, percentframe: int, percent: int) -> None:
    made = parser()
    made.numframes, made.frame, made.percentframe = numframes, frame, percentframe
    made.calculate()
    assert made.percent == percent
    assert 0 <= made.frame <= max(1, numframes)
    assert 0 <= made.percentframe <= 100


# Flags.


class _Strings(parser):
    str_error = ["broken LENS", "no film"]  # noqa: RUF012 - plugins write it so

    def __init__(self) -> None:
        super().__init__()
        self.str_warning.append("Dusty")
        self.str_badresult = ["blurred"]
        self.str_fatalerror = ["on fire"]
        self.str_finishedsuccess = ["All Done"]


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("x dusty y", "warning"),
        ("a Broken Lens\n", "error"),
        ("NO FILM", "error"),
        ("blurred é \N{SNOWMAN}", "badresult"),
        ("ON FIRE", "fatalerror"),
        ("all done", "finishedsuccess"),
    ],
)
def test_texts_set_flags(text: str, flag: str) -> None:
    made = _Strings()
    _parse(made, text)
    assert [name for name in FLAGS if getattr(made, name)] == [flag]


def test_what_is_reset_with_a_batch_and_what_stays() -> None:
    made = _Strings()
    _parse(made, "dusty, no film, blurred, on fire, all done\nACTIVITY: a\nREPORT: b\n")
    _parse(made, "")
    assert all(getattr(made, flag) for flag in FLAGS)
    assert (made.activity, made.report) == ("a", "b")
    _parse(made, "next\n")
    assert [flag for flag in FLAGS if getattr(made, flag)] == ["fatalerror", "finishedsuccess"]
    assert (made.activity, made.report) == ("", "")


def test_each_object_has_its_own_lists() -> None:
    made = _Strings()
    made.str_error.append("spoiled")
    assert "spoiled" not in _Strings().str_error


def test_two_bases_keep_the_lists_of_the_first() -> None:
    class Left(parser):
        def __init__(self) -> None:
            parser.__init__(self)
            self.str_error.append("left")

    class Both(Left, _Strings):
        def __init__(self) -> None:
            Left.__init__(self)
            _Strings.__init__(self)

    assert Both().str_error == ["broken LENS", "no film", "left"]


def test_lists_set_before_the_base_constructor_stay() -> None:
    class Early(parser):
        def __init__(self) -> None:
            self.str_error = ["early"]
            parser.__init__(self)

    assert Early().str_error == ["early"]


# Markers.


@pytest.mark.parametrize(
    ("text", "activity"),
    [
        ("ACTIVITY: rendering\n", "rendering"),
        ("ACTIVITY: rendering", "rendering"),  # keeps its last letter
        ("ACTIVITY: rendering\r\n", "rendering"),
        ("ACTIVITY: one\rACTIVITY: two\rx\n", "two"),
        ("x ACTIVITY: one ACTIVITY: two\n", "two"),
        ("ACTIVITY: one\nACTIVITY: \n", "one"),
        ("activity: no\n", ""),
        ("ACTIVITY:no\n", ""),
    ],
)
def test_activity(text: str, activity: str) -> None:
    made = parser()
    _parse(made, text)
    assert made.activity == activity


def test_report() -> None:
    made = parser()
    _parse(made, "REPORT: 12 moths, é\r\n")
    assert made.report == "12 moths, é"


def _with_files(folder: Path, *names: str) -> parser:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    made = parser()
    made.recheck = 0
    made.setTaskInfo({"wdir": str(folder), "frames_num": 4})
    return made


@pytest.mark.parametrize(
    "line", ["@IMAGE@a b.png", "@IMAGE@ a b.png ", "12:00 info: @IMAGE@a b.png"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_an_announced_image(tmp_path: Path, line: str, end: str) -> None:
    made = _with_files(tmp_path, "a b.png")
    _parse(made, line + end)
    assert made.getFiles() == [str(tmp_path / "a b.png")]
    assert made.getFilesOnTheFly() == []


def test_an_image_on_the_fly_is_returned_once(tmp_path: Path) -> None:
    made = _with_files(tmp_path, "a.png")
    _parse(made, "see @IMAGE!@a.png\n")
    assert made.getFilesOnTheFly() == [str(tmp_path / "a.png")]
    assert made.getFilesOnTheFly() == []
    assert made.getFiles() == []


def test_imagemagick_counts_frames(tmp_path: Path) -> None:
    made = _with_files(tmp_path, "a.png", "b.png")
    _parse(made, "Image: a.png\n  Format: PNG\nImage: b.png\nThe Image: no\n")
    assert made.getFiles() == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert (made.frame, made.percent) == (2, 50)


# Files.


def test_existing_files_are_listed_once(tmp_path: Path) -> None:
    made = _with_files(tmp_path, "a.png")
    (tmp_path / "folder").mkdir()
    for name in ("a.png", str(tmp_path / "a.png"), "./a.png", "gone.png", "folder", "", " "):
        made.appendFile(name)
    assert made.getFiles() == [str(tmp_path / "a.png")]
    assert made.getFiles() is made.files


def test_a_file_announced_before_it_exists(tmp_path: Path) -> None:
    made = _with_files(tmp_path, "b.png")
    made.appendFile("a.png")
    made.appendFile("b.png")
    made.appendFile("fly.png", True)
    assert made.getFiles() == [str(tmp_path / "b.png")]
    for name in ("a.png", "fly.png"):
        (tmp_path / name).write_bytes(b"x")
    # In the order of announcement, not of creation.
    assert made.getFiles() == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert made.getFilesOnTheFly() == [str(tmp_path / "fly.png")]


def test_the_last_call_searches_files_at_once(tmp_path: Path) -> None:
    made = _with_files(tmp_path)
    made.recheck = 1000
    made.appendFile("a.png")
    assert made.getFiles() == []
    (tmp_path / "a.png").write_bytes(b"x")
    assert made.getFiles() == []
    _parse(made, "", "0:0")
    assert made.getFiles() == [str(tmp_path / "a.png")]


def test_announced_files_are_bounded() -> None:
    made = parser()
    _parse(made, "".join(f"@IMAGE@none{number}.png\n" for number in range(10_500)))
    assert len(made.files_all) == 10_000


@pytest.mark.parametrize("name", ["nul\0.png", "x" * 5000, "\udcff.png"])
def test_names_that_no_file_can_have(name: str) -> None:
    made = parser()
    made.appendFile(name)
    assert made.getFiles() == []
    assert made.problem == ""


# Arguments.


def test_bytes_are_text() -> None:
    made = _Strings()
    args: dict[str, Any] = {"data": "é\n".encode() + b"\xff", "mode": b"RUN"}
    made.parse(args)
    assert args["data"] == "é\n\ufffd"
    assert args["mode"] == "RUN"


def test_a_call_with_data_alone() -> None:
    made = parser()
    made.parse({"data": "ACTIVITY: x\n"})
    assert made.activity == "x"
    made.parse({})
    assert made.problem == ""


def test_a_call_without_pid_keeps_it() -> None:
    made = parser()
    _parse(made, "", pid=12)
    assert made.pid == 12
    made.parse({"data": ""})
    assert made.pid == 12


def test_output_is_progress() -> None:
    made = parser()
    _parse(made, "x")
    assert made.progress_changed
    _parse(made, "")
    assert not made.progress_changed


# Plugins that misbehave.


class _Bad(parser):
    """Calls `act` in `do`."""

    act: Any = None

    def do(self, i_args: dict[str, object]) -> str | None:
        done: Any = self.act()
        return done  # type: ignore[no-any-return] # it returns values of any type


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), RecursionError()])
def test_exceptions_of_plugins_become_problems(error: BaseException) -> None:
    made = _Bad()
    made.act = lambda: _raise(error)
    _parse(made, "ACTIVITY: x\n")
    assert type(error).__name__ in made.problem
    assert "Traceback" in made.problem
    assert made.activity == "x"
    assert made.result is None


def test_an_exception_resets_the_result() -> None:
    made = _Bad()
    made.act = lambda: "replaced"
    _parse(made, "x\n")
    assert made.result == "replaced"
    made.act = lambda: _raise(ValueError())
    _parse(made, "")
    assert made.result is None


def test_a_base_check_that_raises_does_not_prevent_do() -> None:
    class Bad(parser):
        def doBaseCheck(self, i_data: str) -> None:
            raise ValueError(i_data)

        def do(self, i_args: dict[str, object]) -> None:
            self.percent = 7

    made = Bad()
    _parse(made, "x")
    assert made.percent == 7
    assert "ValueError" in made.problem


def test_problems_are_bounded() -> None:
    made = _Bad()
    made.act = lambda: _raise(ValueError("x" * 100_000))
    _parse(made, "x")
    assert len(made.problem) <= 16 * 1024


@pytest.mark.parametrize(
    ("returned", "result", "is_problem"),
    [(None, None, False), ("", "", False), (b"abc", "abc", False), (12, None, True)],
)
def test_what_do_returns(returned: object, result: str | None, is_problem: bool) -> None:
    made = _Bad()
    made.act = lambda: returned
    _parse(made, "x")
    assert made.result == result
    assert bool(made.problem) is is_problem


@pytest.mark.parametrize(
    ("value", "percent"),
    [(12.7, 12), (True, 1), ("13", 13), (float("nan"), 5), (float("inf"), 5), (None, 5), ([], 5)],
)
def test_numbers_of_other_types(value: object, percent: int) -> None:
    made = _Bad()
    made.act = lambda: setattr(made, "percent", 5)
    _parse(made, "x")
    made.act = lambda: setattr(made, "percent", value)
    _parse(made, "x")
    assert made.percent == percent
    assert type(made.percent) is int


def test_flags_and_texts_of_other_types() -> None:
    made: Any = _Bad()

    def act() -> None:
        made.error = 1
        made.activity = None
        made.report = b"bytes"
        made.resources = 3
        made.log = b"log"

    made.act = act
    _parse(made, "x")
    assert made.error is True
    assert (made.activity, made.report, made.resources) == ("", "bytes", "3")
    assert made.getLog() == "log"


# Resources.


def _load(total: int, free: int, **cpu: int) -> str:
    return json.dumps({"host_resources": {"mem_total_mb": total, "mem_free_mb": free, **cpu}})


def test_resources_peak_and_mean() -> None:
    made = parser()
    first = _load(1000, 400, cpu_user=10, cpu_system=5, cpu_idle=85)
    for text in ("", "{\n\n}", first, first, _load(1000, 700, cpu_user=40), _load(1000, 900)):
        _parse(made, "", resources=text)
    assert made.res_mem_peak_mb == 600
    assert made.res_cpu_cur == [15, 40]  # equal text is the same measurement
    assert made.res_cpu_agv == 28
    assert made.host_resources == {"mem_total_mb": 1000, "mem_free_mb": 900}


def test_samples_are_bounded() -> None:
    made = parser()
    for number in range(200):
        _parse(made, "", resources=_load(2, 1, cpu_user=number))
    assert len(made.res_cpu_cur) == 60
    assert made.res_cpu_agv == 100


def test_bad_resources_do_not_hide_the_output() -> None:
    made = parser()
    _parse(made, "ACTIVITY: x\n", resources="{nonsense")
    assert made.activity == "x"
    assert "JSON" in made.problem
    assert made.host_resources is None
    _parse(made, "", resources='{"host_resources": {"mem_total_mb": "1", "mem_free_mb": null}}')
    assert made.res_mem_peak_mb is None


# HTML.


def test_html_is_escaped_and_coloured() -> None:
    made = _Strings()
    html = made.toHTML("a <b> & c\r\nno film\n\nACTIVITY: x\rREPORT: y\n")
    assert html == "<br>\n".join(
        [
            "a &lt;b&gt; &amp; c",
            '<span style="background-color:#FF0000"><b>no film</b></span>',
            "",
            '<span style="background-color:#00FF00">ACTIVITY: x</span>',
            "<i><b>REPORT: y</b></i>",
        ]
    )


def test_html_colours_one_line_even_for_flags_that_stay() -> None:
    made = _Strings()
    lines = made.toHTML("on fire\nplain\nall done\ndusty\nblurred\nplain").split("<br>\n")
    assert lines[0].startswith('<span style="background-color:#FF0000">')
    assert lines[1] == lines[5] == "plain"
    assert lines[2] == '<span style="color:#008800"><b>all done</b></span>'
    assert "#FFA500" in lines[3]
    assert "#FF00FF" in lines[4]


def test_html_does_not_change_the_parser() -> None:
    made = _Strings()
    made.percent = 12
    made.toHTML("on fire\nACTIVITY: x\n")
    assert (made.percent, made.fatalerror, made.activity) == (12, False, "")


def test_html_tags_of_a_subclass() -> None:
    class Tagged(parser):
        def tagHTML(self, i_line: str) -> str:
            return f"<u>{i_line}</u>"

    assert Tagged().toHTML("a\nb") == "<u>a</u><br>\n<u>b</u>"

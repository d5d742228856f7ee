"""A bad frame is known: errors with exit code 0, missing files, and frames counted right.

The logs are of programs that render or compose by themselves; test_parsers_inside.py has those that
run inside others. tests/data/logs/README.md has the sources.
"""

# ruff: noqa: ANN401 - attributes of several types
from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.parsers import Case, Outcome, check, follow, ids, load, read

from parsers._ffmpeg_options import read_span, seconds_of
from parsers._frames_from_files import frame_number
from parsers._messages import Messages, like, make_scanner
from parsers.afterfx import count_frames
from parsers.parser import RuleParser, frame_end, frame_percent, new_frame, rule

WARNING = frozenset({"warning"})
NO_FRAME_REPORTED = "the program ended with exit code 0 and reported no frame"
NO_FRAME = Outcome(flags=frozenset({"badresult"}), report=NO_FRAME_REPORTED)
ONE: dict[str, Any] = {"percent": 100, "percentframe": 100}


def _error(line: int, text: str, **progress: Any) -> Outcome:
    return Outcome(flags=frozenset({"error"}), deciding_line=(line, text), report=text, **progress)


def _bad(line: int, text: str, report: str = "", **more: Any) -> Outcome:
    flags = frozenset({"badresult", *more.pop("flags", ())})
    return Outcome(flags=flags, deciding_line=(line, text), report=report or text, **more)


def _missing(*names: str, report: str = "", **progress: Any) -> Outcome:
    assets = f"{len(names)} missing {'asset' if len(names) == 1 else 'assets'}: {', '.join(names)}"
    return Outcome(
        flags=WARNING,
        missing_assets=(len(names), names),
        report=f"{report}; {assets}" if report else assets,
        **progress,
    )


def _frames(count: int, **more: Any) -> Outcome:
    return Outcome(percent=100, frame=count, **more)


ERRORS_WITH_CODE_0 = (
    Case("blender", "blender42_gpu_memory", 1, _error(9, "Error: System is out of GPU memory")),
    Case(
        "blender",
        "blender42_hip_memory",
        1,
        _error(5, "Error: Out of memory in HIP queue enqueue (integrator_shade_volume)"),
    ),
    Case(
        "blender",
        "blender29_illegal_address",
        2,
        _error(
            8,
            "Error: Illegal address in CUDA queue synchronize (integrator_shade_surface)",
            percent=12,
            percentframe=25,
        ),
    ),
    Case(
        "blender",
        "blender50_no_camera",
        1,
        _error(2, "00:00.402  render           | ERROR Cannot render, no camera"),
    ),
    Case(
        "afterfx",
        "afterfx_no_comp",
        1,
        _error(4, "aerender ERROR: No comp was found with the given name."),
    ),
    Case(
        "afterfx",
        "afterfx_missing_footage",
        1,
        _error(
            3,
            "WARNING:After Effects warning: logged one error  error: Unable to Render:"
            r" File Not Found C:\proj\(Footage)\img\place holder.jpg",
        ),
    ),
    Case(
        "nuke",
        "nuke15_missing_plugin",
        1,
        _error(
            2,
            "ERROR: AFXMedian1: 'AFXMedian': unknown command. This is most likely from a corrupt .nk"
            " file, or from a missing or unlicensed plug-in. Can't render from that Node.",
        ),
    ),
    Case(
        "povray",
        "povray_syntax_error",
        1,
        _error(
            67, "File 'bad.pov' line 4: Parse Error: Expected 'object or directive', undeclared"
        ),
    ),
    # Only marked by the program: a warning, with the line.
    Case(
        "fusion",
        "fusion_tool_failed",
        2,
        _frames(2, flags=WARNING, report="Cryptomatte1 failed at time 0"),
    ),
    Case(
        "ffmpeg",
        "ffmpeg_decode_error",
        1,
        Outcome(
            **ONE,
            flags=WARNING,
            report="[dec:h264 @ 0x55add3716200] Error submitting packet to decoder:"
            " Generic failure in an external library",
        ),
    ),
    Case(
        "curl",
        "curl_failed",
        1,
        Outcome(flags=WARNING, report="curl: (6) Could not resolve host: files.example.invalid"),
    ),
)

ABORTED = (
    Case(
        "natron",
        "natron_failed",
        3,
        _bad(
            12,
            "_WRITE_USR_VIDEO_PRODUCT_001 ==> Rendering failed",
            "_WRITE_USR_VIDEO_PRODUCT_001 ==> Rendering failed;"
            " ERROR: Read1: FFmpeg Reader failed to decode frame: End of file",
            flags=WARNING,
            percent=66,
            frame=2,
        ),
    ),
    Case("afterfx", "afterfx_aborted", 4, _bad(4, "INFO: Render aborted.", percent=25, frame=1)),
    Case(
        "povray",
        "povray_cancelled",
        1,
        _bad(3, "Render cancelled by user", percent=50, percentframe=50),
    ),
    Case(
        "ffmpeg",
        "ffmpeg_quit",
        1,
        _bad(5, "[q] command received. Exiting.", percent=50, percentframe=50, files=("o.mp4",)),
    ),
)

MISSING_ASSETS = (
    Case(
        "blender",
        "blender50_missing_texture",
        3,
        _missing("/proj/tex/wood_diff.png", percent=100, frame=3),
    ),
    Case(
        "blender",
        "blender41_missing_library",
        1,
        _missing(
            "//../assets/tree_lib.blend",
            report="Warning: 1 libraries and 14 linked data-blocks are missing (including 0"
            " ObjectData), please check the Info and Outliner editors for details",
            **ONE,
        ),
    ),
    Case("afterfx", "afterfx_missing_fonts", 3, _missing("Bebas", percent=100, frame=3)),
    Case(
        "afterfx",
        "afterfx_missing_effects",
        2,
        _missing(
            "Optical Flares",
            report="WARNING:After Effects warning: Project has missing fonts.",
            percent=100,
            frame=2,
        ),
    ),
    Case(
        "nuke",
        "nuke15_missing_read",
        2,
        _missing("/proj/plates/sh010.1001.exr", "ViTMatte.Inference1", percent=100, frame=2),
    ),
    Case(
        "natron",
        "natron_missing_plugin",
        2,
        _missing("fr.inria.openfx.ReadOIIO", percent=100, frame=2),
    ),
    Case("povray", "povray_missing_image", 1, _missing("wood.png", **ONE)),
    Case(
        "clarisse",
        "clarisse_missing_texture",
        1,
        _missing(
            "/proj/tex/wood.exr",
            report="[ERROR] Failed to evaluate 'project://scene/image'",
            frame=1,
            **ONE,
        ),
    ),
)

NO_WORK = (
    Case(
        "afterfx",
        "afterfx_launched_only",
        1,
        Outcome(
            flags=frozenset({"badresult", "warning"}),
            report=f"{NO_FRAME_REPORTED}; WARNING:After Effects warning: timeSpanStart of -0,87 seconds will cause render to"
            " have frames outside of range defined by comp displayStartTime (0,87) and end of comp"
            " duration (26,63). Render will succeed, but may have blank frames.",
        ),
    ),
    Case("blender", "blender42_opened_only", 1, NO_FRAME),
    Case("nuke", "nuke15_started_only", 1, NO_FRAME),
    Case("natron", "natron_loaded_only", 1, NO_FRAME),
    Case("fusion", "fusion_loaded_only", 1, NO_FRAME),
)

FRAMES = (
    Case("blender", "blender50_file_output", 4, _frames(4)),
    Case("blender", "blender34_skip_existing", 3, _frames(2, percentframe=100)),
    Case("blender", "blender41_skipped_views", 4, _frames(3, percentframe=100)),
    Case("blender", "blender41_stereo", 2, _frames(1, percentframe=100)),
    Case("blender", "blender50_stereo", 4, Outcome(percent=75, frame=3)),
    Case("blender", "blender42_view_layers", 2, Outcome(percent=87, frame=1, percentframe=75)),
    Case(
        "blender",
        "blender42_movie",
        3,
        _frames(2, percentframe=100, files=("movie/0001-0003.mp4",)),
    ),
    Case("afterfx", "afterfx_skipped", 4, _frames(4)),
    Case("afterfx", "afterfx_drop_frames", 4, _frames(4)),
    Case("afterfx", "afterfx_drop_frames", 1, Outcome(**ONE)),
    Case("oiiotool", "oiiotool_twins", 3, _frames(3)),
    Case("natron", "natron_writers_done", 2, _frames(2)),
)

NO_FALSE_ALARMS = (
    Case(
        "fusion",
        "fusion_path_with_error",
        2,
        _frames(2, flags=frozenset({"finishedsuccess"})),
    ),
    Case("blender", "blender42_paths", 1, Outcome(**ONE)),
    Case("nuke", "nuke15_paths", 1, _frames(1, percentframe=100)),
    Case("ffmpeg", "ffmpeg_metadata", 1, Outcome(**ONE)),
)

CASES = (
    *ERRORS_WITH_CODE_0,
    *ABORTED,
    *MISSING_ASSETS,
    *NO_WORK,
    *FRAMES,
    *NO_FALSE_ALARMS,
)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_result_for_a_recorded_log(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)


@pytest.mark.parametrize(
    ("log", "frames", "percents"),
    [
        # 100 % only with the last file of the last frame.
        ("blender50_file_output", 4, [0, 25, 25, 25, 50, 50, 75, 75, 100]),
        ("blender50_stereo", 5, [20, 20, 20, 40, 40]),
    ],
)
def test_percents_after_each_line(log: str, frames: int, percents: list[int]) -> None:
    lines = read(log).splitlines(keepends=True)
    _, seen = follow(load("blender")(), lines, frames)
    assert seen[: len(lines)] == percents


def test_the_last_frame_of_several_writers() -> None:
    lines = read("natron_writers_done").splitlines(keepends=True)
    _, seen = follow(load("natron")(), lines, 2)
    assert seen[: len(lines)] == [0, 0, 50, 50, 50, 50, 100, 100]


def test_layers_of_a_frame() -> None:
    """The first frame waits for its file, since it may have another layer; the second counts both."""
    lines = read("blender42_view_layers").splitlines(keepends=True)
    _, seen = follow(load("blender")(), lines, 2)
    assert sorted(set(seen)) == [0, 49, 50, 62, 75, 87]


@pytest.mark.parametrize(
    ("parser", "text", "percent"),
    [
        ("blender", "Fra:1 Mem:8M | Scene, ViewLayer | Sample 64/64\n", 99),
        ("mitsuba", "2026-11-23 05:12:25 INFO  [x.cpp:1] Starting render job (32x32)\n", 0),
    ],
)
@pytest.mark.parametrize(("mode", "end"), [("0:0", 100), ("256:0", None)])
def test_the_end_of_good_work_is_100(
    parser: str, text: str, percent: int, mode: str, end: int | None
) -> None:
    made = load(parser)()
    made.setTaskInfo({"frames_num": 1})
    made.parse({"data": text, "mode": "RUN"})
    assert made.percent == percent
    made.parse({"data": "", "mode": mode})
    assert made.percent == (percent if end is None else end)


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("00:00:05   301MB         |     40% done - 110 rays/pixel", 40),
        ("[Redshift] \tBlock 2/5 (3,7) rendered by GPU 0 in 20ms", 40),
        ("[V-Ray] Rendering image...:  40.2%", 40),
        ("R90000   40%", 40),
        ("00:00:05   301MB         |    100% done - 110 rays/pixel", 99),
    ],
)
def test_percents_of_engines_in_blender(line: str, percent: int) -> None:
    made = load("blender")()
    made.setTaskInfo({"frames_num": 1})
    made.parse({"data": f"Fra:1 Mem:8M | Scene, ViewLayer\n{line}\n", "mode": "RUN"})
    assert made.percent == percent
    made.parse({"data": "Saved: 'a.exr'\nTime: 00:01.00 (Saving: 00:00.10)\n", "mode": "RUN"})
    assert made.percent == 100


def test_the_only_frame_is_complete_at_the_end() -> None:
    made = load("blender")()
    made.setTaskInfo({"frames_num": 1})
    made.parse({"data": "Saved: 'e_0001.exr'\nSaved: 'f.0001.png'\n", "mode": "RUN"})
    assert made.percent == 0  # nothing says how many files it has
    made.parse({"data": "", "mode": "0:0"})
    assert made.percent == 100


# What the program printed, and what it wrote.


class _Reports(RuleParser):
    tells_frames = True
    rules = (rule("frame ", r"frame (\d+)", new_frame),)


def _end(made: RuleParser, text: str = "", mode: str = "0:0", **info: object) -> RuleParser:
    made.setTaskInfo({"frames_num": 2, **info})
    made.parse({"data": text, "mode": "RUN"})
    made.parse({"data": "", "mode": mode})
    return made


def test_a_task_without_a_frame_is_no_success(tmp_path: Path) -> None:
    assert _end(_Reports(), "ready\n").badresult
    assert not _end(_Reports(), "frame 1\n").badresult
    assert not _end(_Reports(), "@IMAGE@a.png\n").badresult
    # Another exit code, or a stop, says more.
    assert not _end(_Reports(), "ready\n", "256:0").badresult
    assert not _end(_Reports(), "ready\n", "15:1764460800").badresult


def test_a_file_that_was_written_is_work(tmp_path: Path) -> None:
    (tmp_path / "f.0001.png").write_bytes(b"x")
    info: dict[str, Any] = {
        "wdir": str(tmp_path),
        "files": ["f.0001.png", "f.0002.png", "nul\0.png"],
    }
    assert not _end(_Reports(), **info).badresult
    before = time.time() - 3600
    os.utime(tmp_path / "f.0001.png", (before, before))
    assert _end(_Reports(), **info).badresult


@pytest.mark.parametrize(
    ("parser", "command", "bad"),
    [
        ("blender", "blender -b a.blend -P export.py", False),
        ("blender", "blender -b a.blend --python export.py -- out.usd", False),
        ("blender", "blender -b a.blend -P setup.py -f 1", True),
        ("blender", "blender -b a.blend -a", True),
        ("nuke", "nuke -t script.py", False),
        ("nuke", "/usr/local/Nuke15.1v1/Nuke15.1 -x comp.nk 1,2", True),
        ("nuke", "nuke -t -x comp.nk", True),
        ("mitsuba", "python3 render.py", False),
        ("afterfx", "afterfx -noui -r export.jsx", False),
        ("afterfx", "aerender -project a.aep -reuse", True),
        ("natron", "NatronRenderer -t", False),
        ("natron", "NatronRenderer -w Write1 1-2 a.ntp", True),
        ("mitsuba", "mitsuba scene.xml", True),
    ],
)
def test_a_script_may_render_nothing(parser: str, command: str, bad: bool) -> None:
    made = load(parser)()
    assert isinstance(made, RuleParser)
    assert _end(made, command=command).badresult is bad


# What counts.

TABLE = Messages(
    markers=(like("error: ", r"^ERROR: "),),
    fatal=("license error", "fatal error"),
    bad=("damaged",),
    aborts=("stopped early",),
    assets=(like("lost file ", r"lost file \"(.+?)\""),),
    ignored=(like("error: ignore", r"^ERROR: ignore"),),
)


@pytest.mark.parametrize(
    ("line", "flags", "asset"),
    [
        ("a License Error here", ("error",), ""),
        ("license error: 12", ("error",), ""),
        ("(license error)", ("error",), ""),
        ("ERROR: license error", ("error",), ""),
        ("ERROR: odd", ("warning",), ""),
        ("ERROR: ignore the license error", (), ""),
        ("x ERROR: odd", (), ""),
        ("frame damaged, license error", ("error", "badresult"), ""),
        ("stopped early", ("badresult",), ""),
        ('lost file "a b.exr"', ("warning",), "a b.exr"),
        ('ERROR: lost file "a.exr"', ("warning",), "a.exr"),
        # Word boundaries.
        ("sublicense error", (), ""),
        ("license errors", (), ""),
        ("license error_log", (), ""),
        ("a non-fatal error", (), ""),
        ("fatal error-free", (), ""),
        # File names, paths, quoted names, commands.
        ("reading license error.exr", (), ""),
        ("reading /proj/license error/a.exr", (), ""),
        ("reading /proj/the license error of it/a.exr", (), ""),
        (r"reading C:\proj\fatal error\a.exr", (), ""),
        (r"reading \\server\fatal error\a.exr", (), ""),
        ("reading proj/fatal error/a.exr", (), ""),
        ('layer "license error"', (), ""),
        ("layer 'license error'", (), ""),
        ("layer `license error'", (), ""),
        ("+ echo license error", (), ""),
        ("Command: render license error", (), ""),
        ("[12:00] Command Line: render license error", (), ""),
        # What follows a name counts.
        ("/proj/a.exr: fatal error", ("error",), ""),
        ("writing /proj/a b.exr: fatal error", ("error",), ""),
        ("can't open 'a.exr', fatal error", ("error",), ""),
        ('"license error" and license error', ("error",), ""),
    ],
)
def test_which_texts_count(line: str, flags: tuple[str, ...], asset: str) -> None:
    verdict = make_scanner((TABLE,)).judge(line)
    assert (verdict.flags if verdict else ()) == flags
    assert (verdict.asset if verdict else "") == asset


@pytest.mark.parametrize(
    ("parser", "line", "flags", "asset"),
    [
        ("blender", "Error: CUDA kernel compilation failed, see console for details.", "error", ""),
        ("blender", "Error: Out of memory in Metal queue", "error", ""),
        ("blender", "Error: engine 'REDSHIFT' not found", "error", ""),
        ("blender", "KeyError: 'bpy_prop_collection[key]: key not found'", "warning", ""),
        ("blender", "Fra:1 Mem:8M | Scene, License error | Sample 1/4", "", ""),
        (
            "blender",
            "AL lib: (EE) Could not open playback device: No such file or directory",
            "",
            "",
        ),
        ("afterfx", "aerender Fehler: Kein Projekt", "error", ""),
        (
            "afterfx",
            "WARNING:After Effects warning: Can\u2019t open file /a/b.mov",
            "warning",
            "/a/b.mov",
        ),
        ("afterfx", "PROGRESS: Starting composition \u201caerender ERROR\u201d.", "", ""),
        ("nuke", "[10:47.47] ERROR: Write1: Insufficient disk space", "error", ""),
        ("nuke", "RuntimeError: No active Write operators", "error", ""),
        ("nuke", "ERROR: OCIOColorSpace1: Unknown Colorspace", "warning", ""),
        ("nuke", "Failed to load /opt/ofx/glow.ofx", "warning", "/opt/ofx/glow.ofx"),
        ("natron", "ERROR: Write1: Could not write to file", "error", ""),
        ("natron", "ERROR: Read1: Could not open file /a/b.0001.exr", "warning", "/a/b.0001.exr"),
        ("natron", "Info: init.py script not loaded (this is not an error)", "", ""),
        ("fusion", "Saver1 failed at time 12", "badresult", ""),
        ("fusion", "Loader1 cannot get Parameter for Filename at time 3", "warning", ""),
        ("fusion", "[12:00] Error: no license", "error", ""),
        ("ffmpeg", "[out#0/mp4 @ 0x1] Error writing trailer: No space left on device", "error", ""),
        ("ffmpeg", "    title           : Error opening output file", "", ""),
        ("povray", "File 'a.pov' line 5: Possible Parse Error: odd", "warning", ""),
        ("povray", "File 'a.pov' line 5: Parse Error: odd", "error", ""),
        (
            "mitsuba",
            '2026-11-23 05:12:25 WARN  [x.cpp:1] texture "a.exr" not found',
            "warning",
            "a.exr",
        ),
        ("clarisse", "[ERROR] License not found", "warning", ""),
        ("lightwave", "Error: Can't open image file C:\\a\\b.tga", "warning", "C:\\a\\b.tga"),
        ("rvio", "ERROR: cannot open /a/b.mov", "warning", ""),
        ("rvio", "12 frames, 0 errors", "", ""),
        ("generic", 'echo "[ PARSER ERROR ] bad"', "", ""),
    ],
)
def test_what_a_line_means(parser: str, line: str, flags: str, asset: str) -> None:
    made = load(parser)()
    made.setTaskInfo({"frames_num": 4})
    made.parse({"data": line + "\n", "mode": "RUN"})
    set_flags = [
        flag
        for flag in ("warning", "error", "badresult", "fatalerror", "finishedsuccess")
        if getattr(made, flag)
    ]
    assert set_flags == flags.split()
    assert made.missing_assets[1] == ((asset,) if asset else ())


def test_a_long_line_is_searched_to_its_end() -> None:
    scanner = make_scanner((TABLE,))
    for before in (0, 3990, 4000, 7000, 60_000):
        verdict = scanner.judge("x " * (before // 2) + "license error")
        assert verdict is not None
        assert verdict.flags == ("error",)
    assert scanner.judge("x" * 3000 + "ERROR: " + "y" * 60_000) is None  # not at its begin


def test_positions_agree_where_lower_case_is_longer() -> None:
    text = "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * 20 + "\nlicense error\n"
    ((start, end, _),) = make_scanner((TABLE,)).scan(text)
    assert text[start:end] == "license error"


def test_words_limit_the_lines_that_are_read() -> None:
    scanner = make_scanner((TABLE._replace(words=("LICENSE",)),))
    assert [text for _, _, text in scanner.scan("fatal error\nframe damaged\n")] == []
    assert len(scanner.scan("a license, a fatal error\n")) == 1


def test_a_pattern_needs_a_token() -> None:
    with pytest.raises(ValueError, match="text to look for"):
        like("", "x")


@pytest.mark.parametrize("make", [like, lambda token, pattern: rule(token, pattern, frame_end)])
def test_a_wrong_pattern_is_named(make: Callable[[str, str], object]) -> None:
    with pytest.raises(ValueError, match=r"the pattern '\(odd' for lines with 'odd' is no regular"):
        make("odd", "(odd")


def test_colours_are_no_part_of_a_line() -> None:
    verdict = make_scanner((TABLE,)).judge("\x1b[1;31mERROR: \x1b[0mlicense error\x1b[0m")
    assert verdict is not None
    assert verdict.flags == ("error",)


@pytest.mark.parametrize(
    "piece",
    [
        "'",
        '"',
        "`",
        "/",
        "/a ",
        "a/b ",
        "C:\\",
        "\\\\",
        "'a' ",
        "x ",
        "x/",
        "./",
        "://",
        "\u201c",
        "[",
        "12:",
    ],
)
@pytest.mark.parametrize("name", ["blender", "nuke", "ffmpeg", "fusion", "natron", "lightwave"])
def test_a_hostile_line_takes_no_quadratic_time(name: str, piece: str) -> None:
    """64 KiB, the longest line that a parser gets; the limit is far above the time it takes."""
    line = (piece * (65536 // len(piece)))[:60_000] + " error not failed\n"
    made = load(name)()
    started = time.process_time()
    made.parse({"data": line, "mode": "RUN"})
    assert time.process_time() - started < 2


class _Frames(RuleParser):
    messages = (TABLE,)
    rules = (
        rule("frame ", r"frame (\d+)", new_frame),
        rule("%", r"(\d+)%", frame_percent),
        rule("done", r"done", frame_end),
    )


@pytest.mark.parametrize(
    ("text", "frame", "percentframe"),
    [
        ("frame 1\n5%\nstopped early\n60%\ndone\n", 0, 5),
        ("frame 1\n5%\nstopped early\ndone\nframe 2\n50%\n", 0, 50),  # the second counts
        ("frame 1\ndone\nframe 2\nstopped early\nframe 3\ndone\nframe 4\n", 2, 0),
        ("frame 1\n5%\nlicense error\ndone\nframe 2\ndone\n", 0, 5),  # an error ends all
        ("frame 1\n5%\ndamaged\ndone\n", 0, 100),
    ],
)
def test_aborted_is_not_complete(text: str, frame: int, percentframe: int) -> None:
    whole, lines = _Frames(), _Frames()
    whole.setTaskInfo({"frames_num": 4})
    lines.setTaskInfo({"frames_num": 4})
    whole.parse({"data": text, "mode": "RUN"})
    for line in text.splitlines(keepends=True):
        lines.parse({"data": line, "mode": "RUN"})
    for made in (whole, lines):
        assert (made.frame, made.percentframe) == (frame, percentframe)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_deciding_line_has_its_number(end: str) -> None:
    text = end.join(["one", "1%\r2%\r3%", " a license error ", "a fatal error", ""])
    made = _Frames()
    made.parse({"data": text, "mode": "RUN"})
    made.parse({"data": "damaged\n", "mode": "RUN"})
    assert made.deciding_line == (3, "a license error")


def test_the_report_has_the_missing_files() -> None:
    made = _Frames()
    names = [f"{number}.exr" for number in range(12)]
    made.parse({"data": "".join(f'lost file "{name}"\n' for name in names * 2), "mode": "RUN"})
    assert made.missing_assets == (12, tuple(names[:10]))
    assert made.report == "12 missing assets: 0.exr, 1.exr, 2.exr and 9 more"
    made.parse({"data": "ERROR: odd\ndamaged\nERROR: odder\n", "mode": "RUN"})
    assert made.report == "damaged; ERROR: odd; 12 missing assets: 0.exr, 1.exr, 2.exr and 9 more"
    made.parse({"data": "REPORT: mine\n", "mode": "RUN"})
    made.parse({"data": "license error\n", "mode": "RUN"})
    assert made.report == ""  # the last one of the program stays


def test_missing_files_that_are_not_checked_are_counted_and_nothing_else() -> None:
    made = _Frames()
    made.warns_of_assets = False
    made.parse({"data": 'lost file "a.exr"\n', "mode": "RUN"})
    assert (made.warning, made.report, made.missing_assets) == (False, "", (1, ("a.exr",)))
    made.parse({"data": 'lost file "b.exr"\nERROR: odd\n', "mode": "RUN"})
    assert (made.warning, made.report) == (True, "ERROR: odd"), "another warning stays"


def test_missing_files_are_bounded() -> None:
    made = _Frames()
    made.parse({"data": "".join(f'lost file "{n}.exr"\n' for n in range(10_500)), "mode": "RUN"})
    assert made.missing_assets[0] == 10_000


# Names, times, options.


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("left.0012.exr", "12"),
        ("e_0012.png", "12"),
        ("s_0012_L.png", "12"),
        ("beauty_0012_denoised.exr", "12"),
        ("beauty.0012.left.exr", "12"),
        ("shot_v012_beauty.exr", None),
        ("a-0003.exr", "3"),
        ("movie.mp4", None),
        ("f.0000.png", "0"),
    ],
)
def test_the_number_of_a_frame(name: str, number: str | None) -> None:
    assert frame_number(name) == number


@pytest.mark.parametrize(
    ("time", "rate", "frames"),
    [
        ("0:00:00:04", 25.0, 4),
        ("0:00:10:00", 29.97, 300),
        ("0;00;10;00", 29.97, 300),
        ("0;01;00;02", 29.97, 1800),
        ("0;10;00;00", 29.97, 17982),
        ("1;00;00;00", 59.94, 215784),
        ("00250", 25.0, 250),
        ("0015+10", 24.0, 250),
        ("0:00:04", 25.0, 0),
        ("a:b:c:d", 25.0, 0),
        ("", 25.0, 0),
        ("12+x", 25.0, 0),
    ],
)
def test_the_frames_of_a_time_code(time: str, rate: float, frames: int) -> None:
    assert count_frames(time, rate) == frames


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("01:02:03.5", 3723.5),
        ("02:03", 123.0),
        ("200ms", 0.2),
        ("-3", -3.0),
        ("x", None),
    ],
)
def test_a_time_of_ffmpeg(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("command", "seconds", "frames"),
    [
        ("ffmpeg -ss 10 -i a.mov -t 5 o.mov", 5.0, 0),
        ("ffmpeg -i a.mov -ss 10 -to 00:00:30 o.mov", 20.0, 0),
        ("ffmpeg -ss 10 -to 20 -i a.mov o.mov", 10.0, 0),
        ("ffmpeg -ss 90 -i a.mov -t 60 o.mov", 10.0, 0),
        ("ffmpeg -ss 90 -i a.mov o.mov", 10.0, 0),
        ('"C:\\bin\\ffmpeg.exe" -sseof -3 -i a.mov o.mov', 3.0, 0),
        ("cd /x && /usr/bin/ffmpeg -y -i a.%04d.exr -frames:v 30 o.mp4 && rm -t 5 b", 100.0, 30),
        ("ffmpeg -i a.mov o.mov", 100.0, 0),
        ("ffmpeg -i 'a b", 100.0, 0),
    ],
)
def test_what_ffmpeg_encodes(command: str, seconds: float, frames: int) -> None:
    span = read_span(command)
    assert span is not None
    assert span.seconds(100.0) == pytest.approx(seconds)
    assert span.frames == frames


@pytest.mark.parametrize("command", ["", "ffmpeg -version", "blender -b -i x", "echo ffmpeg"])
def test_no_command_of_ffmpeg(command: str) -> None:
    assert read_span(command) is None


def test_ffmpeg_counts_a_part_of_its_input() -> None:
    made = load("ffmpeg")()
    made.setTaskInfo({"command": "ffmpeg -ss 10 -i a.mov -t 4 o.mov"})
    text = "Duration: 00:01:40.00\nOutput #0, mov, to 'o.mov':\ntime=00:00:01.00\n"
    made.parse({"data": text, "mode": "RUN"})
    assert made.percent == 25
    made.parse({"data": "time=00:00:03.96\n", "mode": "RUN"})
    assert made.percent == 99
    made.parse({"data": "", "mode": "0:0"})
    assert made.percent == 100

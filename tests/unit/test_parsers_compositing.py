"""Results of the parsers of Houdini, compositing, tools and transfers for recorded logs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.parsers import Case, Outcome, check, ids, load

from parsers.afterfx import afterfx
from parsers.fusion import fusion
from parsers.mantra import mantra
from parsers.nuke import nuke
from parsers.parser import parser

WARNING = frozenset({"warning"})
ERROR = frozenset({"error"})
BAD = frozenset({"badresult"})
SUCCESS = frozenset({"finishedsuccess"})
NO_FRAME_REPORTED = "the program ended with exit code 0 and reported no frame"

HOUDINI = (
    Case(
        "mantra",
        "mantra_frame",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=WARNING,
            report="1 missing asset: /data/tex/gone.rat",
            missing_assets=(1, ("/data/tex/gone.rat",)),
            resources="mantra_gb:10",
            files=("out/beauty 1.exr", "out/extra.PNG"),
        ),
    ),
    Case("mantra", "mantra_licence", 1, Outcome(flags=ERROR)),
    Case("mantra", "mantra_stdin", 1, Outcome(flags=ERROR)),
    Case(
        "karma",
        "karma_frames",
        4,
        Outcome(
            percent=31,
            frame=1,
            percentframe=25,
            flags=WARNING,
            resources="karma_gb:1.5",
            files=("out/k.0001.exr", "out/k.0002.exr"),
        ),
    ),
    Case(
        "husk",
        "husk_karma",
        2,
        Outcome(
            percent=85,
            frame=1,
            percentframe=71,
            flags=WARNING,
            report="1 missing asset: gone.usd",
            missing_assets=(1, ("gone.usd",)),
        ),
    ),
    Case(
        "hbatch", "hbatch_alembic", 4, Outcome(percent=62, frame=2, percentframe=50, flags=WARNING)
    ),
    Case(
        "hbatch",
        "hbatch20_verbose",
        4,
        Outcome(
            percent=50,
            frame=2,
            flags=WARNING,
            report="Error:       Failed to create file /nowhere/a.bgeo.sc",
        ),
    ),
    Case(
        "hbatch_mantra",
        "hbatch_mantra_frames",
        4,
        Outcome(
            percent=35,
            frame=1,
            percentframe=40,
            flags=WARNING,
            resources="mantra_gb:2",
            files=("hm/a.0001.exr", "hm/shadow.0001.rat", "hm/a.0002.exr"),
        ),
    ),
    Case(
        "hbatch_karma",
        "hbatch_karma_frames",
        2,
        Outcome(
            percent=80,
            frame=1,
            percentframe=60,
            flags=WARNING,
            files=("hk/a.0005.exr", "hk/a.0006.exr"),
        ),
    ),
    Case(
        "hbatch_prman",
        "hbatch_prman_frames",
        2,
        Outcome(percent=60, frame=1, percentframe=20, files=("hp/a.0001.exr",)),
    ),
    Case(
        "hbatch_redshift",
        "hbatch_redshift_frames",
        2,
        Outcome(
            percent=62,
            frame=1,
            percentframe=25,
            flags=WARNING,
            report="Failed to create /nowhere",
            resources="triangles:1200",
        ),
    ),
    Case(
        "houdinitoarnold",
        "houdinitoarnold_frames",
        2,
        Outcome(
            percent=72,
            frame=1,
            percentframe=45,
            flags=ERROR,
            resources="arnold_gb:1.5",
            files=("ha/a.0001.exr",),
        ),
    ),
)

COMPOSITING = (
    Case(
        "nuke",
        "nuke15_frames",
        4,
        Outcome(
            percent=85,
            frame=3,
            percentframe=40,
            activity="left",
            files=tuple(f"nk/my shot/c.{frame}.exr" for frame in (1077, 1078, 1079)),
        ),
    ),
    Case(
        "nuke",
        "nuke6_frames",
        4,
        Outcome(
            percent=57,
            frame=2,
            percentframe=30,
            files=("nk/old.0001.tif", "nk/depth.0001.tif", "nk/old.0002.tif", "nk/old.0003.tif"),
        ),
    ),
    Case(
        "nuke",
        "nuke6_told",
        3,
        Outcome(
            percent=86,
            frame=2,
            percentframe=60,
            files=tuple(f"nk/told.000{frame}.tif" for frame in (1, 2, 3)),
        ),
    ),
    Case("nuke", "nuke15_licence", 1, Outcome(flags=ERROR)),
    Case("nuke", "nuke5_licence", 1, Outcome(flags=ERROR)),
    Case("natron", "natron_two_writers", 4, Outcome(percent=75, frame=3)),
    Case(
        "natron",
        "natron1_frames",
        2,
        Outcome(percent=100, frame=2, activity="main", flags=ERROR),
    ),
    Case("afterfx", "afterfx_frames", 4, Outcome(percent=75, frame=3, flags=ERROR)),
    Case("afterfx", "afterfx_frames", 1, Outcome(percent=75, percentframe=75, flags=ERROR)),
    Case("afterfx", "afterfx_german", 4, Outcome(percent=50, frame=2)),
    Case("afterfx", "afterfx_german", 1, Outcome(percent=100, percentframe=100)),
    Case("afterfx", "afterfx_silent", 1, Outcome(flags=BAD, report=NO_FRAME_REPORTED)),
    Case("fusion", "fusion_console", 4, Outcome(percent=75, frame=3)),
    Case("fusion", "fusion_console", 1, Outcome(percent=75, percentframe=75)),
    Case("fusion", "fusion_done", 11, Outcome(percent=100, frame=11, flags=SUCCESS)),
    Case("fusion", "fusion_failed", 2, Outcome(percent=50, frame=1, flags=ERROR)),
    Case("rvio", "rvio_movie", 1, Outcome(percent=50, percentframe=50)),
)

TOOLS = (
    Case("redline", "redline_export", 1, Outcome(percent=50, percentframe=50)),
    Case("redline", "redline_complete", 1, Outcome(percent=100, percentframe=100)),
    Case("rsync", "rsync_each", 1, Outcome(percent=100, percentframe=100)),
    Case("rsync", "rsync_single", 1, Outcome(percent=100, percentframe=100)),
    Case("rsync", "rsync_progress2", 1, Outcome(percent=100, percentframe=100)),
    Case(
        "rsync",
        "rsync_missing",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=WARNING,
            report='rsync: [sender] link_stat "/data/nope" failed: No such file or directory (2)',
        ),
    ),
    Case("curl", "curl_meter", 2, Outcome(percent=80, frame=1, percentframe=60)),
    Case("curl", "curl_meter", 1, Outcome(percent=100, frame=1, percentframe=100)),
    Case("curl", "curl_unknown", 1, Outcome()),
    Case("curl", "curl_upload", 1, Outcome(percent=35, percentframe=35)),
    Case("curl", "curl_bar", 1, Outcome(percent=60, percentframe=60)),
    Case("curl", "curl_parallel", 1, Outcome(percent=80, percentframe=80)),
    Case(
        "awscli",
        "awscli_upload",
        1,
        Outcome(
            percent=96,
            percentframe=96,
            flags=WARNING,
            report="upload failed: src/f1.bin to s3://bucket/src/f1.bin An error occurred"
            " (AccessDenied) when calling the PutObject operation: Access Denied",
        ),
    ),
    Case("awscli", "awscli_download", 1, Outcome(percent=100, percentframe=100)),
    Case("awscli", "awscli_parts", 1, Outcome(percent=75, percentframe=75)),
    Case("ftrack", "ftrack_failed", 1, Outcome(flags=ERROR)),
    Case("shotgun", "shotgun_failed", 1, Outcome(flags=ERROR)),
    Case(
        "povray",
        "povray_animation",
        3,
        Outcome(percent=100, frame=2, percentframe=100, files=("an1.png", "an2.png", "an3.png")),
    ),
    Case("povray", "povray_stopped", 1, Outcome(percent=38, percentframe=38, files=("a.png",))),
    Case("povray", "povray_broken", 1, Outcome(flags=ERROR, files=("bad.png",))),
    Case(
        "oiiotool",
        "oiiotool_frames",
        4,
        Outcome(
            percent=75,
            frame=3,
            flags=WARNING | BAD,
            resources="oiiotool_gb:0.5",
            files=("o.0001.jpg", "o.0003.jpg", "o.0002.jpg"),
        ),
    ),
    Case("maketx", "maketx_verbose", 1, Outcome(activity="Mipmapping", resources="maketx_gb:2")),
    Case("maketx", "maketx_missing", 1, Outcome(flags=BAD)),
    Case(
        "usdrecord",
        "usdrecord_frames",
        4,
        Outcome(
            percent=50,
            frame=2,
            flags=WARNING,
            report="1 missing asset: ./gone.usd",
            missing_assets=(1, ("./gone.usd",)),
        ),
    ),
    Case("usdrecord", "usdrecord_aborted", 2, Outcome(flags=ERROR)),
)

CASES = (*HOUDINI, *COMPOSITING, *TOOLS)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_result_for_a_recorded_log(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)


def _percents(name: str, lines: list[str], frames: int = 1) -> list[int]:
    """The percent after each line."""
    made = load(name)()
    made.setTaskInfo({"frames_num": frames})
    seen = []
    for line in lines:
        made.parse({"data": line + "\n", "mode": "RUN"})
        seen.append(made.percent)
    assert made.problem == ""
    return seen


# Houdini.


def test_files_of_pdg_are_named_by_the_task_environment(tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_bytes(b"x")
    made = mantra()
    made.setTaskInfo({"environment": {"PDG_DIR": str(tmp_path).encode()}})
    made.parse({"data": "PDG_RESULT:5;__PDG_DIR__/a.exr;file/image;0\n", "mode": "RUN"})
    assert [Path(file) for file in made.getFiles()] == [tmp_path / "a.exr"]


@pytest.mark.parametrize("name", ["mantra", "karma", "hbatch_mantra", "hbatch_karma"])
@pytest.mark.parametrize(
    "line", ["50% of ALF_PROGRESS ", "ALF_PROGRESS x%", "ALF_PROGRESS", "ALF_PROGRESS -1%"]
)
def test_junk_is_no_progress_and_hides_no_resources(name: str, line: str) -> None:
    figures = {"mem_total_mb": 12000, "mem_free_mb": 2000, "cpu_user": 40, "cpu_system": 2}
    resources = json.dumps({"host_resources": figures})
    made = load(name)()
    made.parse({"data": line + "\n", "mode": "RUN", "resources": resources})
    assert (made.percent, made.problem) == (0, "")
    assert made.resources == "mem_peak_mb:10000 cpu_avg:42"


@pytest.mark.parametrize("name", ["karma", "husk", "hbatch_karma"])
def test_an_image_of_karma_counts_no_frame(name: str) -> None:
    assert _percents(name, ["Image: a.exr (8x8)", "@IMAGE@a.exr"], 2) == [0, 0]


def test_karma_reads_other_markers_too(tmp_path: Path) -> None:
    (tmp_path / "m.exr").write_bytes(b"x")
    made = load("karma")()
    made.setTaskInfo({"wdir": str(tmp_path)})
    made.parse({"data": "@IMAGE@m.exr\n", "mode": "RUN"})
    assert made.getFiles() == [str(tmp_path / "m.exr")]


def test_a_frame_of_several_passes_is_one_frame_if_frames_are_reported() -> None:
    passes = ["ALF_PROGRESS 100%", "ALF_PROGRESS 10%"] * 3
    assert _percents("mantra", passes, 10)[-1] == 31
    assert _percents("hbatch_mantra", ["RopNode.render: frame 1", *passes], 10)[-1] == 10


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("hbatch_mantra", ["hbatch", "mantra"]),
        ("hbatch_karma", ["hbatch", "karma"]),
        ("hbatch_prman", ["hbatch", "prman"]),
        ("hbatch_redshift", ["hbatch", "redshift"]),
        ("houdinitoarnold", ["hbatch", "arnold"]),
        ("husk", ["karma"]),
    ],
)
def test_parsers_inside_houdini_have_the_texts_of_both(name: str, bases: list[str]) -> None:
    made = load(name)
    for base in bases:
        assert issubclass(made, load(base))
        assert set(load(base)().str_error) <= set(made().str_error)
        assert set(load(base)().str_warning) <= set(made().str_warning)


# Nuke.


def _nuke(frames: int) -> nuke:
    made = nuke()
    made.setTaskInfo({"frames_num": frames})
    return made


def test_nuke_shows_tenths_as_they_are_printed() -> None:
    made = _nuke(4)
    seen = []
    for tail in (".", ".1", ".1.2", ".1.2.3", ".1.2.3."):
        made.parse({"data": "", "mode": "RUN", "tail": tail})
        seen.append(made.percentframe)
    assert seen == [0, 10, 20, 30, 30]
    made.parse({"data": ".1.2.3.4\n", "mode": "RUN"})
    assert (made.percentframe, made.frame) == (40, 0)


def test_nuke_shows_tenths_after_a_name() -> None:
    made = _nuke(4)
    made.parse({"data": "Writing a.0001.tif .1.2.3.4.5.6.7.8.9\n", "mode": "RUN"})
    seen = []
    for tail in (
        "Writing a.00",
        "Writing a.0002.tif ",
        "Writing a.0002.tif .1",
        "Writing a.0002.tif .1.2",
    ):
        made.parse({"data": "", "mode": "RUN", "tail": tail})
        seen.append((made.frame, made.percentframe))
    assert seen == [(0, 90), (0, 90), (1, 10), (1, 20)]
    made.parse({"data": "Writing a.0002.tif .1.2.3\n", "mode": "RUN"})
    assert (made.frame, made.percentframe) == (1, 30)


@pytest.mark.parametrize("cut", [26, 40, 60, 75, 76])
def test_nuke_keeps_the_tenths_before_an_error_in_the_same_line(cut: int) -> None:
    """Whether they were seen before the rest of the line came or not."""
    line = "Writing nk/old.0001.tif .1.2.3.4.5.6.7.8.9A license for nuke was not found\n"
    made = _nuke(2)
    made.parse({"data": "", "mode": "RUN", "tail": line[:cut].rstrip("\n")})
    made.parse({"data": line, "mode": "RUN"})
    whole = _nuke(2)
    whole.parse({"data": line, "mode": "RUN"})
    assert (made.percent, made.frame) == (whole.percent, whole.frame) == (45, 0)


@pytest.mark.parametrize(
    "line",
    ["took 0.5", "it took .5", "x.5", "1.2.3", "see 10.5.1.2", "Writing a.tif took 0.5 seconds"],
)
def test_nuke_reads_only_tenths_as_tenths(line: str) -> None:
    assert _percents("nuke", [line]) == [0]


def test_nuke_shows_no_more_for_an_unfinished_line_than_for_the_whole() -> None:
    assert _percents("nuke", [".1.2.3.4.123 2024"]) == [40]
    assert _percents("nuke", ["Writing a.1.tif .1.2.3.13"]) == [30]


def test_nuke_counts_frames_not_files() -> None:
    frames = [
        line
        for frame in (1, 2, 3)
        for line in (
            f"Writing left.{frame:04d}.exr took 0.1 seconds",
            f"Writing right.{frame:04d}.exr took 0.1 seconds",
            f"Frame {frame} ({frame} of 4)",
        )
    ]
    assert _percents("nuke", frames, 4)[2::3] == [25, 50, 75]
    assert _percents("nuke", ["Frame 7 (1 of 1)"]) == [100]


def test_nuke_counts_frames_of_movies() -> None:
    lines = [f"Writing shot_v012.mov took 0.1 seconds\nFrame {n} ({n} of 4)" for n in (1, 2, 3, 4)]
    assert _percents("nuke", lines, 4) == [25, 50, 75, 100]


# After Effects, Fusion.


def test_after_effects_without_progress_is_a_bad_result_at_the_end() -> None:
    made = afterfx()
    made.parse({"data": "", "mode": "RUN"})
    assert not made.badresult
    made.parse({"data": "", "mode": "0:0"})
    assert made.badresult


def _fusion(folder: Path, command: str = "", **environment: str) -> fusion:
    made = fusion()
    made.setTaskInfo(
        {
            "frames_num": 2,
            "wdir": str(folder),
            "command": command,
            "environment": {"TEMP": str(folder), **environment},
        }
    )
    return made


def _look(made: parser, mode: str = "RUN") -> tuple[int, bool, bool]:
    made.parse({"data": "", "mode": mode})
    assert made.problem == ""
    return made.percent, made.error, made.finishedsuccess


def test_fusion_writes_a_log_file(tmp_path: Path) -> None:
    log = tmp_path / "fusion_render.log"
    log.write_bytes(b"Rendered frame 9 (2 of 2)\r\nError of yesterday\r\nRender completed\r\n")
    made = _fusion(tmp_path)
    assert made.ticks is True
    assert _look(made) == (0, False, False)
    with log.open("ab") as file:
        file.write(b"Rendered frame 1 (1 of 2), took 1 secs\r\nRendered fra")
        file.flush()
        assert _look(made) == (50, False, False)
        file.write(b"me 2 (2 of 2), took 1 secs\r\nError here\r\nRender comp")
        file.flush()
        assert _look(made) == (100, True, False)
        file.write(b"leted")
    assert _look(made) == (100, True, False)
    assert _look(made, "0:0") == (100, True, True)
    assert made.getLog() == (
        "Rendered frame 1 (1 of 2), took 1 secs\r\nRendered frame 2 (2 of 2), took 1 secs\r\n"
        "Error here\r\nRender completed"
    )


def test_fusion_truncates_its_log_file(tmp_path: Path) -> None:
    log = tmp_path / "fusion_render.log"
    log.write_bytes(b"x" * 1000)
    made = _fusion(tmp_path)
    log.write_bytes(b"Rendered frame 1 (1 of 2)\n")
    assert _look(made) == (50, False, False)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("fusion a.comp /render /log %OWN%/f.log /quit", "own/f.log"),
        ('fusion a.comp -log "$OWN/my f.log"', "own/my f.log"),
        ("fusion a.comp /Log=${OWN}/g.log", "own/g.log"),
        ("fusion a.comp /log near.log", "near.log"),
    ],
)
def test_fusion_gets_the_log_file_from_the_command(tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "own").mkdir()
    made = _fusion(tmp_path, command, OWN=str(tmp_path / "own"))
    (tmp_path / name).write_bytes(b"Rendered frame 1 (1 of 2)\n")
    (tmp_path / "fusion_render.log").write_bytes(b"Error of another task\n")
    assert _look(made) == (50, False, False)


def test_fusion_without_a_log(tmp_path: Path) -> None:
    (tmp_path / "fusion_render.log").mkdir()
    made = _fusion(tmp_path)
    assert _look(made, "0:0") == (0, False, False)
    assert made.getLog() is None
    nowhere = _fusion(tmp_path, "fusion /log nul\0l.log")
    assert _look(nowhere, "0:0") == (0, False, False)


def test_fusion_keeps_the_end_of_a_long_log(tmp_path: Path) -> None:
    made = _fusion(tmp_path)
    (tmp_path / "fusion_render.log").write_bytes(
        b"y" * 5_000_000 + b"\nRendered frame 1 (1 of 2)\n"
    )
    assert _look(made) == (50, False, False)
    log = made.getLog()
    assert log is not None
    assert len(log) == 16 * 1024
    assert log.endswith("(1 of 2)\n")


# Names.


@pytest.mark.parametrize(
    ("name", "line", "file"),
    [
        ("mantra", "Generating Image: {}  (1920x1080)", "a (b).exr"),
        ("mantra", "12:00 Generating Image: {}", "a b.exr"),
        ("karma", "[12:00:00] Image: {} (19 x 10)", "a.exr"),
        ("karma", "Image: {} (beauty)", ""),
        ("nuke", "[10:47.47] Writing {} took 0.13 seconds", "we took 5.0012.exr"),
        ("nuke", "Writing {} .1.2.3", "a b.0012.exr"),
        ("nuke", "Writing {}  ", "a b.mov"),
        ("oiiotool", "Writing {} ", "a b.0012.jpg"),
        ("povray", "  Output file..........{}, 24 bpp PNG", "./a, b.png"),
    ],
)
def test_names_are_found_among_other_words(tmp_path: Path, name: str, line: str, file: str) -> None:
    if file:
        (tmp_path / file).write_bytes(b"x")
    made = load(name)()
    made.setTaskInfo({"wdir": str(tmp_path)})
    made.parse({"data": line.format(file) + "\n", "mode": "RUN"})
    assert [Path(path).name for path in made.getFiles()] == [Path(file).name] * bool(file)


NAMES_HERE = sorted({case.parser for case in CASES})
FILLS = (" ", "0", ".", " 0", ".1", "a", "/", "-", ":", "#", " 1", "%", " (", "__a", "Image: ")


@pytest.mark.parametrize("name", NAMES_HERE)
def test_no_line_takes_long(name: str) -> None:
    """A pattern with quadratic time takes seconds for a line of the maximum length."""
    tokens = {one.token for one in getattr(load(name), "rules", ())} | {""}
    lines = [
        (before + token + fill * (60_000 // len(fill)))[:60_000] + "x"
        for token in tokens
        for before in ("", " ")
        for fill in FILLS
    ]
    slowest = 0.0
    for line in lines:
        made = load(name)()
        started_at = time.process_time()
        made.parse({"data": line + "\n", "mode": "RUN"})
        slowest = max(slowest, time.process_time() - started_at)
    assert slowest < 2


# Transfers.


def _row(percent: int, counts: str = "") -> str:
    return f"      5,000,000 {percent:3}%   22.24MB/s    0:00:00 {counts}"


def test_rsync_counts_files_that_have_percents_each() -> None:
    lines = [
        "src/",
        "src/a",
        _row(30),
        _row(100, "(xfr#1, to-chk=3/4)"),
        "src/b",
        _row(50),
        _row(100, "(xfr#2, to-chk=2/4)"),
        _row(100, "(xfr#3, to-chk=0/4)"),
    ]
    assert _percents("rsync", lines) == [0, 0, 0, 25, 25, 37, 50, 100]


def test_rsync_shows_percents_of_all_files() -> None:
    lines = [_row(10), _row(30, "(xfr#1, to-chk=3/4)"), _row(40), _row(45, "(xfr#2, to-chk=0/4)")]
    assert _percents("rsync", lines) == [10, 30, 40, 45]
    assert _percents("rsync", ["src/", *lines]) == [0, 0, 30, 40, 45]


def test_rsync_while_it_searches_for_files() -> None:
    lines = [
        "src/",
        _row(100, "(xfr#1, ir-chk=1020/1022)"),
        _row(50),
        _row(100, "(xfer#2, to-check=50/2000)"),
    ]
    assert _percents("rsync", lines) == [0, 0, 0, 97]


def test_a_single_file_of_rsync_has_its_own_percents() -> None:
    assert _percents("rsync", ["big.bin", _row(36), _row(100, "(xfr#1, to-chk=0/1)")]) == [
        0,
        36,
        100,
    ]


def test_absurd_numbers_of_transfers() -> None:
    digits = "9" * 5000
    for name, line in (
        ("rsync", _row(100, "(xfr#1, to-chk=0/0)")),
        ("rsync", _row(999)),
        ("awscli", "Completed 1.0 MiB/0 Bytes (0 Bytes/s)"),
        ("awscli", f"Completed {digits} of {digits} part"),
        ("awscli", "Completed 0 file(s) with 0 file(s) remaining"),
        ("redline", f"x 0.{digits}"),
        ("fusion", f"Rendered frame 1 ({digits} of {digits})"),
        ("nuke", f"Frame 1 ({digits} of {digits})"),
        ("curl", f" {digits} 1M 1 1M 1 1M 1 1 -"),
        ("povray", f"Rendered {digits} of 0 pixels"),
        ("afterfx", f"PROGRESS:  0:00:00:00 ({digits}): 0 Seconds"),
    ):
        assert 0 <= _percents(name, [line])[0] <= 100
    assert _percents("awscli", ["Completed 3 file(s) with 1 file(s) remaining"]) == [75]
    assert _percents("awscli", ["Completed 3 file(s) with ~1 file(s) remaining"]) == [0]


def test_absurd_numbers_are_at_most_100() -> None:
    assert _percents("rsync", [_row(999)]) == [100]


# All parsers of Afanasy.

NAMES_OF_AFANASY = (
    "generic", "blender", "blender_cycles", "blender_render", "blender_yafray", "yafray", "nuke",
    "natron", "maya", "maya_arnold", "maya_redshift", "maya_mental", "maya_delight", "mayafumefx",
    "mayatoarnold", "mayatomr", "mayatovray", "arnold", "houdinitoarnold", "xsi_arnold",
    "xsi_arnold_watermarked", "xsi_redshift", "xsi", "max", "mentalray", "mantra", "karma",
    "hbatch", "hbatch_mantra", "hbatch_karma", "hbatch_prman", "hbatch_redshift", "prman",
    "redshift", "vray", "ffmpeg", "rvio", "clarisse", "c4d", "afterfx", "fusion", "lightwave",
    "rsync", "curl", "awscli", "redline", "ftrack", "shotgun",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES_OF_AFANASY)
def test_a_job_of_afanasy_finds_its_parser(name: str) -> None:
    made = load(name)
    assert issubclass(made, parser)
    assert made.__name__ == name
    made().parse({"data": "text alone\n"})


def test_the_list_of_names_is_complete() -> None:
    assert len(set(NAMES_OF_AFANASY)) == 48

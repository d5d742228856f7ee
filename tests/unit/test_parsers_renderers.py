"""Results of the parsers of renderers, and of programs with renderers inside, for recorded logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.parsers import Case, Outcome, check, follow, ids, load

from parsers.yafray import yafray

WARNING = frozenset({"warning"})
ERROR = frozenset({"error"})

CASES = (
    Case(
        "arnold",
        "arnold7_kick",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=WARNING,
            report="00:00:01   180MB WARNING | rendering with watermarks because of failed authorization:",
            resources="arnold_gb:1.5",
            files=("out/beauty.0001.exr", "out/my depth.0001.exr"),
        ),
    ),
    Case(
        "arnold",
        "arnold7_frames",  # with Windows line ends
        4,
        Outcome(percent=57, frame=2, percentframe=30, flags=ERROR, resources="arnold_gb:2"),
    ),
    Case("arnold", "arnold7_licence", 1, Outcome(flags=ERROR)),
    Case(
        "houdinitoarnold",
        "htoa_render",
        2,
        Outcome(
            percent=70,
            frame=1,
            percentframe=40,
            flags=WARNING | ERROR,
            resources="arnold_gb:0.75",
            files=("out/h.0001.exr",),
        ),
    ),
    Case("houdinitoarnold", "htoa_export", 4, Outcome(percent=50, frame=2, flags=ERROR)),
    Case(
        "maya",
        "maya_software",
        2,
        Outcome(
            percent=100,
            frame=2,
            flags=ERROR,
            files=(
                "img/layer1/shot.0001.iff",
                "img/layer2/shot.0001.iff",
                "img/layer1/shot.0002.iff",
            ),
        ),
    ),
    Case(
        "maya",
        "maya_software",
        1,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            flags=ERROR,
            files=("img/layer1/shot.0001.iff",),
        ),
    ),
    Case(
        "maya_arnold",
        "maya_arnold",
        2,
        Outcome(
            percent=62,
            frame=1,
            percentframe=25,
            flags=ERROR,
            resources="arnold_gb:1",
            files=("images/shot_0001.exr",),
        ),
    ),
    Case(
        "maya_redshift",
        "maya_redshift",
        3,
        Outcome(percent=75, frame=2, percentframe=25, flags=ERROR, resources="triangles:1204512"),
    ),
    Case(
        "redshift",
        "redshift_cmdline",  # with Windows line ends
        3,
        Outcome(percent=100, frame=3, resources="triangles:96"),
    ),
    Case(
        "redshift",
        "redshift_cmdline",
        1,
        Outcome(percent=100, frame=1, percentframe=100, resources="triangles:96"),
    ),
    Case("redshift", "redshift_licence", 1, Outcome(flags=ERROR)),
    Case("maya_delight", "maya_delight", 4, Outcome(percent=50, frame=2, flags=ERROR)),
    Case(
        "maya_mental",
        "maya_mental",
        2,
        Outcome(percent=60, frame=1, percentframe=20, flags=ERROR, files=("img/a.0000.iff",)),
    ),
    Case("mayafumefx", "mayafumefx", 6, Outcome(percent=50, frame=3, flags=ERROR)),
    Case("mayatoarnold", "mayatoarnold", 4, Outcome(percent=50, frame=2, flags=ERROR)),
    Case("mayatomr", "mayatomr", 2, Outcome(percent=62, frame=1, percentframe=25)),
    Case("mayatovray", "mayatovray", 3, Outcome(percent=100, frame=3, activity="Layer 2:")),
    Case("mayatovray", "mayatovray", 6, Outcome(percent=50, frame=3, activity="Layer 2:")),
    Case(
        "mentalray",
        "mentalray",
        2,
        Outcome(percent=56, frame=1, percentframe=12, files=("img/m.0001.exr",)),
    ),
    Case("xsi", "xsi_mental", 2, Outcome(percent=75, frame=1, percentframe=50)),
    Case(
        "xsi_arnold",
        "xsi_arnold",
        4,
        Outcome(percent=85, frame=3, percentframe=40, activity="rendering.."),
    ),
    Case(
        "xsi_arnold_watermarked",
        "xsi_arnold",
        4,
        Outcome(percent=85, frame=3, percentframe=40, activity="rendering WATERMARKED.."),
    ),
    Case(
        "xsi_arnold",
        "xsi_arnold_done",
        1,
        Outcome(percent=100, frame=1, percentframe=100, activity="finalizing.."),
    ),
    Case(
        "xsi_redshift",
        "xsi_redshift",
        4,
        Outcome(percent=81, frame=3, percentframe=25, activity="rendering.."),
    ),
    Case("max", "max_mental", 3, Outcome(percent=70, frame=2, percentframe=10, flags=ERROR)),
    Case(
        "vray",
        "vray6_frames",
        2,
        Outcome(percent=75, frame=1, percentframe=50, files=("out/a.0011.exr",)),
    ),
    Case(
        "vray",
        "vray7_still",
        1,
        Outcome(percent=100, percentframe=100, files=("out/still é.png",)),
    ),
    Case("vray", "vray_licence", 1, Outcome(flags=ERROR)),
    Case(
        "prman",
        "prman_progress",
        1,
        Outcome(percent=100, percentframe=100, files=("img/a.0001.exr",)),
    ),
    Case(
        "prman",
        "prman26_frames",
        2,
        Outcome(percent=65, frame=1, percentframe=30, files=("img/a.0001.exr",)),
    ),
    Case("prman", "prman_licence", 1, Outcome(flags=ERROR)),
    Case("lightwave", "lightwave", 2, Outcome(percent=70, frame=1, percentframe=40)),
    Case("c4d", "c4d", 2, Outcome(percent=65, frame=1, percentframe=30, flags=ERROR)),
    Case("c4d", "c4d_licence", 1, Outcome(flags=ERROR)),
    Case(
        "clarisse",
        "clarisse",
        2,
        Outcome(percent=62, frame=1, percentframe=25, files=("out/image.0001.exr",)),
    ),
    *(
        Case(
            name,
            "blender26_internal",
            2,
            Outcome(percent=75, frame=1, percentframe=50, files=("out/i_0001.png",)),
        )
        for name in ("blender_render", "blender_internal")
    ),
    Case("yafray", "yafray", 1, Outcome(percent=100, percentframe=100)),
    Case(
        "blender_yafray",
        "blender24_yafray",
        2,
        Outcome(percent=73, frame=1, percentframe=46, files=("out/y_0001.png",)),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_result_for_a_recorded_log(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)


def _read(name: str, text: str, frames: int = 1) -> tuple[int, int, int]:
    outcome, percents = follow(load(name)(), [text.encode()], frames)
    assert percents == sorted(percents)
    return outcome.percent, outcome.frame, outcome.percentframe


PASSES = {
    "arnold": ("| {}% done - 1 rays/pixel", "| 100% done"),
    "maya_arnold": ("| {}% done - 1 rays/pixel", "| render done in 0:02.1"),
    "mentalray": ("JOB 0.2 progr: {}.0% rendered on a.2", "JOB 0.2 progr: 100.0% rendered on a.2"),
    "prman": ("R90000   {}%", "R90000   100%"),
    "vray": ("Rendering image...:  {}.0%", "Rendering image...: done"),
}
"""The line of a percent, and the line of a complete frame."""


@pytest.mark.parametrize("name", PASSES)
def test_a_percent_after_a_complete_frame_is_of_the_next_one(name: str) -> None:
    percent, end = PASSES[name]
    first = f"{percent.format(10)}\n{percent.format(90)}\n{end}\n"
    assert _read(name, first, 4) == (25, 0, 100)
    assert _read(name, first + end + "\n", 4) == (25, 0, 100)
    assert _read(name, first + percent.format(8), 4) == (27, 1, 8)
    assert _read(name, first * 4, 4) == (100, 3, 100)
    assert _read(name, first * 9, 4) == (100, 4, 100)
    assert _read(name, first, 1) == (100, 0, 100)


@pytest.mark.parametrize("name", PASSES)
def test_absurd_numbers_are_complete(name: str) -> None:
    percent, _ = PASSES[name]
    assert _read(name, percent.format("9" * 400) + "\n") == (100, 0, 100)


def test_arnold_counts_no_previews() -> None:
    passes = "".join(
        f"00:00:01  280MB         | rendering image at 64 x 36, {samples} AA samples\n"
        "00:00:01  280MB         |   100% done - 1 rays/pixel\n"
        "00:00:01  280MB         | render done in 0:00.020\n"
        for samples in (-3, -2, -1)
    )
    assert _read("arnold", passes, 2) == (0, 0, 0)
    final = "00:00:02  280MB         | rendering image at 64 x 36, 4 AA samples\n"
    progress = "00:00:02  280MB         |    40% done - 1 rays/pixel\n"
    assert _read("arnold", passes + final + progress, 2) == (20, 0, 40)
    done = "00:00:03  280MB         |   100% done - 1 rays/pixel\n"
    again = (passes + final + progress + done) * 2
    assert _read("arnold", again, 2) == (100, 1, 100)


@pytest.mark.parametrize("level", ["ERROR |", "ERROR   |", "ERROR   |  "])
@pytest.mark.parametrize(
    "text", ["[ass] can't open x.ass", "[ass] can't read in x", "[alembic] invalid archive x"]
)
def test_arnold_errors_with_any_padding_of_the_level(level: str, text: str) -> None:
    outcome, _ = follow(load("arnold")(), [f"00:00:02  288MB {level} {text}\n".encode()])
    assert outcome.flags == {"error"}
    milder = f"00:00:02  288MB WARNING | {text}\n".encode()
    assert "error" not in follow(load("arnold")(), [milder])[0].flags


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("10.00GB", "arnold_gb:10"),
        ("20 GB", "arnold_gb:20"),
        ("0.50GB", "arnold_gb:0.5"),
        ("100.00GB", "arnold_gb:100"),
        ("1048576KB", "arnold_gb:1"),
        ("1TB", "arnold_gb:1024"),
        ("1b", "arnold_gb:0"),
        ("12 parsecs", ""),
        ("12", ""),
    ],
)
def test_arnold_memory_in_all_units(printed: str, expected: str) -> None:
    line = f"00:00:06  305MB         | peak CPU memory used    {printed}\n"
    assert follow(load("arnold")(), [line.encode()])[0].resources == expected


def test_resources_have_the_figures_of_the_host() -> None:
    made = load("arnold")()
    load_ = {"mem_total_mb": 9000, "mem_free_mb": 1000, "cpu_user": 90, "cpu_system": 7}
    data = "| peak CPU memory used  3.25GB\n| peak CPU memory used  1.00GB\n"
    made.parse({"data": data, "mode": "RUN", "resources": json.dumps({"host_resources": load_})})
    assert made.resources == "mem_peak_mb:8000 arnold_gb:3.25 cpu_avg:97"
    assert made.problem == ""


def test_redshift_blocks_of_the_next_frame_in_one_batch() -> None:
    log = (
        "Rendering frame 1...\nBlock 8/8 (0,0) rendered by GPU 0 in 1ms\n"
        "Frame done - total time for frame 1s\n"
        "Rendering frame 2...\nBlock 2/8 (0,0) rendered by GPU 0 in 1ms\n"
    )
    assert _read("redshift", log, 2) == (62, 1, 25)


def test_a_skipped_frame_completes_a_task_of_one() -> None:
    assert _read("redshift", "Skipping frame 1\n") == (100, 1, 100)
    assert _read("lightwave", "Finished frame: 1\n") == (100, 1, 100)


@pytest.mark.parametrize("name", ["maya_redshift", "redshift"])
def test_redshift_junk_is_no_progress(name: str) -> None:
    assert _read(name, "Block 1/0 (0,0) rendered by GPU 0\nBlock x/y rendered by GPU\n") == (
        0,
        0,
        0,
    )


def test_c4d_counts_frames_of_any_step() -> None:
    log = "".join(f"Rendering frame {frame} at 8 x 8\nProgress: 50%\n" for frame in (0, 10, 20))
    assert _read("c4d", log, 4) == (62, 2, 50)


def test_yafray_shows_its_bar_as_it_grows() -> None:
    made = yafray()
    made.setTaskInfo({"frames_num": 1})
    seen = []
    for marks in (0, 1, 6, 6, 13):
        made.parse({"data": "", "mode": "RUN", "tail": "Render pass: [" + "#" * marks})
        seen.append(made.percent)
    assert seen == [0, 7, 46, 46, 100]
    made.parse({"data": "Render pass: [#############]\n", "mode": "RUN"})
    assert (made.percent, made.frame, made.problem) == (100, 0, "")


@pytest.mark.parametrize("name", ["yafray", "blender_yafray"])
def test_yafray_reads_the_unfinished_line(name: str) -> None:
    assert load(name).tail is True


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("maya_arnold", ["maya"]),
        ("maya_redshift", ["maya", "redshift"]),
        ("maya_mental", ["maya"]),
        ("maya_delight", ["maya"]),
        ("mayafumefx", ["maya"]),
        ("mayatoarnold", ["maya", "arnold"]),
        ("houdinitoarnold", ["hbatch", "arnold"]),
        ("blender_render", ["blender"]),
        ("blender_yafray", ["blender", "yafray"]),
    ],
)
def test_parsers_have_the_bases_of_afanasy(name: str, bases: list[str]) -> None:
    for base in bases:
        assert issubclass(load(name), load(base))


@pytest.mark.parametrize(
    "name", ["maya_arnold", "maya_redshift", "mayafumefx", "maya_mental", "maya_delight"]
)
def test_renderers_inside_maya_have_its_errors(name: str) -> None:
    assert follow(load(name)(), [b"// Error: (kFailure): Unexpected\n"])[0].flags == ERROR

"""Failures, missing files, frames and files of renderers, alone and inside other programs.

tests/data/logs/README.md has the sources of these logs and lines.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.parsers import Case, Outcome, check, follow, ids, load

WARNING = frozenset({"warning"})
ERROR = frozenset({"error"})
BAD = frozenset({"badresult"})

CASES = (
    Case(
        "c4d",
        "c4d_out_of_memory",
        1,
        Outcome(flags=ERROR, deciding_line=(2, "Rendering failed: Out of memory")),
    ),
    Case(
        "c4d", "c4d_redshift_assertion", 1, Outcome(flags=ERROR, deciding_line=(5, "ASSERT FAILED"))
    ),
    Case(
        "c4d",
        "c4d_redshift_licence",
        1,
        Outcome(
            percent=50,
            percentframe=50,
            flags=ERROR,
            deciding_line=(5, "[Redshift] Maxon license error: no seat"),
        ),
    ),
    Case(
        "c4d",
        "c4d_arnold_texture",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=WARNING,
            report="1 missing asset: P:/show/tex/stairs.hdr",
            missing_assets=(1, ("P:/show/tex/stairs.hdr",)),
        ),
    ),
    Case(
        "c4d",
        "c4d_vray_phases",
        2,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            flags=WARNING,
            report="1 missing asset: P:/show/tex/missing error.png",
            missing_assets=(1, ("P:/show/tex/missing error.png",)),
            files=("out/v.0007.exr",),
        ),
    ),
    Case("max", "max_vray", 2, Outcome(percent=100, frame=2)),
    Case(
        "max",
        "max_corona",
        2,
        Outcome(
            percent=75,
            frame=1,
            percentframe=50,
            flags=WARNING,
            report="2 missing assets: mrmaterialattribs.gup, C:/maps/oak.jpg",
            missing_assets=(2, ("mrmaterialattribs.gup", "C:/maps/oak.jpg")),
        ),
    ),
    Case(
        "max",
        "max_arnold_gpu",
        1,
        Outcome(
            percent=10,
            percentframe=10,
            flags=ERROR,
            deciding_line=(
                4,
                "8/6/2025 10:50:43 AM;  00:00:04 24576MB ERROR   | [gpu] CUDA error: Out of memory while allocating 4096MB buffer.",
            ),
        ),
    ),
    Case(
        "maya_arnold",
        "maya_arnold_aborted",
        1,
        Outcome(
            percent=5,
            percentframe=5,
            flags=BAD,
            deciding_line=(
                4,
                "00:00:06  1500MB WARNING |  render terminating early:  received abort signal",
            ),
            files=("P:/out/beauty.1001.exr",),
        ),
    ),
    Case(
        "maya",
        "maya_arnold_aborted",
        1,
        Outcome(
            percent=5,
            percentframe=5,
            flags=BAD,
            deciding_line=(
                4,
                "00:00:06  1500MB WARNING |  render terminating early:  received abort signal",
            ),
            files=("P:/out/beauty.1001.exr",),
        ),
    ),
    Case(
        "arnold",
        "maya_arnold_aborted",
        1,
        Outcome(
            percent=5,
            percentframe=5,
            flags=BAD,
            deciding_line=(
                4,
                "00:00:06  1500MB WARNING |  render terminating early:  received abort signal",
            ),
            files=("P:/out/beauty.1001.exr",),
        ),
    ),
    Case(
        "hbatch",
        "maya_arnold_aborted",
        1,
        Outcome(
            percent=5,
            percentframe=5,
            flags=BAD,
            deciding_line=(
                4,
                "00:00:06  1500MB WARNING |  render terminating early:  received abort signal",
            ),
            files=("P:/out/beauty.1001.exr",),
        ),
    ),
    Case(
        "xsi_arnold",
        "maya_arnold_aborted",
        1,
        Outcome(
            percent=5,
            percentframe=5,
            flags=BAD,
            activity="rendering..",
            deciding_line=(
                4,
                "00:00:06  1500MB WARNING |  render terminating early:  received abort signal",
            ),
        ),
    ),
    Case(
        "maya_arnold",
        "maya_arnold_stereo",
        2,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            files=(
                "out/left/s.0001.exr",
                "out/left/s_crypto_object.0001.exr",
                "out/right/s.0001.exr",
                "out/right/s_crypto_object.0001.exr",
                "out/left/s.0002.exr",
                "out/left/s_crypto_object.0002.exr",
                "out/right/s.0002.exr",
                "out/right/s_crypto_object.0002.exr",
            ),
        ),
    ),
    Case(
        "maya",
        "maya_arnold_stereo",
        2,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            files=(
                "out/left/s.0001.exr",
                "out/left/s_crypto_object.0001.exr",
                "out/right/s.0001.exr",
                "out/right/s_crypto_object.0001.exr",
                "out/left/s.0002.exr",
                "out/left/s_crypto_object.0002.exr",
                "out/right/s.0002.exr",
                "out/right/s_crypto_object.0002.exr",
            ),
        ),
    ),
    Case(
        "maya",
        "maya_vray",
        3,
        Outcome(
            percent=43,
            frame=1,
            percentframe=30,
            flags=ERROR | WARNING,
            report="V-Ray error: There was a fatal error rendering the scene.; 2 missing assets: /geo/tree a.vrmesh, ../tex/barrel_<UDIM>_Rough.png",
            deciding_line=(11, "V-Ray error: There was a fatal error rendering the scene."),
            missing_assets=(2, ("/geo/tree a.vrmesh", "../tex/barrel_<UDIM>_Rough.png")),
            files=("images/m.0001.exr", "images/m.0001.normals.exr"),
        ),
    ),
    Case(
        "maya",
        "maya_renderman",
        2,
        Outcome(
            percent=70,
            frame=1,
            percentframe=40,
            flags=ERROR | WARNING,
            report="R50005 {SEVERE} License error: no seat is free; 1 missing asset: wood.tex",
            deciding_line=(9, "R50005 {SEVERE} License error: no seat is free"),
            missing_assets=(1, ("wood.tex",)),
            files=("img/r.0001.exr", "img/r_z.0001.exr", "img/r_filtered.0001.exr"),
        ),
    ),
    Case(
        "maya",
        "maya_renderer_gone",
        1,
        Outcome(
            flags=ERROR | WARNING,
            report='// Warning: The renderer "arnold" used by this scene, is not currently available. The "Maya Software" renderer will be used instead. //; 1 missing asset: AbcImport',
            deciding_line=(
                2,
                '// Warning: The renderer "arnold" used by this scene, is not currently available. The "Maya Software" renderer will be used instead. //',
            ),
            missing_assets=(1, ("AbcImport",)),
            files=("images/shot.0001.iff",),
        ),
    ),
    Case(
        "arnold",
        "kick_aborted",
        1,
        Outcome(
            percent=20,
            percentframe=20,
            flags=BAD,
            deciding_line=(3, "WARNING |  render terminating early:  received abort signal"),
            files=("out/k.0049.exr",),
        ),
    ),
    Case(
        "arnold",
        "kick_textures",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=WARNING,
            report="2 missing assets: /ps/tex/error/wood.tx, /ps/tex/oak.tx",
            missing_assets=(2, ("/ps/tex/error/wood.tx", "/ps/tex/oak.tx")),
        ),
    ),
    Case(
        "redshift",
        "redshift_files",
        3,
        Outcome(
            percent=83,
            frame=2,
            percentframe=50,
            flags=ERROR | WARNING,
            report="[Redshift] CUDA error 719 (unspecified launch failure); 1 missing asset: /ps/tex/gone a.exr",
            deciding_line=(13, "[Redshift] CUDA error 719 (unspecified launch failure)"),
            missing_assets=(1, ("/ps/tex/gone a.exr",)),
            resources="triangles:183602",
            files=("out/rs.0001.exr", "out/rs_AO.0001.exr"),
        ),
    ),
    Case(
        "maya_redshift",
        "redshift_files",
        3,
        Outcome(
            percent=83,
            frame=2,
            percentframe=50,
            flags=ERROR | WARNING,
            report="[Redshift] CUDA error 719 (unspecified launch failure); 1 missing asset: /ps/tex/gone a.exr",
            deciding_line=(13, "[Redshift] CUDA error 719 (unspecified launch failure)"),
            missing_assets=(1, ("/ps/tex/gone a.exr",)),
            resources="triangles:183602",
            files=("out/rs.0001.exr", "out/rs_AO.0001.exr"),
        ),
    ),
    Case(
        "vray",
        "vray_scene_missing",
        1,
        Outcome(
            flags=ERROR,
            deciding_line=(
                3,
                '[2023/Aug/10|17:34:03] [91 MB] error: Error in file "rop.0000.vrscene", line 0: No file "C:\\jobs\\t1\\rop.0000.vrscene" exists',
            ),
        ),
    ),
    Case(
        "vray",
        "vray_aborted",
        2,
        Outcome(
            percent=70,
            frame=1,
            percentframe=40,
            flags=BAD | WARNING,
            report="[2026/Jan/12|08:00:05] [15 MB] Rendering interrupted by the user; 1 missing asset: /tex/Rendering aborted.exr",
            deciding_line=(10, "[2026/Jan/12|08:00:05] [15 MB] Rendering interrupted by the user"),
            missing_assets=(1, ("/tex/Rendering aborted.exr",)),
            files=("out/l.0001.exr",),
        ),
    ),
    Case(
        "husk",
        "husk_files",
        2,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            files=("/proj/render/j.karma1.0005.png", "/proj/render/j.karma1.0006.png"),
        ),
    ),
    Case(
        "husk",
        "husk_products",
        2,
        Outcome(
            percent=65,
            frame=1,
            percentframe=30,
            flags=BAD | ERROR,
            deciding_line=(
                8,
                '[17:30:06] KarmaXPU: device Type:Optix ID:0 Name:"GPU 0" has registered a critical error "launch failure"',
            ),
            files=("out/beauty.0005.exr", "out/util.0005.exr", "out/beauty.0006.exr"),
        ),
    ),
    Case(
        "husk",
        "husk_arnold_delegate",
        1,
        Outcome(
            percent=30,
            percentframe=30,
            flags=BAD | WARNING,
            report="00:00:06   303MB WARNING |  render terminating early:  received abort signal; 1 missing asset: /ps/tex/wood.tx",
            deciding_line=(
                5,
                "00:00:06   303MB WARNING |  render terminating early:  received abort signal",
            ),
            missing_assets=(1, ("/ps/tex/wood.tx",)),
            files=("out/a.0001.exr",),
        ),
    ),
    Case(
        "hbatch",
        "hbatch_redshift_pdg",
        2,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            flags=WARNING,
            report="1 missing asset: /geo/gone.bgeo.sc",
            missing_assets=(1, ("/geo/gone.bgeo.sc",)),
            files=("out/p.0001.exr", "out/p.0002.exr"),
        ),
    ),
    Case(  # an export prints nothing at the end of its last frame
        "hbatch",
        "hbatch20_verbose",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            flags=WARNING,
            report="Error:       Failed to create file /nowhere/a.bgeo.sc",
        ),
    ),
    Case(
        "xsi_redshift",
        "xsi_redshift_done",
        2,
        Outcome(
            percent=100,
            frame=2,
            flags=WARNING,
            activity="finalizing..",
            report="' ERROR : 2000 - a texture is too large",
        ),
    ),
    Case(
        "mentalray",
        "mentalray_errors",
        1,
        Outcome(
            percent=45,
            percentframe=45,
            flags=ERROR | WARNING,
            report='PHEN 0.3  fatal  051011: no memory left; IMG  0.2  error 061011: cannot open "/tex/wood.map"',
            deciding_line=(3, "PHEN 0.3  fatal  051011: no memory left"),
        ),
    ),
    Case("usdrecord", "usdrecord_done", 2, Outcome(percent=100, frame=1, percentframe=100)),
    Case(
        "usdrecord",
        "usdrecord_nothing",
        2,
        Outcome(flags=BAD, report="the program ended with exit code 0 and reported no frame"),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_result_for_a_recorded_log(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)


def _flags(name: str, line: str) -> frozenset[str]:
    """The flags that a line sets; a frame precedes it, so that the task is no sign of life alone."""
    log = f"Rendering frame 1 at 8 x 8\n{line}\n".encode()
    return follow(load(name)(), [log])[0].flags


HOSTS = ("c4d", "max", "maya", "hbatch", "husk")
"""Parsers of programs with any renderer inside."""
ERRORS = (
    ("arnold", "00:00:01  100MB ERROR   | can't allocate 2214592512 bytes with alignment 64"),
    ("arnold", "00:00:01  100MB ERROR   |  signal caught: SIGSEGV -- Invalid storage access"),
    ("arnold", '00:00:01  100MB ERROR   | [driver_exr] d: can\'t create file "/x/a.exr"'),
    ("redshift", "Redshift Error: Maxon licensing error: User not logged in (7)"),
    ("redshift", "[Redshift] License error: (RLM) All licenses in use (-22)"),
    ("redshift", "[Redshift] Failed to allocate GPU memory (1024 MB)"),
    ("redshift", "[Redshift] Error an illegal memory access was encountered"),
    ("redshift", "[Redshift] Could not save '/out/a.exr'"),
    ("vray", "[V-Ray] error: Could not obtain a license (-97)."),
    ("vray", '[V-Ray] error: Cannot create output image file "/out/a.exr": Permission denied'),
    ("prman", "R50009 {SEVERE} License location is not set in rendermn.ini - aborting."),
)


@pytest.mark.parametrize(("renderer", "line"), ERRORS)
def test_errors_count_in_the_renderer_and_in_every_host(renderer: str, line: str) -> None:
    for name in (renderer, *HOSTS):
        assert _flags(name, line) == ERROR, name


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("[Redshift] Maxon licensing error: no seat", ERROR),
        ("[V-Ray] error: Could not obtain a license (-97).", ERROR),
        ("R50009 {SEVERE} License error: no seat", ERROR),
        ("00:00:06  1500MB WARNING |  render terminating early:  received abort signal", BAD),
        ('X00002 {ERROR}   Plugin error: PxrTexture could not open "wood.tex"', WARNING),
    ],
)
def test_failures_of_engines_count_in_blender(line: str, flags: frozenset[str]) -> None:
    outcome, _ = follow(load("blender")(), [f"Fra:1 Mem:8M | Scene\n{line}\n".encode()])
    assert outcome.flags == flags


MARKED = (
    ("arnold", "00:00:01  100MB ERROR   | [color_manager_ocio] could not read 'a.ocio' profile"),
    ("redshift", "Redshift Error: something that no table has"),
    ("vray", "[V-Ray] error: something that no table has"),
    ("prman", "X00002 {ERROR}   something that no table has"),
    ("c4d", "CRITICAL: Stop [ge_file.cpp(1172)]"),
    ("c4d", "[Error] Application crashed"),
    ("max", "2025/07/31 23:57:52 ERR: [04652] [04632] something that no table has"),
    ("maya", "// Error: file: /a/b.mel line 3: something that no table has //"),
    ("hbatch", "Error:       something that no table has"),
    ("xsi", "' ERROR : 2000 - something that no table has"),
    ("mentalray", "RC   0.2  error 301031: something that no table has"),
)


@pytest.mark.parametrize(("name", "line"), MARKED)
def test_what_a_program_marks_as_an_error_is_a_warning_and_reported(name: str, line: str) -> None:
    log = f"Rendering frame 1 at 8 x 8\n{line}\n".encode()
    outcome, _ = follow(load(name)(), [log])
    assert (outcome.flags, outcome.report) == (WARNING, line)


FATAL = (
    ("c4d", "Error: RenderDocument: 1"),
    ("c4d", "Files cannot be written - please check output paths!"),
    ("max", "8/6/2025 10:50:00 AM;  Error: The specified camera, Cam1, does not exist."),
    ("max", "An unexpected exception has occurred in the network renderer and it is terminating."),
    ("maya", '// Error: Plug-in, "mtoa", was not found on MAYA_PLUG_IN_PATH. //'),
    ("maya", "// Error: No renderable camera found. //"),
    ("maya", "maya encountered a fatal error"),
    ("maya", 'Error: The render layer "chars" could not be found'),
    ("hbatch", "Error: Camera /obj/cam1 not found"),
    ("c4d", "Error: take not found: night"),
    ("vray", "[1/Jan/1|1:0:0] error: Cannot find a GPU that V-Ray supports"),
    ("husk", "[12:00:00] Unable to create render delegate 'HdStorm'"),
    ("mentalray", "IMG  0.3  fatal  051011: something that no table has"),
    ("maya_delight", "3DL ERROR L2374: no license"),
)


@pytest.mark.parametrize(("name", "line"), FATAL)
def test_what_spoils_every_frame_is_an_error(name: str, line: str) -> None:
    assert _flags(name, line) == ERROR


MISSING = (
    ("arnold", 'ERROR | [texturesys] a: Could not open file "P:/show/a b.hdr"', "P:/show/a b.hdr"),
    ("arnold", "ERROR | [usd] Failed to open file (/a/b.usd)", "/a/b.usd"),
    ("c4d", "Asset missing: tex/wood.jpg", "tex/wood.jpg"),
    ("c4d", "Redshift Warning: Could not open texture 'D:/tex/wood'", "D:/tex/wood"),
    ("max", "Missing map: C:/maps/brick.jpg", "C:/maps/brick.jpg"),
    ("maya", "// Warning: Reference file not found: /a/b.ma //", "/a/b.ma"),
    ("vray", '[1/Jan/1|1:0:0] error: Bitmap file "/tex/A.EXR" not found', "/tex/A.EXR"),
    ("prman", 'T02001 {ERROR} Can\'t open texture "/tex/wood.tex"', "/tex/wood.tex"),
    ("prman", "X00003 {WARNING} Plugin warning: P: Could not acquire texture 'x.tex'", "x.tex"),
    ("vray", '[1/Jan/1|1:0:0] warning: texture file "/tex/a.exr" missing', "/tex/a.exr"),
    ("prman", '"/rib/a.rib" cannot be opened by RiReadArchive', "/rib/a.rib"),
    ("husk", "[1:00:00] USD ERROR: Could not open asset @/a/b.usd@ for reference", "/a/b.usd"),
    ("karma", 'karma: Unable to load texture "/tex/gone.rat"', "/tex/gone.rat"),
    ("hbatch", 'Warning:     Unable to read file "/geo/a.bgeo.sc"', "/geo/a.bgeo.sc"),
)


@pytest.mark.parametrize(("name", "line", "asset"), MISSING)
def test_missing_files_are_warnings_with_names(name: str, line: str, asset: str) -> None:
    log = f"Rendering frame 1 at 8 x 8\n{line}\n{line}\n".encode()
    outcome, _ = follow(load(name)(), [log])
    assert outcome.flags == WARNING
    assert outcome.missing_assets == (1, (asset,))
    assert f"1 missing asset: {asset}" in outcome.report


QUIET = (
    ("maya", "Loading camera rig: 3 constraints not found in the old rig"),
    ("maya", "Camera: no camera motion blur"),
    ("vray", "[1/Jan/1|1:0:0] Cannot use GPU for the denoiser, falling back to CPU"),
    ("c4d", "Renderer settings of an older version: 2 presets not found"),
    ("maya", "AL lib: could not find a sound device in /etc/asound.conf"),
    ("c4d", "CRITICAL: nullptr [text_object.cpp(1082)] [objectbase1.hxx(549)]"),
    ("c4d", "Description Error: ainode_image is already registered"),
    ("c4d", "Saving /render/Rendering failed/error.exr"),
    ("c4d", 'Command Line: Commandline -render "/a/Rendering failed/out of memory.c4d"'),
    ("max", "CORONA: Corona is up and running. Corona version: 13 (Hotfix 1), quiet mode: on"),
    ("max", "Loading 'C:/jobs/Error rendering frame/x.max'"),
    ("maya", "Result: /proj/failed to render/scene.ma"),
    ("arnold", "00:00:01   100MB         | [alembic] loading file /a/ERROR | out of memory/b.abc"),
    ("arnold", '00:00:07   305MB         |     2:  [driver_exr] %s: can\'t create file "%s"'),
    ("vray", "[2023/Aug/10|17:34:03] [91 MB] Closing log - 2 error(s), 1 warning(s)"),
    ("vray", '[2023/Aug/10|17:34:03] [91 MB] Reading "/a/error: Could not obtain a license/b"'),
    ("prman", "R10043 {WARNING} f, unknown or mismatched input parameter of PxrImageDisplayFilter"),
    ("husk", "[12:00:00] Loading /tmp/failed/Unable to write to image.usd"),
)


@pytest.mark.parametrize(("name", "line"), QUIET)
def test_paths_names_echoes_and_known_texts_are_no_failures(name: str, line: str) -> None:
    assert _flags(name, line) == frozenset()


SKIPPED = {
    "redshift": "[Redshift] Skipping frame {}, the file exists",
    "vray": "[1/Jan/1|1:0:0] Frame {} skipped, the image file exists",
    "maya": "Skipping existing frame {}",
    "prman": "Skipping frame {}",
}


@pytest.mark.parametrize("name", SKIPPED)
def test_skipped_frames_count(name: str) -> None:
    log = "".join(f"{SKIPPED[name].format(number)}\n" for number in (1, 2, 3)).encode()
    outcome, percents = follow(load(name)(), [log], 4)
    assert (outcome.percent, percents[-1]) == (75, 75)


def test_a_skipped_frame_between_named_ones_counts_once() -> None:
    log = "Starting frame 1.\nRendering image...: done\nSkipping frame 2\nStarting frame 3.\n"
    outcome, _ = follow(load("vray")(), [log.encode()], 4)
    assert (outcome.percent, outcome.frame) == (50, 2)


@pytest.mark.parametrize("name", ["c4d", "max"])
def test_frames_that_the_renderer_numbers_itself_count_none(name: str) -> None:
    log = "".join(
        f"Rendering frame {number} at 8 x 8\n[Redshift] Rendering frame 1...\n"
        "[Redshift] \tBlock 1/2 (0,0) rendered by GPU 0 in 20ms\n[Redshift] Frame done - 5.21s\n"
        for number in (12, 13)
    )
    outcome, _ = follow(load(name)(), [log.encode()], 4)
    assert (outcome.percent, outcome.frame) == (50, 1)


@pytest.mark.parametrize("name", ["c4d", "max", "usdrecord"])
def test_a_task_without_a_frame_is_no_success(name: str) -> None:
    outcome, _ = follow(load(name)(), [b"the program has begun\n"])
    assert outcome.flags == BAD
    assert "no frame" in outcome.report


@pytest.mark.parametrize(
    ("name", "command"), [("c4d", "Commandline -arnoldAssExport"), ("max", "3dsmaxbatch a.ms")]
)
def test_a_command_that_renders_nothing_tells_no_frame(name: str, command: str) -> None:
    made = load(name)()
    made.setTaskInfo({"command": command})
    made.parse({"data": "done\n", "mode": "0:0"})
    assert not made.badresult


@pytest.mark.parametrize("name", ["arnold", "maya_arnold", "maya", "c4d", "vray", "xsi_arnold"])
def test_a_frame_after_an_aborted_one_counts(name: str) -> None:
    """The aborted frame itself is never counted."""
    host = {"c4d": "Rendering frame {} at 8 x 8\n", "vray": "Starting frame {}.\n"}
    begin = host.get(name, "' INFO : [sitoa] : Rendering frame {}\n")
    image = "" if name == "vray" else "x | rendering image at 8 x 8, 3 AA samples\n"
    percent = "Rendering image...:  {}.0%\n" if name == "vray" else "x |    {}% done - 1 rays\n"
    end = "Rendering image...: done\n" if name == "vray" else "x | render done in 0:01.0\n"
    abort = "Rendering aborted\n" if name == "vray" else "x WARNING |  render terminating early\n"
    log = begin.format(1) + image + percent.format(40) + abort + end
    log += begin.format(2) + image + percent.format(60)
    outcome, _ = follow(load(name)(), [log.encode()], 2)
    assert outcome.flags >= BAD
    assert outcome.frame == 0
    assert outcome.percentframe == 60


def test_a_pdg_result_has_five_fields_or_four(tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_bytes(b"x")
    for fields in (
        "work_5;0;a.exr;file/image;12",
        "work_5;-1;a.exr;file/image;",
        "5;a.exr;file/image;0",
    ):
        for before in ("PDG_RESULT: ", "PDG_RESULT:"):
            made = load("hbatch")()
            made.setTaskInfo({"wdir": str(tmp_path)})
            made.parse({"data": f"{before}{fields}\n", "mode": "RUN"})
            assert made.getFiles() == [str(tmp_path / "a.exr")]


@pytest.mark.parametrize("name", [*HOSTS, "arnold", "redshift", "vray", "prman", "usdrecord"])
def test_no_token_again_and_again_takes_long(name: str) -> None:
    """A pattern that searches the rest of the line behind each token takes minutes."""
    slowest = 0.0
    for one in getattr(load(name), "rules", ()):
        made = load(name)()
        line = (f"{one.token} 1 " * 60_000)[:60_000]
        started_at = time.process_time()
        made.parse({"data": f"{line}\n", "mode": "RUN"})
        slowest = max(slowest, time.process_time() - started_at)
    assert slowest < 2


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("maya", "\x1b[31m// Error: something that no table has //\x1b[0m"),
        ("vray", "\x1b[1;33m[1/Jan/1|1:0:0] error: something that no table has\x1b[0m"),
        ("c4d", "\x1b[31mCRITICAL: Stop [ge_file.cpp(1172)]\x1b[m"),
    ],
)
def test_colours_hide_no_marker(name: str, line: str) -> None:
    assert _flags(name, line) == WARNING

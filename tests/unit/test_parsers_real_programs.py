"""Real programs: what Blender, Mitsuba, POV-Ray and ffmpeg print, whole and broken on purpose.

``make renderers RECORD=1`` writes the logs. A log is replayed as if the program had ended with exit
code 0, without the task's command.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.parsers import Case, Outcome, check, ids

CASES = (
    Case(
        "blender",
        "blender34_real_skip_existing",
        3,
        Outcome(percent=100, frame=2, percentframe=100, files=("out/f.0003.png",)),
    ),
    Case(
        "blender",
        "blender34_real_missing_library",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            flags=frozenset({"warning"}),
            report="Warning: 1 libraries and 1 linked data-blocks are missing (including 0 ObjectData and 0 Proxies), please check the Info and Outliner editors for details; 1 missing asset: assets/tree_lib.blend",
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
            missing_assets=(1, ("assets/tree_lib.blend",)),
        ),
    ),
    Case(
        "blender",
        "blender34_real_no_camera",
        3,
        Outcome(flags=frozenset({"error"}), deciding_line=(3, "Error: Cannot render, no camera")),
    ),
    Case(
        "blender",
        "blender34_real_read_only",
        3,
        Outcome(
            percent=33,
            percentframe=99,
            flags=frozenset({"error"}),
            deciding_line=(
                13,
                "Error: Render error (Invalid argument) cannot save: 'out/f.0001.png'",
            ),
        ),
    ),
    Case(
        "blender",
        "blender34_real_gpu",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(4, "Error: Found no Cycles device of the specified type"),
        ),
    ),
    Case(
        "blender",
        "blender34_real_no_engine",
        3,
        Outcome(flags=frozenset({"error"}), deciding_line=(4, "Error: engine not found 'LUXCORE'")),
    ),
    Case(
        "blender",
        "blender45_real_frames",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
        ),
    ),
    Case(
        "blender",
        "blender45_real_view_layers",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
        ),
    ),
    Case(
        "blender",
        "blender45_real_stereo",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=(
                "out/f.0001_L.png",
                "out/f.0001_R.png",
                "out/f.0002_L.png",
                "out/f.0002_R.png",
                "out/f.0003_L.png",
                "out/f.0003_R.png",
            ),
        ),
    ),
    Case(
        "blender",
        "blender45_real_file_output",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=(
                "out/aux_0001.png",
                "out/f.0001.png",
                "out/aux_0002.png",
                "out/f.0002.png",
                "out/aux_0003.png",
                "out/f.0003.png",
            ),
        ),
    ),
    Case("blender", "blender45_real_movie", 3, Outcome(percent=100, frame=2, percentframe=100)),
    Case(
        "blender",
        "blender45_real_skip_existing",
        3,
        Outcome(percent=100, frame=2, percentframe=100, files=("out/f.0003.png",)),
    ),
    Case(
        "blender",
        "blender45_real_missing_texture",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
        ),
    ),
    Case(
        "blender",
        "blender45_real_missing_library",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            flags=frozenset({"warning"}),
            report="Warning: 1 libraries and 1 linked data-blocks are missing (including 0 ObjectData), please check the Info and Outliner editors for details; 1 missing asset: assets/tree_lib.blend",
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
            missing_assets=(1, ("assets/tree_lib.blend",)),
        ),
    ),
    Case(
        "blender",
        "blender45_real_no_camera",
        3,
        Outcome(flags=frozenset({"error"}), deciding_line=(3, "Error: Cannot render, no camera")),
    ),
    Case(
        "blender",
        "blender45_real_no_scene",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(2, 'Error: Cannot read file "absent.blend": No such file or directory'),
        ),
    ),
    Case(
        "blender",
        "blender45_real_damaged_scene",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                3,
                "Error: Loading \"half.blend\" failed: Failed to read blend file 'half.blend': Missing DNA block",
            ),
        ),
    ),
    Case(
        "blender",
        "blender45_real_read_only",
        3,
        Outcome(
            percent=33,
            percentframe=99,
            flags=frozenset({"error"}),
            deciding_line=(
                15,
                "Error: Render error (Invalid argument) cannot save: 'out/f.0001.png'",
            ),
        ),
    ),
    Case(
        "blender",
        "blender45_real_disk_full",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
        ),
    ),
    Case(
        "blender",
        "blender45_real_disk_full_unchecked",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
        ),
    ),
    Case(
        "blender",
        "blender45_real_gpu",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(4, "Error: Found no Cycles device of the specified type"),
        ),
    ),
    Case(
        "blender",
        "blender45_real_no_engine",
        3,
        Outcome(flags=frozenset({"error"}), deciding_line=(4, "Error: engine not found 'LUXCORE'")),
    ),
    Case(
        "blender",
        "blender45_real_no_render",
        3,
        Outcome(
            flags=frozenset({"badresult"}),
            report="the program ended with exit code 0 and reported no frame",
        ),
    ),
    Case(
        "blender",
        "blender50_real_frames",
        3,
        Outcome(percent=100, frame=3, files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png")),
    ),
    Case(
        "blender",
        "blender50_real_view_layers",
        3,
        Outcome(percent=100, frame=3, files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png")),
    ),
    Case(
        "blender",
        "blender50_real_stereo",
        3,
        Outcome(
            percent=100,
            frame=3,
            files=(
                "out/f.0001_L.png",
                "out/f.0001_R.png",
                "out/f.0002_L.png",
                "out/f.0002_R.png",
                "out/f.0003_L.png",
                "out/f.0003_R.png",
            ),
        ),
    ),
    Case(
        "blender",
        "blender50_real_file_output",
        3,
        Outcome(
            percent=100,
            frame=3,
            files=(
                "out/aux_Image0001.png",
                "out/f.0001.png",
                "out/aux_Image0002.png",
                "out/f.0002.png",
                "out/aux_Image0003.png",
                "out/f.0003.png",
            ),
        ),
    ),
    Case("blender", "blender50_real_movie", 3, Outcome(percent=100, frame=3)),
    Case(
        "blender",
        "blender50_real_skip_existing",
        3,
        Outcome(percent=33, frame=1, files=("out/f.0003.png",)),
    ),
    Case(
        "blender",
        "blender50_real_missing_texture",
        3,
        Outcome(
            percent=100,
            frame=3,
            flags=frozenset({"warning"}),
            report="1 missing asset: tex/wood_diff.png",
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
            missing_assets=(1, ("tex/wood_diff.png",)),
        ),
    ),
    Case(
        "blender",
        "blender50_real_missing_library",
        3,
        Outcome(
            percent=100,
            frame=3,
            flags=frozenset({"warning"}),
            report="Warning: 1 libraries and 1 linked data-blocks are missing (including 0 ObjectData), please check the Info and Outliner editors for details; 1 missing asset: assets/tree_lib.blend",
            files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png"),
            missing_assets=(1, ("assets/tree_lib.blend",)),
        ),
    ),
    Case(
        "blender",
        "blender50_real_no_camera",
        3,
        Outcome(flags=frozenset({"error"}), deciding_line=(3, "Error: Cannot render, no camera")),
    ),
    Case(
        "blender",
        "blender50_real_no_scene",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(2, 'Error: Cannot read file "absent.blend": No such file or directory'),
        ),
    ),
    Case(
        "blender",
        "blender50_real_damaged_scene",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                3,
                "Error: Loading \"half.blend\" failed: Failed to read blend file 'half.blend': Missing DNA block",
            ),
        ),
    ),
    Case(
        "blender",
        "blender50_real_read_only",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                3,
                '00:00.795  image.write      | ERROR OpenImageIO write failed: Could not open file "out/f.0001.png"',
            ),
        ),
    ),
    Case(
        "blender",
        "blender50_real_disk_full",
        3,
        Outcome(percent=100, frame=3, files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png")),
    ),
    Case(
        "blender",
        "blender50_real_disk_full_unchecked",
        3,
        Outcome(percent=100, frame=3, files=("out/f.0001.png", "out/f.0002.png", "out/f.0003.png")),
    ),
    Case(
        "blender",
        "blender50_real_gpu",
        3,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(4, "Error: Found no Cycles device of the specified type"),
        ),
    ),
    Case(
        "blender",
        "blender50_real_no_engine",
        3,
        Outcome(flags=frozenset({"error"}), deciding_line=(4, "Error: engine not found 'LUXCORE'")),
    ),
    Case(
        "blender",
        "blender50_real_no_render",
        3,
        Outcome(
            flags=frozenset({"badresult"}),
            report="the program ended with exit code 0 and reported no frame",
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_movie",
        1,
        Outcome(percent=100, percentframe=100, files=("out/m.mp4",)),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_damaged_frame",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=frozenset({"warning"}),
            report="[vist#0:0/png @ 0x55d0c0ffee00] [dec:png @ 0x55d0c0ffee00] Error submitting packet to decoder: Invalid data found when processing input",
            files=("out/m.mp4",),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_missing_input",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                1,
                "[in#0 @ 0x55d0c0ffee00] Error opening input: No such file or directory",
            ),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_damaged_input",
        1,
        Outcome(
            flags=frozenset({"warning"}),
            report="[in#0 @ 0x55d0c0ffee00] Error opening input: Invalid data found when processing input",
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_exists",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(4, "File 'out/m.mp4' already exists. Exiting."),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_read_only",
        1,
        Outcome(
            flags=frozenset({"warning", "error"}),
            report="Error opening output file out/m.mp4.; [out#0/mp4 @ 0x55d0c0ffee00] Error opening output out/m.mp4: Permission denied",
            deciding_line=(5, "Error opening output file out/m.mp4."),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_disk_full",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                6,
                "[out#0/mp4 @ 0x55d0c0ffee00] Could not write header (incorrect codec parameters ?): No space left on device",
            ),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_no_encoder",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(4, "[vost#0:0 @ 0x55d0c0ffee00] Unknown encoder 'h264_studio'"),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg9_real_gpu",
        1,
        Outcome(
            flags=frozenset({"warning", "error"}),
            report="[vf#0:0 @ 0x55d0c0ffee00] Task finished with error code: -1 (Operation not permitted); [vost#0:0/h264_nvenc @ 0x55d0c0ffee00] [enc:h264_nvenc @ 0x55d0c0ffee00] Error while opening encoder - maybe incorrect parameters such as bit_rate, rate, width or height.",
            deciding_line=(
                9,
                "[vf#0:0 @ 0x55d0c0ffee00] Task finished with error code: -1 (Operation not permitted)",
            ),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg5_real_movie",
        1,
        Outcome(percent=100, percentframe=100, files=("out/m.mp4",)),
    ),
    Case(
        "ffmpeg",
        "ffmpeg5_real_damaged_frame",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=frozenset({"warning"}),
            report="Error while decoding stream #0:0: Invalid data found when processing input",
            files=("out/m.mp4",),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg5_real_missing_input",
        1,
        Outcome(flags=frozenset({"error"}), deciding_line=(1, "in.mp4: No such file or directory")),
    ),
    Case("ffmpeg", "ffmpeg5_real_damaged_input", 1, Outcome(flags=frozenset({"warning"}))),
    Case(
        "ffmpeg",
        "ffmpeg5_real_exists",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(4, "File 'out/m.mp4' already exists. Exiting."),
        ),
    ),
    Case("ffmpeg", "ffmpeg5_real_read_only", 1, Outcome()),
    Case(
        "ffmpeg",
        "ffmpeg5_real_disk_full",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                6,
                "Could not write header for output file #0 (incorrect codec parameters ?): No space left on device",
            ),
        ),
    ),
    Case(
        "ffmpeg",
        "ffmpeg5_real_no_encoder",
        1,
        Outcome(flags=frozenset({"error"}), deciding_line=(4, "Unknown encoder 'h264_studio'")),
    ),
    Case(
        "ffmpeg",
        "ffmpeg5_real_gpu",
        1,
        Outcome(
            flags=frozenset({"warning", "error"}),
            report="Conversion failed!; Error initializing output stream 0:0 -- Error while opening encoder for output stream #0:0 - maybe incorrect parameters such as bit_rate, rate, width or height",
            deciding_line=(8, "Conversion failed!"),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_frames",
        1,
        Outcome(percent=100, percentframe=100, files=("out/f.exr",)),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_missing_texture",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                7,
                'Caught a critical exception: [parser.cpp:1718] At scene.xml (line 10, col 46): failed to instantiate texture plugin of type "bitmap": [FileStream] "tex/wood_diff.png": I/O error while attempting to open file: No such file or directory',
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_missing_mesh",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                7,
                'Caught a critical exception: [parser.cpp:1718] At scene.xml (line 11, col 2): failed to instantiate shape plugin of type "ply": [PLYMesh] Error while loading PLY file "tree.ply": file not found!',
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_missing_plugin",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                7,
                'Caught a critical exception: [parser.cpp:1718] At scene.xml (line 10, col 25): failed to instantiate bsdf plugin of type "studio_skin": [PluginManager] Plugin "studio_skin" not found!',
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_no_camera",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                9,
                "Caught a critical exception: [mitsuba.cpp:144] No sensor specified for scene: Scene[",
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_no_scene",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                6,
                "Caught a critical exception: [parser.cpp:1077] File not found: absent.xml",
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_syntax_error",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                7,
                'Caught a critical exception: [parser.cpp:1087] Parsing of XML file "scene.xml" failed: Error parsing element attribute (byte offset 301)',
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_read_only",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=frozenset({"error"}),
            files=("out/f.exr",),
            deciding_line=(
                13,
                'Caught a critical exception: [FileStream] "out/f.exr": I/O error while attempting to open file: Permission denied',
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_disk_full",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=frozenset({"error"}),
            files=("out/f.exr",),
            deciding_line=(
                13,
                'Caught a critical exception: [FileStream] "out/f.exr": I/O error while attempting to write 3695 bytes: No space left on device',
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_gpu",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                2,
                "Caught a critical exception: jit_init_thread_state(): the CUDA backend hasn't been initialized. Make sure to call jit_init(JitBackend::CUDA) to properly initialize this backend.",
            ),
        ),
    ),
    Case(
        "mitsuba",
        "mitsuba39_real_no_variant",
        1,
        Outcome(
            flags=frozenset({"error"}),
            deciding_line=(
                2,
                'Caught a critical exception: [mitsuba.cpp:334] Unsupported variant: "gpu_rgb". Must be one of scalar_rgb, scalar_spectral, scalar_spectral_polarized, llvm_ad_rgb, llvm_ad_mono, llvm_ad_mono_polarized, llvm_ad_spectral, llvm_ad_spectral_polarized, cuda_ad_rgb, cuda_ad_mono, cuda_ad_mono_polarized, cuda_ad_spectral, cuda_ad_spectral_polarized!',
            ),
        ),
    ),
    Case(
        "povray",
        "povray37_real_frames",
        3,
        Outcome(
            percent=100, frame=2, percentframe=100, files=("out/f1.png", "out/f2.png", "out/f3.png")
        ),
    ),
    Case(
        "povray",
        "povray37_real_missing_texture",
        3,
        Outcome(
            flags=frozenset({"warning", "error"}),
            report="Fatal error in parser: Cannot open file.; File 'scene.pov' line 6: Possible Parse Error: Cannot find file",
            files=("out/f1.png",),
            deciding_line=(52, "Fatal error in parser: Cannot open file."),
        ),
    ),
    Case(
        "povray",
        "povray37_real_missing_include",
        3,
        Outcome(
            flags=frozenset({"warning", "error"}),
            report="File 'scene.pov' line 1: Parse Error: Cannot open include file lib/trees.inc.; 1 missing asset: lib/trees.inc",
            files=("out/f1.png",),
            deciding_line=(
                51,
                "File 'scene.pov' line 1: Parse Error: Cannot open include file lib/trees.inc.",
            ),
            missing_assets=(1, ("lib/trees.inc",)),
        ),
    ),
    Case(
        "povray",
        "povray37_real_syntax_error",
        3,
        Outcome(
            flags=frozenset({"error"}),
            files=("out/f1.png",),
            deciding_line=(
                49,
                "File 'scene.pov' line 6: Parse Error: Expected '>', } found instead",
            ),
        ),
    ),
    Case(
        "povray",
        "povray37_real_no_camera",
        3,
        Outcome(
            percent=100, frame=2, percentframe=100, files=("out/f1.png", "out/f2.png", "out/f3.png")
        ),
    ),
    Case(
        "povray",
        "povray37_real_no_scene",
        3,
        Outcome(
            flags=frozenset({"warning", "error"}),
            report="Parse Error: Cannot open input file.; 1 missing asset: absent.pov",
            files=("out/f1.png",),
            deciding_line=(51, "Parse Error: Cannot open input file."),
            missing_assets=(1, ("absent.pov",)),
        ),
    ),
    Case(
        "povray",
        "povray37_real_read_only",
        3,
        Outcome(
            flags=frozenset({"error"}), files=("out/f1.png",), deciding_line=(64, "Render failed")
        ),
    ),
    Case(
        "povray",
        "povray37_real_disk_full",
        3,
        Outcome(
            percent=33,
            percentframe=100,
            flags=frozenset({"error"}),
            files=("out/f1.png",),
            deciding_line=(71, "Fatal error in renderer: Frontend halted render."),
        ),
    ),
    Case(
        "povray",
        "povray37_real_continued",
        3,
        Outcome(
            percent=100, frame=2, percentframe=100, files=("out/f1.png", "out/f2.png", "out/f3.png")
        ),
    ),
    Case(
        "povray",
        "povray37_real_half_range",
        2,
        Outcome(percent=100, frame=1, percentframe=100, files=("out/f2.png", "out/f3.png")),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_result_for_a_real_program(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)

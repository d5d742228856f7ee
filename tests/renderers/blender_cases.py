"""Blender: scenes with Cycles of 24 x 24 pixels and 4 samples, and ways to break them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from renderers.breakages import (
    FEWER_RIGHTS,
    Prepare,
    copy_files,
    fill_disk,
    forbid_writing,
    in_order,
)
from renderers.experiment import Expected, Experiment

__all__ = ("blender_cases",)

_SCENES = Path(__file__).with_name("blender_scenes.py")
_FRAMES = tuple(f"f.{frame:04d}.png" for frame in (1, 2, 3))
_CURVE = (33, 66, 100)
_RENDER = "{program} -b scene.blend -E CYCLES -s 1 -e 3 -a"
_WARNING = frozenset({"warning"})
_RECORDED_OLD = {"gpu", "missing_library", "no_camera", "no_engine", "read_only", "skip_existing"}
"""Of Blender 3.4 only what 4.5 prints in other words."""
_MAX_SECONDS = 8
"""After which the farm stops a task that would render for hours or hangs."""
_NUMERIC_CHECKED = 1 | 128
_CHECK_FILES = {
    "flags": _NUMERIC_CHECKED,
    "files": ["out/f.@####@.png"],
    "file_size_min": 50,
}
_WHOLE = Expected(curve=_CURVE, files=_FRAMES)


def _failed(why: str, percent: int | None = 0, flag: str = "error") -> Expected:
    return Expected(state="error", why=why, percent=percent, flags=frozenset({flag}))


def blender_cases(program: str, command: str) -> tuple[Experiment, ...]:
    """Return all experiments with one version of Blender; `command` starts it."""
    version = program.removeprefix("blender-")
    is_old, is_new = version == "3.4", version == "5.0"
    prefix = f"blender{version.replace('.', '')}_real"
    node_file = "aux_Image{:04d}.png" if is_new else "aux_{:04d}.png"

    def case(
        name: str,
        done: str,
        expected: Expected,
        kind: str = "plain",
        *,
        prepare: Prepare | None = None,
        command: str = _RENDER,
        block: Mapping[str, object] | None = None,
        remark: str = "",
    ) -> Experiment:
        steps = [scene(kind), *([prepare] if prepare else [])]
        return Experiment(
            program=program,
            name=name,
            done=done,
            parser="blender",
            command=command,
            expected=expected,
            frames=3,
            prepare=in_order(*steps),
            block=block or {},
            remark=remark,
            log=f"{prefix}_{name}" if not is_old or name in _RECORDED_OLD else "",
        )

    def scene(kind: str) -> Prepare:
        def prepare(folder: Path) -> None:
            made = f"HOME={folder} {command} -b -P {_SCENES} -- {kind} {folder}/scene.blend"
            subprocess.run(["/bin/sh", "-c", made], check=True, capture_output=True, cwd=folder)

        return prepare

    hangs = case(
        "eevee",
        "EEVEE without a display and a GPU",
        Expected(state="error", why="stop: task_max_run_time", percent=0),
        command=_RENDER.replace("CYCLES", "BLENDER_EEVEE" if is_new else "BLENDER_EEVEE_NEXT"),
        block={"task_max_run_time": _MAX_SECONDS},
        remark="Blender hangs; 3.4 renders in software",
    )
    return (
        case("frames", "nothing: three frames", _WHOLE),
        case("view_layers", "a second view layer", _WHOLE, "view_layers"),
        case(
            "stereo",
            "two views, a file each",
            Expected(
                curve=_CURVE,
                files=tuple(f"f.{frame:04d}_{view}.png" for frame in (1, 2, 3) for view in "LR"),
            ),
            "stereo",
        ),
        case(
            "file_output",
            "a File Output node in the compositor",
            Expected(
                curve=_CURVE,
                files=tuple(
                    name
                    for frame in (1, 2, 3)
                    for name in (node_file.format(frame), f"f.{frame:04d}.png")
                ),
            ),
            "file_output",
        ),
        case(
            "movie",
            "output as a movie",
            Expected(curve=_CURVE),
            "movie",
            remark="the movie's name is not printed",
        ),
        case(
            "skip_existing",
            "the first two frames exist, overwriting is off",
            Expected(curve=(33,) if is_new else _CURVE, files=_FRAMES[2:]),
            "skip_existing",
            prepare=copy_files(_FRAMES[:2]),
            remark="skipped frames are not printed: 100 % at the end" if is_new else "",
        ),
        case(
            "missing_texture",
            "the image of a material deleted",
            Expected(curve=_CURVE, files=_FRAMES, flags=_WARNING, missing=("wood_diff.png",))
            if is_new
            else _WHOLE,
            "missing_texture",
            remark="" if is_new else "not printed before 5.0",
        ),
        case(
            "missing_library",
            "the file of a linked object deleted",
            Expected(curve=_CURVE, files=_FRAMES, flags=_WARNING, missing=("tree_lib.blend",)),
            "missing_library",
        ),
        case("no_camera", "no camera", _failed('error: "Error: Cannot render'), "no_camera"),
        case(
            "no_scene",
            "no such scene file",
            _failed('error: "Error: Cannot read file'),
            command="{program} -b absent.blend -E CYCLES -s 1 -e 3 -a",
        ),
        case(
            "damaged_scene",
            "the scene file cut off",
            _failed('error: "Error: '),
            command="head -c 5000 scene.blend > half.blend;"
            " {program} -b half.blend -E CYCLES -s 1 -e 3 -a",
        ),
        case(
            "read_only",
            "the output folder not writable",
            _failed("error: ", None),
            prepare=forbid_writing,
            command=FEWER_RIGHTS + _RENDER,
        ),
        case(
            "disk_full",
            "the disk full, files checked",
            Expected(state="error", mentions=" are missing", percent=None, curve=_CURVE),
            prepare=fill_disk(_FRAMES),
            block=_CHECK_FILES,
            remark="Blender prints that the file is saved",
        ),
        case(
            "disk_full_unchecked",
            "the disk full, files not checked",
            Expected(curve=_CURVE),
            prepare=fill_disk(_FRAMES),
            remark="a wrong done: Blender prints that the file is saved",
        ),
        case(
            "gpu",
            "CUDA asked for without a GPU",
            _failed("setup: "),
            command=_RENDER + " -- --cycles-device CUDA",
        ),
        case(
            "no_engine",
            "an engine that is not installed",
            _failed("error: "),
            command=_RENDER.replace("CYCLES", "LUXCORE"),
        ),
        case(
            "no_render",
            "no option to render",
            _failed("bad result: ", 0, "badresult"),
            command="{program} -b scene.blend",
        ),
        case(
            "stopped",
            "stopped by the farm at its time limit",
            Expected(state="error", why="stop: task_max_run_time", percent=None),
            "long",
            block={"task_max_run_time": _MAX_SECONDS},
        ),
        *(() if is_old else (hangs,)),
    )

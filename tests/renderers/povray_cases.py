"""POV-Ray: an animation of three frames of 32 x 24 pixels, and ways to break it."""

from __future__ import annotations

from collections.abc import Mapping

from renderers.breakages import (
    FEWER_RIGHTS,
    NO_SPACE,
    Prepare,
    forbid_writing,
    in_order,
    write_text,
)
from renderers.experiment import Expected, Experiment

__all__ = ("POVRAY_CASES",)

_SCENE = """#version 3.7;
global_settings { assumed_gamma 1 }
camera { location <0, 1, -4> look_at 0 }
light_source { <2, 4, -3> rgb 1 }
sphere { <0, 0, 0>, 1 + clock / 10 pigment { rgb <1, 0.2, 0.1> } }
"""
_NO_CAMERA = _SCENE.replace("camera {", "#declare Camera = camera {")
_TEXTURE = _SCENE + 'plane { y, -1 pigment { image_map { png "tex/wood_diff.png" } } }\n'
_INCLUDE = '#include "lib/trees.inc"\n' + _SCENE
_SYNTAX = _SCENE + "sphere { <0, 1 }\n"
_FOG = "interior { media { scattering { 1, 0.01 } samples 5000 intervals 50 } }"
_SLOW = _SCENE + f"sphere {{ 0, 50 hollow pigment {{ rgbt 1 }} {_FOG} }}\n"
_FRAMES = ("f1.png", "f2.png", "f3.png")
_FOLDER, _POVRAY = "mkdir -p out; ", "{program} +Iscene.pov +Oout/f.png +W32 +H24 +KFF3 -D"
_RENDER = _FOLDER + _POVRAY
_WHOLE = Expected(curve=(33, 66, 100), files=_FRAMES)
_MAX_SECONDS = 4


def _failed(
    why: str, missing: tuple[str, ...] = (), flags: tuple[str, ...] = ("error",)
) -> Expected:
    return Expected(state="error", why=why, percent=0, flags=frozenset(flags), missing=missing)


def _case(
    name: str,
    done: str,
    expected: Expected,
    scene: str = _SCENE,
    *,
    prepare: Prepare | None = None,
    command: str = _RENDER,
    frames: int = 3,
    block: Mapping[str, object] | None = None,
    remark: str = "",
) -> Experiment:
    steps = [write_text("scene.pov", scene), *([prepare] if prepare else [])]
    return Experiment(
        program="povray",
        name=name,
        done=done,
        parser="povray",
        command=command,
        expected=expected,
        frames=frames,
        prepare=in_order(*steps),
        block=block or {},
        remark=remark,
        log=f"povray37_real_{name}",
    )


POVRAY_CASES = (
    _case("frames", "nothing: three frames", _WHOLE),
    _case(
        "missing_texture",
        "the file of an image map deleted",
        _failed("missing-asset: ", flags=("error", "warning")),
        _TEXTURE,
        remark="the name is on a line of its own, cut at 79 columns",
    ),
    _case(
        "missing_include",
        "an included file deleted",
        _failed("missing-asset: ", ("trees.inc",), ("error", "warning")),
        _INCLUDE,
    ),
    _case("syntax_error", "a syntax error", _failed("error: "), _SYNTAX),
    _case("no_camera", "no camera", _WHOLE, _NO_CAMERA, remark="it has a default camera"),
    _case(
        "no_scene",
        "no such scene file",
        _failed("missing-asset: ", ("absent.pov",), ("error", "warning")),
        command=_RENDER.replace("scene.pov", "absent.pov"),
    ),
    _case(
        "read_only",
        "the output folder not writable",
        _failed("error: "),
        prepare=forbid_writing,
        command=_FOLDER + FEWER_RIGHTS + _POVRAY,
    ),
    _case(
        "disk_full",
        "no file may grow, as on a full disk",
        Expected(state="error", why="error: ", percent=None, flags=frozenset({"error"})),
        command=_FOLDER + NO_SPACE + _POVRAY,
    ),
    _case(
        "continued",
        "two of three frames exist, +C",
        _WHOLE,
        command=f"{_FOLDER}{_POVRAY.replace('KFF3', 'KFF2')} 2> first.log; {_POVRAY} +C",
    ),
    _case(
        "half_range",
        "the last two frames, +SF2 +EF3",
        Expected(curve=(50, 100), files=_FRAMES[1:]),
        command=f"{_RENDER} +SF2 +EF3",
        frames=2,
    ),
    _case(
        "stopped",
        "stopped by the farm at its time limit",
        Expected(
            state="error", why="stop: task_max_run_time", percent=None, flags=frozenset({"error"})
        ),
        _SLOW,
        command=_RENDER.replace("+W32 +H24", "+W640 +H480 +A0.0 +R9"),
        block={"task_max_run_time": _MAX_SECONDS},
    ),
)

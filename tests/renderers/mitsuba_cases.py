"""Mitsuba: an image of 32 x 24 pixels and 4 samples, and ways to break it."""

from __future__ import annotations

from collections.abc import Mapping

from renderers.breakages import (
    FEWER_RIGHTS,
    Prepare,
    fill_disk,
    forbid_writing,
    in_order,
    write_text,
)
from renderers.experiment import Expected, Experiment

__all__ = ("MITSUBA_CASES",)

_COLOUR = '<rgb name="reflectance" value="0.5, 0.2, 0.1"/>'
_SENSOR = """  <sensor type="perspective">
    <transform name="to_world"><lookat origin="0, 0, -4" target="0, 0, 0" up="0, 1, 0"/></transform>
    <film type="hdrfilm"><integer name="width" value="32"/><integer name="height" value="24"/></film>
    <sampler type="independent"><integer name="sample_count" value="$spp"/></sampler>
  </sensor>
"""
_SCENE = f"""<scene version="3.0.0">
  <default name="spp" value="4"/>
  <integrator type="path"/>
{_SENSOR}  <emitter type="constant"/>
  <shape type="sphere"><bsdf type="diffuse">{_COLOUR}</bsdf></shape>
</scene>
"""
_BITMAP = (
    '<texture name="reflectance" type="bitmap">'
    '<string name="filename" value="tex/wood_diff.png"/></texture>'
)
_PLY = '<shape type="ply"><string name="filename" value="lib/tree.ply"/></shape></scene>'
_FOLDER, _MITSUBA = "mkdir -p out; ", "{program} -m scalar_rgb scene.xml -o out/f.exr"
_RENDER = _FOLDER + _MITSUBA
_MAX_SECONDS = 4


def _failed(why: str, percent: int = 0) -> Expected:
    return Expected(state="error", why=why, percent=percent, flags=frozenset({"error"}))


def _case(
    name: str,
    done: str,
    expected: Expected,
    scene: str = _SCENE,
    *,
    prepare: Prepare | None = None,
    command: str = _RENDER,
    block: Mapping[str, object] | None = None,
    remark: str = "",
) -> Experiment:
    steps = [write_text("scene.xml", scene), *([prepare] if prepare else [])]
    return Experiment(
        program="mitsuba",
        name=name,
        done=done,
        parser="mitsuba",
        command=command,
        expected=expected,
        prepare=in_order(*steps),
        block=block or {},
        remark=remark,
        log=f"mitsuba39_real_{name}",
    )


MITSUBA_CASES = (
    _case("frames", "nothing: one image", Expected(files=("f.exr",))),
    _case(
        "missing_texture",
        "the file of a bitmap deleted",
        _failed("missing-asset: "),
        _SCENE.replace(_COLOUR, _BITMAP),
    ),
    _case(
        "missing_mesh",
        "the file of a mesh deleted",
        _failed("missing-asset: "),
        _SCENE.replace("</scene>", _PLY),
    ),
    _case(
        "missing_plugin",
        "a BSDF of a plug-in that is not installed",
        _failed("setup: "),
        _SCENE.replace('"diffuse"', '"studio_skin"'),
    ),
    _case("no_camera", "no sensor", _failed("error: "), _SCENE.replace(_SENSOR, "")),
    _case(
        "no_scene",
        "no such scene file",
        _failed("missing-asset: "),
        command=_RENDER.replace("scene.xml", "absent.xml"),
    ),
    _case("syntax_error", "the scene file cut off", _failed("error: "), _SCENE[:300]),
    _case(
        "read_only",
        "the output folder not writable",
        _failed("permission: ", 100),
        prepare=forbid_writing,
        command=_FOLDER + FEWER_RIGHTS + _MITSUBA,
        remark="the image is rendered before it is written",
    ),
    _case(
        "disk_full",
        "the disk full",
        _failed("disk-full: ", 100),
        prepare=fill_disk(("f.exr",)),
        remark="the image is rendered before it is written",
    ),
    _case(
        "gpu",
        "CUDA asked for without a GPU",
        _failed("setup: "),
        command=_RENDER.replace("scalar_rgb", "cuda_ad_rgb"),
    ),
    _case(
        "no_variant",
        "a variant that is not compiled",
        _failed("error: "),
        command=_RENDER.replace("scalar_rgb", "gpu_rgb"),
    ),
    _case(
        "stopped",
        "stopped by the farm at its time limit",
        Expected(state="error", why="stop: task_max_run_time", percent=None),
        command=_RENDER + " -D spp=100000000",
        block={"task_max_run_time": _MAX_SECONDS},
    ),
)

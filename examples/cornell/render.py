"""Render one frame of an animated Cornell box with Mitsuba 3.

    python render.py --frame 7 --frames 24 --output frame.0007.exr

A golden ball circles a turning block and hops twice a round, under a swinging lamp. The last frame
leads back to the first.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import drjit
import mitsuba as mi

mi.set_variant("scalar_rgb")  # works on any processor, needs no LLVM and no GPU

WHITE, RED, GREEN = (0.74, 0.73, 0.70), (0.60, 0.055, 0.045), (0.11, 0.42, 0.085)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frame", type=int, required=True)
    parser.add_argument("--frames", type=int, default=24, help="length of one round")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=240, help="pixels a side")
    parser.add_argument("--samples", type=int, default=25, help="light paths a pixel")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    options = parser.parse_args()

    drjit.set_thread_count(options.threads)
    mi.set_log_level(mi.LogLevel.Info)  # the progress bar and the name of the image
    round_ = 2 * math.pi * (options.frame - 1) / options.frames
    scene = mi.load_dict(make_scene(round_, options.size, options.samples))
    scene.integrator().render(scene, seed=options.frame)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    # Mitsuba 3.9 writes an EXR in a second thread, and waits for ever if only one is allowed.
    drjit.set_thread_count(max(2, options.threads))
    scene.sensors()[0].film().write(str(options.output))


def make_scene(angle: float, size: int, samples: int) -> dict[str, object]:
    """Return the scene at `angle` of the round, in radians."""
    at = mi.ScalarTransform4f
    ball = [0.62 * math.sin(angle), -0.70 + 0.45 * abs(math.sin(angle)), 0.62 * math.cos(angle)]
    block = at().translate([0, -0.62, 0]).rotate([0, 1, 0], 15 + math.degrees(angle) / 4)
    lamp = at().translate([0.35 * math.sin(angle), 0.985, 0.15]).rotate([1, 0, 0], 90)
    return {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 6},
        "sensor": {
            "type": "perspective",
            "fov": 38,
            "to_world": at().look_at(origin=[0, 0, 3.9], target=[0, 0, 0], up=[0, 1, 0]),
            "film": {
                "type": "hdrfilm",
                "width": size,
                "height": size,
                "pixel_format": "rgb",
                "component_format": "float16",
                "rfilter": {"type": "gaussian"},
            },
            "sampler": {"type": "multijitter", "sample_count": samples},
        },
        "lamp": {
            "type": "rectangle",
            "to_world": lamp.scale([0.34, 0.26, 1]),
            "light": {"type": "area", "radiance": {"type": "rgb", "value": [15.5, 13.6, 10.4]}},
        },
        "floor": wall([0, -1, 0], [1, 0, 0], -90, WHITE),
        "ceiling": wall([0, 1, 0], [1, 0, 0], 90, WHITE),
        "back": wall([0, 0, -1], [0, 1, 0], 0, WHITE),
        "left": wall([-1, 0, 0], [0, 1, 0], 90, RED),
        "right": wall([1, 0, 0], [0, 1, 0], -90, GREEN),
        "block": {
            "type": "cube",
            "to_world": block.scale([0.25, 0.38, 0.25]),
            "material": matte((0.25, 0.38, 0.62)),
        },
        "ball": {
            "type": "sphere",
            "center": ball,
            "radius": 0.28,
            "material": {"type": "roughconductor", "material": "Au", "alpha": 0.2},
        },
    }


def wall(
    centre: list[float], axis: list[float], degrees: float, colour: tuple[float, float, float]
) -> dict[str, object]:
    """Return a square of two by two that faces the inside of the box."""
    to_world = mi.ScalarTransform4f().translate(centre).rotate(axis, degrees)
    return {"type": "rectangle", "to_world": to_world, "material": matte(colour)}


def matte(colour: tuple[float, float, float]) -> dict[str, object]:
    """Return a surface that scatters light evenly."""
    return {"type": "diffuse", "reflectance": {"type": "rgb", "value": list(colour)}}


if __name__ == "__main__":
    main()

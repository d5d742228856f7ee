"""Blender's internal engine (2.4 to 2.7): ``Fra:1 Mem:8.55M (0.00M) | Scene, Part 3-16``."""

from __future__ import annotations

from parsers.blender import blender
from parsers.parser import Rule, frame_percent, rule

__all__ = ("blender_render",)


class blender_render(blender):
    """As `blender`, with percents by parts."""

    rules: tuple[Rule, ...] = (
        *blender.rules,
        rule("Part ", r"Part (?<=.Part )(\d+)-(\d+)", frame_percent),
    )

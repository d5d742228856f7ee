r"""Houdini's hbatch and hython, running render nodes.

    RopNode.render: frame 12
    21:17:04  usdrender1 frame 12
    ABC_PROGRESS 45

The second is how Houdini 20 names the frame when a node is rendered verbosely.
"""

from __future__ import annotations

from parsers._mantra import HOUDINI_ERRORS
from parsers._passes import LapParser
from parsers.parser import Rule, frame_percent, new_frame, progress_only, rule

__all__ = ("hbatch",)


class hbatch(LapParser):
    """Frames as nodes begin them, percents of Alembic exports.

    With a renderer's parser for a second base class the renderer tells the percents.
    """

    rules: tuple[Rule, ...] = (
        rule("RopNode.render: frame ", r"RopNode\.render: frame +(-?\d+(?:\.\d+)?)?", new_frame),
        rule(" frame ", r"^\d\d:\d\d:\d\d +\S+ frame (-?\d+(?:\.\d+)?)\s*$", new_frame),
        rule("ABC_PROGRESS ", r"ABC_PROGRESS +(\d+(?:\.\d+)?)", frame_percent),
    )
    errors: tuple[str, ...] = HOUDINI_ERRORS
    warnings: tuple[str, ...] = ("OpenCL Exception", "Failed to create")

    @progress_only
    def begin_lap(self) -> None:
        """Nothing once frames are told: a frame may be rendered in several goes."""
        if self.marked is None:
            super().begin_lap()

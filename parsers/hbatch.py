r"""Houdini's hbatch and hython, running render nodes.

    RopNode.render: frame 12
    21:17:04  usdrender1 frame 12
    ABC_PROGRESS 45

The second is Houdini 20's line when a node is rendered verbosely.
"""

from __future__ import annotations

from parsers._mantra import HOUDINI_ERRORS
from parsers._passes import PassParser
from parsers.parser import Rule, frame_percent, new_frame, progress_only, rule

__all__ = ("hbatch",)


class hbatch(PassParser):
    """Frames as nodes begin them, percents of Alembic exports.

    A renderer's parser as the second base class adds the percents of that renderer.
    """

    rules: tuple[Rule, ...] = (
        rule("RopNode.render: frame ", r"RopNode\.render: frame +(-?\d+(?:\.\d+)?)?", new_frame),
        rule(" frame ", r"^\d\d:\d\d:\d\d +\S+ frame (-?\d+(?:\.\d+)?)\s*$", new_frame),
        rule("ABC_PROGRESS ", r"ABC_PROGRESS +(\d+(?:\.\d+)?)", frame_percent),
    )
    errors: tuple[str, ...] = HOUDINI_ERRORS
    warnings: tuple[str, ...] = ("OpenCL Exception", "Failed to create")

    @progress_only
    def begin_pass(self) -> None:
        """Do nothing once Houdini reports frames: a frame may be rendered in several passes."""
        if self.frame_name is None:
            super().begin_pass()

r"""Houdini's hbatch and hython, running render nodes, with any renderer.

    RopNode.render: frame 12
    21:17:04  usdrender1 frame 12
    ABC_PROGRESS 45

The second is Houdini 20's line when a node is rendered verbosely.
"""

from __future__ import annotations

from parsers._mantra import HOUDINI, MantraParser
from parsers._messages import Messages
from parsers._renderers_inside import RenderersInside
from parsers.parser import Rule, frame_percent, new_frame, rule

__all__ = ("hbatch",)


class hbatch(RenderersInside):
    """Frames as nodes begin them, percents of Alembic exports, and the renderer inside.

    A renderer's parser as the second base class adds that renderer's figures.
    """

    rules: tuple[Rule, ...] = (
        rule("RopNode.render: frame ", r"RopNode\.render: frame +(-?\d+(?:\.\d+)?)?", new_frame),
        rule(" frame ", r"^\d\d:\d\d:\d\d +\S+ frame (-?\d+(?:\.\d+)?)\s*$", new_frame),
        rule("ABC_PROGRESS ", r"ABC_PROGRESS +(\d+(?:\.\d+)?)", frame_percent),
        *MantraParser.rules,
        *RenderersInside.rules,
    )
    messages: tuple[Messages, ...] = (
        Messages(markers=("Failed to create",), warnings=("OpenCL Exception",)),
        HOUDINI,
    )

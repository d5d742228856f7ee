r"""Houdini's husk, which renders USD files with Karma (CPU or XPU) or another Hydra delegate.

    [17:30:04] >>> Render /out/a.0005.exr, /out/a.0005.checkpoint
    ALF_PROGRESS 45%

Progress is printed with verbosity in Alfred's style (``--verbose a``), the line of a render's files with
verbosity 3 or more.
"""

from __future__ import annotations

import os

from parsers._frames_from_files import frame_number
from parsers._mantra import IMAGE_FILES
from parsers._messages import Messages, like
from parsers._renderers_inside import RenderersInside
from parsers.karma import karma
from parsers.parser import Aside, Found, RuleParser, progress_only, rule

__all__ = ("husk",)

_RENDER = r">>> Render (\S.*)"
_MAX_NAME = 255


@progress_only
def _begin(parser: RuleParser, found: Found) -> None:
    """Begin a frame, named by the number of its first file: the products of a frame have the same."""
    first = found.group(1).partition(", ")[0].rstrip()
    name = frame_number(first[-_MAX_NAME:]) or ""
    if parser.frame_name is not None and (not name or name != parser.frame_name):
        parser.begin_frame()
    parser.frame_name = name


def _announce(parser: RuleParser, found: Found) -> None:
    for name in found.group(1).rstrip().split(", "):
        if os.path.splitext(name)[1].lower() in IMAGE_FILES:  # noqa: PTH122 - may be a path of another system
            parser.appendFile(name)


class husk(RenderersInside, karma):
    """Karma's or the delegate's progress, and files. USD errors are warnings: the exit code shows errors."""

    rules = (
        *karma.rules,
        rule(">>> Render ", _RENDER, _begin),
        rule(">>> Render ", _RENDER, Aside(_announce, "each", "files")),
        *RenderersInside.rules,
    )
    messages: tuple[Messages, ...] = (
        Messages(
            fatal=(like("unable to write", r"\bUnable to write (?:to )?image\b"),),
            warnings=("USD ERROR", "Warning: in "),
        ),
    )

r"""OpenImageIO's oiiotool, with ``-v``: ``Writing out.0012.jpg``.

Frames of ``--frames`` may be done in any order (``--parallel-frames``). After an error it exits, or
continues if an option demands it, so an error sets `badresult` and does not stop the task.
"""

from __future__ import annotations

from parsers._frames_from_files import FileParser, file_written
from parsers._image_messages import image_tool
from parsers._resource_report import UsageParser, memory
from parsers.parser import rule

__all__ = ("oiiotool",)


class oiiotool(FileParser, UsageParser):
    """Files as they are written, frames by their numbers."""

    messages = (image_tool("oiiotool"),)
    rules = (
        rule("Writing ", r"^Writing (.+)", file_written),
        rule(
            "Peak memory: ",
            r"^ *Peak memory: +(\d{1,12}(?:\.\d+)?) +([A-Za-z]+)",
            memory("oiiotool_gb"),
        ),
    )

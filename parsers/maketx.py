r"""OpenImageIO's maketx: its errors, and with ``-v`` its activity.

The file that it prints is a temporary one, which gets its final name only at the end.
"""

from __future__ import annotations

from parsers._image_messages import image_tool
from parsers._resource_report import UsageParser, memory
from parsers.parser import activity, rule

__all__ = ("maketx",)


class maketx(UsageParser):
    """The activity, peak memory, errors."""

    messages = (image_tool("maketx"), image_tool("make_texture"))
    rules = (
        rule("Reading file: ", r"^(Reading) file: ", activity),
        rule("Mipmapping...", r"^ *(Mipmapping)\.\.\.", activity),
        rule(
            "maketx peak memory used: ",
            r"^maketx peak memory used: +(\d{1,12}(?:\.\d+)?) +([A-Za-z]+)",
            memory("maketx_gb"),
        ),
    )

"""Arnold's kick, versions 4 to 7.

Lines of progress and errors have the format of the log page in Arnold's manual, licence failures
the texts of Arnold 7. No log of a GPU render was available; its progress is documented to be the
same.
"""

from __future__ import annotations

from parsers._arnold import ArnoldParser
from parsers._messages import Messages
from parsers._render_failures import RENDER_FAILURES

__all__ = ("arnold",)


class arnold(ArnoldParser):
    """Arnold's progress, files, memory, and the errors that spoil an image."""

    messages: tuple[Messages, ...] = (RENDER_FAILURES,)

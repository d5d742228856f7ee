"""Arnold's kick, versions 4 to 7.

Lines of progress and errors have the format of the log page in Arnold's manual, licence failures
the texts of Arnold 7. No log of a GPU render was available; its progress is documented to be the
same.
"""

from __future__ import annotations

from parsers._arnold import ArnoldParser
from parsers.parser import Rule, mark, rule

__all__ = ("arnold",)

_FATAL = (
    r"\[ass\] can't (?:open|read in)",
    r"\[texturesys\] unspecified OIIO error ",
    r"\[alembic\] invalid archive",
    r"signal caught: SIGABRT -- Abnormal process abort",
)


class arnold(ArnoldParser):
    """Arnold's progress and files, and the errors that spoil an image."""

    rules: tuple[Rule, ...] = (
        *ArnoldParser.rules,
        rule("ERROR ", rf"ERROR +\| +(?:{'|'.join(_FATAL)})", mark("error")),
    )
    warnings: tuple[str, ...] = ("rendering with watermarks because of failed authorization",)
    errors: tuple[str, ...] = (
        "Error reading pixel data from image file",
        "can't create file",
        "[rlm] error initializing license system",
        "aborting render because",
        "render aborted due to earlier errors",
    )

r"""Missing files in the words of any program: ``could not open "wood.exr"``.

The table stands behind those of the programs. A line counts only if it names a file. The words are
those without which no line is searched; a parser of a program with fast progress can do with fewer.
"""

from __future__ import annotations

from parsers._messages import Messages
from parsers._render_failures import RENDER_FAILURES

__all__ = ("MISSING_FILES",)

MISSING_FILES = Messages(
    assets=RENDER_FAILURES.assets,
    words=("not ", "n't ", "unable", "fail", "missing", "no such file"),
)

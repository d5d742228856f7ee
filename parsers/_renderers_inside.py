"""The renderers that may run inside Cinema 4D, 3ds Max, Maya and Houdini, whichever the job names.

The parser of a host program has this class as its base, and its own rules before these:

    class c4d(RenderersInside):
        rules = (*OWN_RULES, *RenderersInside.rules)
        messages = (CINEMA4D,)
"""

from __future__ import annotations

from parsers._arnold import ArnoldInside
from parsers._corona import CORONA, CORONA_RULES
from parsers._messages import Messages
from parsers._redshift import REDSHIFT, REDSHIFT_RULES
from parsers._render_failures import RENDER_FAILURES
from parsers._renderman import RENDERMAN, RENDERMAN_RULES
from parsers._vray import VRAY, VRAY_RULES
from parsers.parser import Rule

__all__ = ("RenderersInside",)

_RULES = (
    *ArnoldInside.rules,
    *REDSHIFT_RULES,
    *VRAY_RULES,
    *CORONA_RULES,
    *RENDERMAN_RULES,
)


class RenderersInside(ArnoldInside):
    """Progress, files and failures of Arnold, Redshift, V-Ray, Corona and RenderMan."""

    rules: tuple[Rule, ...] = tuple(dict.fromkeys(_RULES))
    messages: tuple[Messages, ...] = (REDSHIFT, VRAY, CORONA, RENDERMAN, RENDER_FAILURES)

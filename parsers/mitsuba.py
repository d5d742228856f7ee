r"""Mitsuba 3, its command line and scripts that log at level Info.

A render begins with ``Starting render job``. Its progress is a bar, ``\rRendering [====    ] (1.2s,
ETA: 3.4s)``, which is redrawn (not in the JIT variants). ``Developing "file"`` names the output
file of the command line, ``Writing OpenEXR file "file"`` any file at level Debug. Scripts that
write files can print ``@IMAGE@file``.
"""

from __future__ import annotations

import re

from parsers._messages import Messages, like
from parsers._render_failures import RENDER_FAILURES
from parsers._text import text_of
from parsers.parser import RuleParser, frame_end, frame_share, image, new_frame, rule

__all__ = ("mitsuba",)

_PROGRAM = re.compile(r"(?:^|[\s\\/\"'])mitsuba(?:\.exe)?[\"']?(?:\s|$)")

MITSUBA = Messages(
    # `src/core/logger.cpp`, `src/mitsuba/mitsuba.cpp` and Dr.Jit's `src/log.cpp`.
    fatal=(
        like(" error ", r"\d ERROR +(?:\S+ +)?\["),
        "Caught a critical exception",
        "LLVM ERROR",
        like("critical dr.jit", r"Critical Dr\.?Jit (?:compiler )?failure"),
        like("cuda_error", r"\bCUDA_ERROR_\w+"),
    ),
    markers=(like("error", r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*Error: "),),  # of Python
    warnings=(like(" warn ", r"\d WARN +(?:\S+ +)?\["),),
)


def _bar(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
    done, left = map(len, groups)
    return 100 * done / (done + left) if done + left else None


class mitsuba(RuleParser):
    """Frames by ``Starting render job``, percents by the bar."""

    rules = (
        rule("Starting render job", r"Starting render job", new_frame),
        rule("Rendering [", r"Rendering \[(=*)( *)\]", frame_share(_bar)),
        rule("Rendering finished.", r"Rendering finished\.", frame_end),
        rule('Developing "', r'Developing "(.+)"', image),
        rule("Writing ", r'\bWriting \w+ file "(.+)" \(', image),
    )
    messages = (MITSUBA, RENDER_FAILURES)
    tells_frames = True

    def finish(self, mode: str) -> None:
        """At the end of good work the last render is complete: variants with a JIT print no bar."""
        super().finish(mode)
        if mode == "0:0" and not self.is_bad() and self.frame_name is not None:
            self.grow_frame(100)

    def expects_frames(self) -> bool:
        """A script of Mitsuba's Python package prints no progress unless its log level is Info."""
        return _PROGRAM.search(text_of(self.taskInfo.get("command")) or "mitsuba ") is not None

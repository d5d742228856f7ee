r"""Mitsuba 3, its command line and scripts that log at level Info.

A render begins with ``Starting render job``. Its progress is a bar, ``\rRendering [====    ] (1.2s,
ETA: 3.4s)``, which is redrawn (not in the JIT variants). ``Developing "file"`` names the output
file of the command line, ``Writing OpenEXR file "file"`` any file at level Debug. Scripts that
write files can print ``@IMAGE@file``.
"""

from __future__ import annotations

from parsers.parser import RuleParser, frame_end, frame_share, image, mark, new_frame, rule

__all__ = ("mitsuba",)


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
        rule(" WARN ", r"\d WARN +\[", mark("warning")),
        rule(" ERROR ", r"\d ERROR +\[", mark("error")),
    )
    errors = ("Caught a critical exception", "LLVM ERROR:")

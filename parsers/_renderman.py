r"""What RenderMan prints, as prman or as a plugin of Maya, Houdini, Blender; to version 27.

    R90000   45%
    D01002 "img/a.0001.exr" (openexr, mode = rgba, 640 x 480)
    X00002 {ERROR}   Plugin error: PxrTexture could not open "wood.tex"
    R50009 {SEVERE} License location is not set in rendermn.ini - aborting.

Progress is turned on by ``-progress`` (one line, redrawn) or ``-Progress`` (a line each). A level stands
behind the number of the message; what is ``{SEVERE}`` ends the render. Before version 21 the level was
a word: ``Error: T02001 Can't open texture``.
"""

from __future__ import annotations

from parsers._inside import FRAME_SKIPPED
from parsers._messages import Messages, like
from parsers._passes import pass_rules
from parsers.parser import Rule, image, rule

__all__ = ("RENDERMAN", "RENDERMAN_RULES")

_PROGRESS = r"R90000 +(?:\{?PROGRESS\}?:? +)?"

RENDERMAN_RULES: tuple[Rule, ...] = (
    FRAME_SKIPPED,
    *pass_rules("R90000", rf"{_PROGRESS}(\d+(?:\.\d+)?) *%", "100", rf"{_PROGRESS}100(?:\.0+)? *%"),
    rule("mode = ", r'^[^"\n]*"([^"\n]+)".*\bmode = \w', image),
    rule('" (', r'"([^"\n]{1,500})" \((?:openexr|deepexr|tiff|targa|png)\b', image),
    rule("Filtering to produce ", r"Filtering to produce +(\S(?:.*\S)?)", image),
)

RENDERMAN = Messages(
    words=("error", "{severe}", "licen", "bad ", "not ", "n't ", "unable ", "fail", "a08022"),
    markers=(
        like("{error}", r"\{ERROR\}"),
        like("error: ", r"\bError: (?:PRMan: )?[A-Z]\d{5}\b"),
    ),
    fatal=(
        like("{severe}", r"\{SEVERE\}"),
        "cannot find valid renderman license",
        like("license", r"\bR500\d\d\b.{0,300}\bLicense\b"),
        like(
            "display",
            r"(?i)\b(?:could not|cannot|can't|unable to|failed to) (?:open|create) display (?:driver\b|\")",
        ),
        like("a08022", r"\bA08022\b"),
    ),
    assets=(
        like("bad texture data", r"Bad texture data in \"?([^\s\"]+)"),
        like("cannot be opened", r"\"([^\"\n]+)\" cannot be opened"),
    ),
)
"""Sources: RenderMan's manual, "Error messages" and "errorHandler"; RenderManForBlender 230 and 551; the error
texts of deadline-cloud-for-maya."""

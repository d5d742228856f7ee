r"""What V-Ray prints, alone or inside another program; versions 3 to 7.

    [2023/Aug/10|17:34:10] [2117 MB] Rendering image...:  45.2%
    [2023/Aug/10|17:34:12] [2117 MB] Rendering image...: done    [ 0h  0m 17.0s]
    [2023/Aug/10|17:34:12] [2117 MB] Successfully written image file "/out/a.0012.exr"
    [2023/Aug/10|17:34:12] [2117 MB] error: Could not obtain a license (-97).

The memory column exists since version 5. Inside Maya and 3ds Max ``V-Ray:`` and ``[V-Ray]`` stand in the
place of the time. With progress on, the line of progress is redrawn. Percents of light caches and
prepasses are not those of the image.
"""

from __future__ import annotations

from parsers._inside import FRAME_SKIPPED, written_image
from parsers._messages import START, Messages, like
from parsers._passes import pass_end, pass_rules
from parsers.parser import Rule, rule

__all__ = ("VRAY", "VRAY_RULES")

VRAY_RULES: tuple[Rule, ...] = (
    FRAME_SKIPPED,
    *pass_rules(
        "Rendering image",
        r"Rendering image.{0,80}?: *(\d+(?:\.\d+)?) ?%",
        "100.0",
        r"Rendering image.{0,80}?: *100\.0 ?%",
    ),
    rule(": done", r"Rendering image.{0,80}?: *done", pass_end),
    rule(
        "uccessfully ",
        r"\b[Ss]uccessfully (?:written|saved) (?:\w+ ){0,3}(?:file|image):? +(\S.*)",
        written_image,
    ),
)

VRAY = Messages(
    words=("error", "fail", "not ", "device", "abort", "interrupt", "cancel", "stopped"),
    markers=(
        like("error:", rf"{START}(?:V-Ray[ :]{{1,20}})?error: "),
        like("v-ray", r"(?:\[V-Ray\]|\bV-Ray(?: for \w+)? ?[:|]) *(?i:\[?error\b)"),
        like("[error]", r"\bVFH +\[Error\]"),  # of V-Ray for Houdini
    ),
    fatal=(
        "Could not obtain a license",
        "Memory allocation failure",
        "Cannot create output image file",
        "There was a fatal error rendering the scene",
        "Error reading scene file",
        like("error in file", r"\berror: Error in file \".+\", line \d+:"),
        like("error rendering", r"\b[Ee]rror rendering (?:scene|image|frame)\b"),
        like("devices", r"\b[Nn]o (?:\w+ ){0,3}devices (?:found|available|selected|enabled)\b"),
    ),
    aborts=(
        like("(aborted)", r"\bV-Ray\b.{0,40}\(aborted\)"),
        like(
            "rendering image",
            r"Rendering image.{0,80}?: *(?i:aborted|interrupted|cancel(?:led|ed)|stopped)",
        ),
    ),
)
"""Sources: V-Ray's manual, "V-Ray Standalone" and "Troubleshooting"; the error texts of Deadline's plugins for
Maya and V-Ray Standalone; CGRU 430, OpenPype 5420."""

r"""What Houdini and its renderers Mantra and Karma print, with progress in Alfred's style.

    Generating Image: /out/a.0001.exr (1920x1080)
    ALF_PROGRESS 45%
    Peak Memory Usage: 3.21 GB

A PDG work item reports its files as ``PDG_RESULT: ropfetch_5;0;__PDG_DIR__/render/a.exr;file/image;0``: id,
index, path, tag, hash. Up to Houdini 17 there was no index.
"""

from __future__ import annotations

import os
import re

from parsers._messages import START, Messages, like
from parsers._passes import PassParser, pass_rules
from parsers._render_failures import RENDER_FAILURES
from parsers._resource_report import UsageParser
from parsers._text import text_of
from parsers.parser import Found, Rule, RuleParser, rule

__all__ = ("HOUDINI", "IMAGE_FILES", "MantraParser", "sized_image", "warnings_of")

HOUDINI = Messages(
    words=("error", "licen", "not "),
    markers=(
        like("error:", rf"{START}(?:\w+: )?(?:Error|ERROR): "),
        like("fatal error:", rf"{START}Fatal error: "),
        like("[error]", r"\[Error\]"),
    ),
    fatal=(
        "No licenses could be found to run this application",
        "Please check for a valid license server host",
        like(
            "licen",
            # Arnold renders with a watermark then, and says so.
            r"(?i)^(?!.*WARNING +\|).*\bno (?:valid |available )?licen[cs]es? (?:found|available|was|were)\b",
        ),
    ),
    bad=(
        # The other devices continue; if it was the only one, the image stays black.
        like("critical error", r"\bKarmaXPU: device\b.{0,300}\bhas registered a critical error"),
    ),
    assets=(like("could not open asset", r"Could not open asset @([^@\n]+)@"),),
)
"""Sources: Houdini's help, "husk", "Mantra", "Karma XPU"; ayon-houdini 209; deadline-cloud-for-houdini."""

IMAGE_FILES = {
    ".dpx",
    ".exr",
    ".jpg",
    ".jpeg",
    ".pic",
    ".png",
    ".tif",
    ".tiff",
    ".psd",
    ".rat",
    ".xcf",
    ".insp",
    ".dng",
}

_SIZE = re.compile(r"\d{1,9} *x *\d{1,9}\)")


def warnings_of(program: str) -> tuple[str, ...]:
    """Texts of warnings; some begin with the name of the program."""
    return (
        "Unable to access file",
        "Unable to load texture",
        "Recompress failed",
        "WARNING: A procedural of",
        "Unknown parameter: ",
        "is rendering as a packed procedural but has a mix of packed and non-packed primitives",
        f"{program}: No velocity attribute found for motion blur",
        "primitives which may not be rendered directly",
        "Procedural generated out of bounds geometry",
        f"{program}: WARNING:",
    )


def sized_image(parser: RuleParser, found: Found) -> None:
    """Announce a file whose name may be followed by its size: ``a.exr (1920x1080)``."""
    name, _, size = found.group(1).strip().rpartition("(")
    parser.appendFile(name if _SIZE.fullmatch(size) else found.group(1))


def _result(parser: MantraParser, found: Found) -> None:
    """Announce a PDG work item's file if it is an image; ``__NAME__`` is an environment variable."""
    environment = parser.taskInfo.get("environment")
    name = found.group(1).strip()
    if isinstance(environment, dict):
        name = re.sub(
            r"__([A-Za-z]\w*?)__",
            lambda one: text_of(environment.get(one.group(1), one.group())),
            name,
        )
    if os.path.splitext(name)[1].lower() in IMAGE_FILES:  # noqa: PTH122 - may be a path of another system
        parser.appendFile(name)


class MantraParser(PassParser, UsageParser):
    """Percents of each frame, files, memory, and the errors of both renderers."""

    rules: tuple[Rule, ...] = (
        # Before the first percent both print -1, which is not matched.
        *pass_rules(
            "ALF_PROGRESS ",
            r"ALF_PROGRESS (\d\d?(?:\.\d+)?)(?!\d)",
            "ALF_PROGRESS 1",
            r"ALF_PROGRESS 100(?!\d)",
        ),
        rule(
            "PDG_RESULT:",
            r"PDG_RESULT:[^;\n]{0,200};(?:-?\d{0,9};)?([^;\n]{1,1000});[^;\n]{0,200};",
            _result,
        ),
    )
    errors: tuple[str, ...] = ("Failed to create file",)
    messages: tuple[Messages, ...] = (
        Messages(
            fatal=(like("error loading geometry", r"Error loading geometry .{0,300} from stdin"),)
        ),
        HOUDINI,
        RENDER_FAILURES,
    )

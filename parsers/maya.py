r"""Maya's batch renderer (Render, mayabatch), with any renderer.

    Finished Rendering img/layer1/shot.0001.iff.
    // Error: line 1: (kFailure): Unexpected Internal Failure //

The first is printed by Maya's own renderers, software and hardware: their only progress is the names
of the files they have written.
"""

from __future__ import annotations

from parsers._arnold import MTOA_FRAME
from parsers._messages import START, Messages, like
from parsers._passes import frame_finished
from parsers._renderers_inside import RenderersInside
from parsers.parser import Found, Rule, RuleParser, new_frame, rule

__all__ = ("MAYA", "maya")

_RENDERERS = r"(?:mtoa|redshift4maya|vrayformaya|RenderMan_for_Maya)"
MAYA = Messages(
    words=(
        "error",
        "fail",
        "abort",
        "licen",
        "not ",
        "with status",
        "cuda",
        "unable ",
        "sufficient disk",
    ),
    markers=(
        like("error: ", rf"{START}(?:(?://|#) )?Error: "),
        like("error", r"\bV-Ray error:|\brfm Error\b"),
    ),
    fatal=(
        "Frame aborted",
        "Frame rendering aborted",
        "Fatal Error",
        like("exited with status", r"\bMaya exited with status (?!0\b)\d"),
        "failed to render",
        "[mtoa] Failed batch render",
        "(kFailure)",
        "License was not obtained",
        "Cannot load scene",
        "Please check for sufficient disk space and necessary write permissions of MAYA_APP_DIR",
        "CUDA_ERROR_UNKNOWN",
        "Failed to init the CUDA driver API",
        "The system does not support the required CUDA compute capabilities",
        # Without its renderer Maya renders with another one.
        like(
            "is not currently available",
            r"The renderer \".+\" used by this scene, is not currently available",
        ),
        like(
            "was not found on maya_plug_in_path",
            rf"Plug-in, \"{_RENDERERS}(?:\.\w+)?\", was not found",
        ),
        like("to dynamically load", rf"Unable to dynamically load ?: (?=.*\b{_RENDERERS}\b)"),
    ),
    assets=(
        like("to dynamically load", r"Unable to dynamically load ?: *(\S.*)"),
        like("was not found on maya_plug_in_path", r"Plug-in, \"([^\"\n]+)\", was not found"),
        like(
            "reference file",
            r"\b(?i:reference) file (?:was )?not found\.?:? *\"?([^\"\n]+?)\"?(?: //)?\s{0,20}$",
        ),
    ),
)
"""Sources: the error texts of Deadline's plugins for Maya and of deadline-cloud-for-maya (291); maya-usd 89; OpenPype 4854."""


def _image(parser: RuleParser, found: Found) -> None:
    """Announce a file, without the full stop of the sentence if there is one."""
    parser.appendFile(found.group(1).rstrip().removesuffix("."))


def _written(parser: RuleParser, found: Found) -> None:
    """Count a frame by the number of its file, the same for all layers and cameras."""
    if found.group(2) != parser.frame_name:
        parser.frame_name = found.group(2)
        frame_finished(parser, found)


class maya(RenderersInside):
    """Maya's errors, files of its own renderers, and the renderer inside."""

    rules: tuple[Rule, ...] = (
        rule("Finished Rendering ", r"Finished Rendering (\S.*)", _image),
        rule(
            "Finished Rendering ",
            r"Finished Rendering (.{0,1000}[._])(\d+)\.[^.\s]+\.?\s*$",
            _written,
        ),
        MTOA_FRAME,
        rule("Starting frame ", r"V-Ray.{0,300}?Starting frame +(-?\d+)", new_frame),
        *RenderersInside.rules,
    )
    messages: tuple[Messages, ...] = (MAYA,)

r"""What the compositing programs Nuke, Natron and Fusion print about failures.

Sources: `Engine/AppManager.cpp` and `Engine/OutputSchedulerThread.cpp` of Natron (``ERROR: Read1: ...``
on any dialog), its issues 231 and MrKepzie/Natron 745; Nuke's manual, "Error Messages", and
AuthorityFX/afx-nuke-plugins 7; Fusion's manual, "Rendering Using Saver Nodes", and Psyop/Cryptomatte 26.
"""

from __future__ import annotations

from parsers._marked_errors import NO_ERROR
from parsers._messages import Messages, like
from parsers._render_failures import RENDER_FAILURES

__all__ = ("FUSION", "NATRON", "NUKE")

_STAMP = r"^(?:\[[^\]\n]{1,40}\] *)?"
_LICENCE = (
    "FOUNDRY LICENSE ERROR REPORT",
    like(" license key", r"Invalid .{0,300} license key"),
)
_NOT_WRITTEN = (
    like("error: write", r"\bERROR: Write\w*: "),
    like(
        "error: ",
        r"(?i)\bERROR: .{0,300}\b(?:could not|cannot|can't|failed to|unable to) (?:write|save|create)\b",
    ),
)
"""A node that writes has failed. Nodes that write are called Write and a number, unless renamed."""

_OFX = Messages(
    markers=(like("ofxstat", r"\breturned kOfxStat(?:Failed|Err)\w*"),),
)

_NUKE = Messages(
    markers=(
        like("error", _STAMP + r"(?:ERROR|FATAL|[A-Z]\w*Error):"),
        like("error", _STAMP + r"\w[\w.]*: .*\bError\b"),
    ),
    fatal=(
        "Worker process failed",
        "Segmentation fault",
        "Node execution error:",
        like("license for ", r"A license for \w+ was not found"),
        *_LICENCE,
        like("no active write operators", r"(?i)\bno active write operators"),
        *_NOT_WRITTEN,
        like("unknown command", r"(?i)(?:'|\b)\w+'?: unknown command\b"),
        like("can't render from that node", r"Can't render from that Node"),
        like("write error", r"(?i)\bwrite error\b"),
        like("insufficient disk space", r"(?i)insufficient disk space"),
        "No space left on device",
        like("out of memory", r"(?i)\bout of memory\b"),
        "std::bad_alloc",
    ),
    aborts=(
        like("aborted", r"(?i)\brender(?:ing)? (?:was )?aborted\b"),
        like("cancelled", r"(?i)\b(?:render|execution) (?:was )?cancelled\b"),
        like("user interrupt", r"(?i)\buser interrupt\b"),
    ),
    assets=(
        like(
            "no such file",
            _STAMP + r"(?:ERROR: )?[\w.]+: *(?:([^\n]*\S): )?No such file or directory",
        ),
        like("missing frame", r"(?i)missing frames?[: ]+(\S+)"),
        like("failed to load ", r"Failed to load (\S+\.(?:ofx|so|dll|dylib|gizmo))\b"),
        like('plug-in "', r"(?i)plug-?in \"([^\"\n]+)\" (?:was )?not found"),
        like("no cat file", r"(\w[\w.]{0,200}): No Cat file is selected"),
    ),
    ignored=(
        # Printed at the start of a render of a script that has a newer autosave.
        "Autosave file for",
    ),
)
NUKE = (_NUKE, RENDER_FAILURES)
"""The tables for a task of Nuke."""

_NATRON = Messages(
    markers=(like("error: ", _STAMP + r"(?:ERROR|FATAL): "),),
    fatal=(
        "Worker process failed",
        *_LICENCE,
        "This project cannot render anything",
        *_NOT_WRITTEN,
        like("caught segmentation fault", r"Caught segmentation fault"),
        like("the writer node", r"(?i)no writer node|missing a writer node"),
    ),
    aborts=(
        like("rendering failed", r"==> Rendering (?:failed|aborted)"),
        like("rendering aborted", r"==> Rendering (?:failed|aborted)"),
    ),
    assets=(
        like(
            "was found in the script but does not exist",
            r"The node (\S+)(?: version [\d.]+)? was found in the script but does not exist",
        ),
        like("missing frame", r"(?i)missing frame[: ]+(\S+)"),
        like("failed to open ", r"(?i)failed to open (?:file )?['\"]?([^'\"\n]+?)['\"]?(?:: |$)"),
    ),
    ignored=(
        # Natron renders on the processor without a display; `AppManager.cpp`.
        like("while loading opengl", r"^Error while loading OpenGL: "),
        "(this is not an error)",
        like("fontconfig ", r"^Fontconfig (?:configuration|warning|error)"),
    ),
)
NATRON = (_NATRON, _OFX, RENDER_FAILURES)
"""The tables for a task of Natron."""

_FUSION = Messages(
    markers=(
        like("error", rf"(?:(?:^|[|:\]]\s*)Error[ :]|\bError:){NO_ERROR}"),
        like("error", r"\bERROR\b"),
        like(" failed at ", r"^(\S+) failed at (?:time|frame) "),
        like("cannot get parameter", r"\bcannot get Parameter for \S+ at time "),
    ),
    fatal=(
        like("error", rf"^(?:\[[^\]\n]{{1,60}}\] *)?(?:ERROR|Error)[ :]{NO_ERROR}"),
        like("render failed", r"^(?:.*[\]|] )?Render failed"),
        like("no savers", r"(?i)\bno (?:active )?savers?\b"),
        like(
            "licen",
            r"(?i)\b(?:no|could not (?:get|find|obtain)|failed to (?:get|obtain)) .{0,300}\b(?:licen[cs]e|dongle)\b",
        ),
        like("out of memory", r"(?i)\bout of memory\b"),
        like("could not load comp", r"(?i)\bcould not (?:load|open) comp"),
    ),
    bad=(like(" failed at ", r"^Saver\w* failed at (?:time|frame) "),),
    aborts=(like("render aborted", r"Render (?:aborted|cancelled|stopped)"),),
    assets=(
        like(
            "could not find ",
            r"(?i)could not find (?:font|file|tool|fuse|plug-?in)?:? *['\"]?([^'\"\n]+)",
        ),
        like("unknown tool", r"(?i)unknown tool(?: type)?:? *['\"]?([\w.]+)"),
        like("missing font", r"(?i)missing fonts?:? *['\"]?([^'\"\n]+)"),
    ),
    successes=("Closing outstanding documents",),
)
FUSION = (_FUSION, RENDER_FAILURES)
"""The tables for a task of Fusion."""

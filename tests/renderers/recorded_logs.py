"""Makes test data of what the programs printed: paths and names of this machine are replaced."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

__all__ = ("clean_output", "record_log")

_LOGS = Path(__file__).parents[1] / "data" / "logs"
_CREDITS = re.compile(
    r"This is an unofficial version compiled by:.*?listed in the documentation\.\n", re.DOTALL
)
"""Names of POV-Ray's authors, which each start prints."""
_POINTER = re.compile(r"@ 0x[0-9a-f]+")


def record_log(name: str, output: str, folder: Path, programs: Path) -> None:
    """Write the log `name`; `folder` is the working folder, `programs` that of all programs."""
    (_LOGS / f"{name}.log").write_text(clean_output(output, folder, programs), encoding="utf-8")


def clean_output(output: str, folder: Path, programs: Path) -> str:
    """Return output without paths and names of this machine.

    Names of output files become relative, so that a test can make the files.
    """
    text = output.replace(f"{folder}/", "").replace(str(folder), ".")
    text = text.replace(f"{programs}/debian/root", "").replace(str(programs), "/opt/programs")
    text = _CREDITS.sub("", text.replace(str(Path.home()), "/home/artist"))
    for name, other in ((socket.gethostname(), "host"), (getpass.getuser(), "artist")):
        text = re.sub(rf"\b{re.escape(name)}\b", other, text)
    return _drop_updates(_POINTER.sub("@ 0x55d0c0ffee00", text))


def _drop_updates(text: str) -> str:
    """Drop Blender's lines of scene updates, of which each frame has dozens."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not ("Mem:" in line and "| Updating " in line))

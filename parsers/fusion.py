r"""Fusion and its render node.

    Rendered frame 10 (11 of 20), took 0.09 secs
    Render completed successfully at Thu 3:24PM - Total Time: 0h 0m 1.66s

Windows builds print nothing: they write to the file that ``/log FILE`` of the command names, by
default ``fusion_render.log`` in the folder for temporary files. Of that file only the part written
since the task began is read. Tasks that run at the same time on a host need a file each.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from parsers._compositing_messages import FUSION
from parsers._text import text_of
from parsers.parser import Found, Rule, RuleParser, mark, rule

__all__ = ("fusion",)

_LOG = re.compile(r"""[/-]log[ =]+(?:"([^"]+)"|'([^']+)'|(\S+))""", re.IGNORECASE)
_VARIABLE = re.compile(r"%(\w+)%|\$(\w+)|\$\{(\w+)\}")
_MAX_READ = 4 * 1024 * 1024
"""Bytes of the file that are read at once."""
_MAX_LOG = 16 * 1024
"""Characters kept for the task's log."""


def _rendered(parser: RuleParser, found: Found) -> None:
    """Count frames, scaled: the render may have another number of frames than the task."""
    done, frames = int(found.group(1)), int(found.group(2))
    if parser.aborted or not 0 < done <= frames:
        return
    if parser.numframes > 1:
        while parser.frame < done * parser.numframes // frames:
            parser.next_frame()
    else:
        parser.grow_frame(100 * done / frames)


class fusion(RuleParser):
    """Frames, the end of the render, and errors, from the output and from Fusion's log file."""

    ticks = True
    rules: tuple[Rule, ...] = (
        rule("Rendered frame ", r"Rendered frame -?\d+ \((\d{1,9}) of (\d{1,9})\)", _rendered),
        rule("Render completed", r"Render completed", mark("finishedsuccess")),
    )
    messages = FUSION
    tells_frames = True

    def __init__(self) -> None:
        super().__init__()
        self.file: Path | None = None
        """Fusion's log file."""
        self.position = 0
        """Offset in the file up to which it was written before the task, or was read."""

    def setTaskInfo(self, i_info: dict[str, object]) -> None:
        super().setTaskInfo(i_info)
        self.file = _find_log_file(i_info)
        try:
            self.position = self.file.stat().st_size
        except (OSError, ValueError):
            self.position = 0

    def do(self, i_args: dict[str, object]) -> str | None:
        mode = str(i_args.get("mode", "RUN"))
        result = super().do({**i_args, "mode": "RUN"})
        while text := self._read_new(mode != "RUN"):
            self.log = ((self.log or "") + text)[-_MAX_LOG:]
            lowered = text.lower()
            self.error = self.error or any(one.lower() in lowered for one in self.str_error)
            super().do({"data": text})
        if mode != "RUN":
            self.finish(mode)
        return result

    def _read_new(self, last: bool) -> str:
        """The new whole lines of the file; in the last call an unfinished line too."""
        if self.file is None:
            return ""
        try:
            size = self.file.stat().st_size
            if size < self.position:
                self.position = 0  # Fusion truncated it
            if size == self.position:
                return ""
            with self.file.open("rb") as file:
                file.seek(self.position)
                data = file.read(_MAX_READ)
        except (OSError, ValueError):
            return ""
        if not last and len(data) < _MAX_READ:
            data = data[: data.rfind(b"\n") + 1]
        self.position += len(data)
        return data.decode("utf-8", "replace")


def _find_log_file(info: dict[str, object]) -> Path:
    """The log file that Fusion writes in this task."""
    own = info.get("environment")
    environment = {**os.environ, **(own if isinstance(own, dict) else {})}
    found = _LOG.search(text_of(info.get("command")))
    if found is None:
        temp = environment.get("TEMP") or environment.get("TMP") or tempfile.gettempdir()
        return Path(text_of(temp), "fusion_render.log")
    name = _VARIABLE.sub(
        lambda one: text_of(environment.get(one.group(one.lastindex or 0), one.group())),
        found.group(found.lastindex or 0),
    )
    return Path(text_of(info.get("wdir")), name)

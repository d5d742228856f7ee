"""Makes a job of one command and some frames, as ``trio_afrender run -c`` takes them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

import attrs

from trio_afrender.errors import ConfigError

__all__ = ("QuickJob",)

_TOKEN = re.compile(r"@#+@")


@attrs.frozen(slots=True, kw_only=True)
class QuickJob:
    """A command, and how it becomes tasks."""

    command: str
    frames: Sequence[range] = ()
    """Empty: one task that runs the command once."""
    per_task: int = 1
    name: str = ""
    service: str = "generic"
    parser: str = ""
    folder: str = ""

    def make(self) -> dict[str, object]:
        """Return the content of a job file. Raises `ConfigError` if command and frames do not fit.

        Each range is a block, so that services and parsers get the true numbers of its frames.
        """
        if not self.command.strip():
            raise ConfigError("-c: the command is empty")
        numbered = _TOKEN.search(self.command) is not None
        if self.frames and not numbered:
            raise ConfigError(
                "-c: the command has no @#@ for the frame number, so all tasks would do the same; "
                "for one task leave --frames out"
            )
        if numbered and not self.frames:
            raise ConfigError("-c: the command has @#@ for a frame number: give --frames, too")
        name = self.name or self._program()
        common = {
            "service": self.service,
            "parser": self.parser,
            "working_directory": self.folder,
        }
        if not self.frames:
            task = {"name": name, "command": self.command}
            return {"job": {"name": name, "blocks": [{"name": name, **common, "tasks": [task]}]}}
        blocks = [
            {
                "name": name if len(self.frames) == 1 else f"{name} {_describe(frames)}",
                **common,
                "command": self.command,
                "flags": 1,
                "frame_first": frames.start,
                "frame_last": frames[-1],
                "frames_inc": frames.step,
                "frames_per_task": self.per_task,
            }
            for frames in self.frames
        ]
        return {"job": {"name": name, "blocks": blocks}}

    def _program(self) -> str:
        """The name of the program, without variables before it."""
        try:
            words = shlex.split(self.command)
        except ValueError:  # a quotation mark that is not closed is the shell's to report
            words = self.command.split()
        program = next((word for word in words if "=" not in word), words[0])
        return PurePath(program).name or "command"


def _describe(frames: range) -> str:
    if len(frames) == 1:
        return str(frames.start)
    step = f"/{frames.step}" if frames.step > 1 else ""
    return f"{frames.start}-{frames[-1]}{step}"

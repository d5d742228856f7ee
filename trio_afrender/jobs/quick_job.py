"""Makes a job of one command and some frames, as ``trio_afrender run -c`` takes them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from trio_afrender.errors import ConfigError

__all__ = ("make_quick_job",)

_TOKEN = re.compile(r"@#+@")


def make_quick_job(
    command: str,
    *,
    frames: Sequence[range] = (),
    per_task: int = 1,
    name: str = "",
    service: str = "generic",
    parser: str = "",
    folder: str = "",
) -> dict[str, object]:
    """Return the content of a job file. Raises `ConfigError` if command and frames do not fit.

    Each range is a block, so that services and parsers get the true numbers of its frames. Without
    `frames` the job has one task, which runs the command once.
    """
    if not command.strip():
        raise ConfigError("-c: the command is empty")
    numbered = _TOKEN.search(command) is not None
    if frames and not numbered:
        raise ConfigError(
            "-c: the command has no @#@ for the frame number, so all tasks would do the same; "
            "for one task leave --frames out"
        )
    if numbered and not frames:
        raise ConfigError("-c: the command has @#@ for a frame number: give --frames, too")
    if not name:
        try:
            words = shlex.split(command)
        except ValueError:  # a quotation mark that is not closed is the shell's to report
            words = command.split()
        # That of the program, without variables before it.
        program = next((word for word in words if "=" not in word), words[0])
        name = PurePath(program).name or "command"
    common = {"service": service, "parser": parser, "working_directory": folder}
    if not frames:
        task = {"name": name, "command": command}
        return {"job": {"name": name, "blocks": [{"name": name, **common, "tasks": [task]}]}}
    blocks = []
    for each in frames:
        first, last = each.start, each[-1]
        step = f"/{each.step}" if each.step > 1 else ""
        shown = f"{first}" if len(each) == 1 else f"{first}-{last}{step}"
        block = {
            "name": name if len(frames) == 1 else f"{name} {shown}",
            **common,
            "command": command,
            "flags": 1,
            "frame_first": first,
            "frame_last": last,
            "frames_inc": each.step,
            "frames_per_task": per_task,
        }
        blocks.append(block)
    return {"job": {"name": name, "blocks": blocks}}

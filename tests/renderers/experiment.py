"""One render, whole or broken on purpose: what is done, and what the agent must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

__all__ = ("Expected", "Experiment", "Finding", "compare")


@attrs.frozen(kw_only=True)
class Expected:
    """What is right for one task."""

    state: str = "done"
    why: str = ""
    """The begin of the first of the reasons: the error class, the flag, or the rule of the farm."""
    mentions: str = ""
    """A part of that reason."""
    percent: int | None = 100
    """None where the time of the stop decides."""
    curve: tuple[int, ...] = ()
    """Percents that must be there, in this order; others may be between."""
    frame: int | None = None
    files: tuple[str, ...] = ()
    """Base names of the files that the parser announces and that exist, in their order."""
    flags: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    """Base names of the missing assets."""
    report: str = ""
    """A part of the task's report."""


@attrs.frozen(kw_only=True)
class Experiment:
    """A scene, the command that renders it, and what must come of it."""

    program: str
    """Key of the program that renders."""
    name: str
    done: str
    """What was done to the scene or to the machine, for the report."""
    parser: str
    command: str
    """A shell command. ``{program}`` is the program's command line, ``{folder}`` the working folder."""
    expected: Expected
    frames: int = 1
    prepare: Callable[[Path], None] | None = None
    """Make the scene in a folder."""
    block: Mapping[str, object] = attrs.field(factory=dict)
    """Further fields of the job's block."""
    remark: str = ""
    """What the report adds: where the output cannot tell what happened."""
    log: str = ""
    """Name of the log in the test data that is recorded of it; empty: none."""


@attrs.frozen(kw_only=True)
class Finding:
    """What the agent and the parser made of a render."""

    state: str
    why: str
    percent: int
    """As the farm has it at the end."""
    curve: tuple[int, ...]
    """All different percents of the parser, fed line by line."""
    frame: int
    files: tuple[str, ...]
    flags: frozenset[str]
    missing: tuple[str, ...]
    report: str
    seconds: float
    output: str


def compare(expected: Expected, found: Finding) -> list[str]:
    """Return what is not as expected, one sentence each."""
    wrong = []

    def want(name: str, value: object, wanted: object) -> None:
        if value != wanted:
            wrong.append(f"{name} is {value!r} instead of {wanted!r}")

    want("state", found.state, expected.state)
    if not found.why.startswith(expected.why) or expected.mentions not in found.why:
        wrong.append(f"why is {found.why!r} instead of {expected.why!r} {expected.mentions!r}")
    if expected.percent is not None:
        want("percent", found.percent, expected.percent)
    if expected.frame is not None:
        want("frame", found.frame, expected.frame)
    rest = iter(found.curve)
    if not all(percent in rest for percent in expected.curve):
        wrong.append(f"percents are {found.curve} instead of {expected.curve}")
    want("files", found.files, expected.files)
    want("flags", sorted(found.flags), sorted(expected.flags))
    want("missing assets", found.missing, expected.missing)
    if expected.report not in found.report:
        wrong.append(f"report is {found.report!r}, without {expected.report!r}")
    return wrong

"""For tests of parsers: recorded logs, a parser fed as the plugin host does it, expected results.

Each test module of a family of parsers has a table `CASES`; the properties of all parsers, in
test_parsers_logs.py, use every parser and every table.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import attrs

import parsers
from parsers.parser import parser
from trio_afrender.tasklog.line_splitter import LineBatcher

__all__ = (
    "LOGS",
    "NAMES",
    "PARSERS",
    "Case",
    "Outcome",
    "all_cases",
    "check",
    "cut",
    "follow",
    "ids",
    "load",
    "read",
)

LOGS = Path(__file__).parents[1] / "data" / "logs"
NAMES = tuple(sorted(path.stem for path in LOGS.glob("*.log")))
"""The names of all logs."""
PARSERS = tuple(
    info.name for info in pkgutil.iter_modules(parsers.__path__) if not info.name.startswith("_")
)
"""The names of all parsers."""
FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")


@attrs.frozen(kw_only=True)
class Outcome:
    """A host's view at the end: every flag that was ever set, the last non-empty texts."""

    percent: int = 0
    frame: int = 0
    percentframe: int = 0
    flags: frozenset[str] = frozenset()
    activity: str = ""
    report: str = ""
    resources: str = ""
    files: tuple[str, ...] = ()
    on_the_fly: tuple[str, ...] = ()
    deciding_line: tuple[int, str] | None = None
    """In a case, None: any, but the same for all cuts."""
    missing_assets: tuple[int, tuple[str, ...]] = (0, ())


@attrs.frozen
class Case:
    """A parser, a log, the number of the task's frames, and the expected outcome."""

    parser: str
    log: str
    frames: int
    outcome: Outcome


def load(name: str) -> type[parser]:
    """Return the class of a parser."""
    made: type[parser] = getattr(importlib.import_module(f"parsers.{name}"), name)
    return made


def read(name: str) -> bytes:
    return (LOGS / f"{name}.log").read_bytes()


def all_cases() -> tuple[Case, ...]:
    """Return the cases of all test modules."""
    modules = sorted(
        path.stem for path in (Path(__file__).parents[1] / "unit").glob("test_parsers_*")
    )
    tables = (getattr(importlib.import_module(name), "CASES", ()) for name in modules)
    return tuple(case for table in tables for case in table)


def ids(case: Case) -> str:
    return f"{case.parser}-{case.log}-{case.frames}"


def follow(
    made: parser, chunks: Iterable[bytes], frames: int = 1, folder: str = ""
) -> tuple[Outcome, list[int]]:
    """Feed a parser chunks of a log as the agent does; return the outcome and all percents."""
    made.setTaskInfo({"frames_num": frames, "wdir": folder})
    batcher = LineBatcher()
    outcome, percents, on_the_fly = Outcome(), [], []

    def feed(data: str, mode: str, **more: str) -> None:
        nonlocal outcome
        made.parse({"data": data, "mode": mode, "pid": 1, "resources": "", **more})
        assert made.problem == ""
        on_the_fly.extend(made.getFilesOnTheFly())
        percents.append(made.percent)
        outcome = attrs.evolve(
            outcome,
            flags=outcome.flags | {flag for flag in FLAGS if getattr(made, flag)},
            activity=made.activity or outcome.activity,
            report=made.report or outcome.report,
        )

    for chunk in chunks:
        for batch in batcher.feed(chunk):
            feed(batch, "RUN")
        if made.tail and batcher.tail:
            feed("", "RUN", tail=batcher.tail)
    rest = batcher.finish()
    feed(rest[0] if rest else "", "0:0")
    outcome = attrs.evolve(
        outcome,
        percent=made.percent,
        frame=made.frame,
        percentframe=made.percentframe,
        resources=made.resources,
        files=tuple(made.getFiles()),
        on_the_fly=tuple(on_the_fly),
        deciding_line=made.deciding_line,
        missing_assets=made.missing_assets,
    )
    return outcome, percents


def cut(data: bytes, positions: Sequence[int]) -> list[bytes]:
    """Cut bytes at these positions, modulo their number."""
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def check(case: Case, folder: Path) -> None:
    """Assert a case's outcome for the log fed as a whole, by bytes, and by lines."""
    expected = case.outcome
    for file in (*expected.files, *expected.on_the_fly):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x")
    wanted = attrs.evolve(
        expected,
        files=tuple(os.path.join(folder, file) for file in expected.files),  # noqa: PTH118 - as parsers do
        on_the_fly=tuple(os.path.join(folder, file) for file in expected.on_the_fly),  # noqa: PTH118
    )
    data = read(case.log)
    for chunks in ([data], [bytes([byte]) for byte in data], data.splitlines(keepends=True)):
        outcome, percents = follow(load(case.parser)(), chunks, case.frames, str(folder))
        if wanted.deciding_line is None:
            wanted = attrs.evolve(wanted, deciding_line=outcome.deciding_line)
        if not wanted.report and outcome.deciding_line and "finishedsuccess" not in outcome.flags:
            # A case with no report of its own has that of the line that decided.
            wanted = attrs.evolve(wanted, report=outcome.deciding_line[1])
        assert outcome == wanted, f"got      {outcome}\nexpected {wanted}"
        assert percents == sorted(percents)  # progress never decreases

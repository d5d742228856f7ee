"""Runs one experiment through the agent, and reads what the agent made of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from support.parsers import FLAGS, load

from renderers.experiment import Experiment, Finding
from trio_afrender.tasklog.line_splitter import LineBatcher

__all__ = ("run_experiment",)

MAX_SECONDS = 60
"""The farm's time limit for a task: some programs hang when they are broken."""
AGENT_TIMEOUT = 4 * MAX_SECONDS
"""Seconds after which an experiment is given up; a sign of a fault in the agent."""
_NUMERIC = 1


def run_experiment(experiment: Experiment, program: str, folder: Path) -> Finding:
    """Make the scene in an empty folder, render it, return the finding.

    `program` is the shell command that starts the program. Raises RuntimeError if the agent itself
    fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if experiment.prepare is not None:
        experiment.prepare(folder)
    command = experiment.command.format(program=program, folder=folder)
    task = _run_agent(experiment, command, folder)
    parsed = _feed_parser(experiment, command, folder, task)
    if bugs := [step["text"] for step in task["why"] if step["event"] == "bug"]:
        raise RuntimeError(f"{experiment.name}: {bugs[0]}")
    failed = task["state"] != "done"
    return Finding(
        state=str(task["state"]),
        why=str(task["why"][0]["text"]) if failed and task["why"] else "",
        percent=int(task["percent"]),
        report=str(task["report"]),
        seconds=float(task["finished"]) - float(task["started"]),
        output=str(task["output"]),
        **parsed,
    )


def _run_agent(experiment: Experiment, command: str, folder: Path) -> Mapping[str, Any]:
    block = {
        "name": experiment.program,
        "service": experiment.parser,
        "parser": experiment.parser,
        "flags": _NUMERIC,
        "frame_first": 1,
        "frame_last": experiment.frames,
        "frames_per_task": experiment.frames,
        "command": command,
        "working_directory": str(folder),
        "task_max_run_time": MAX_SECONDS,
        "environment": {"HOME": str(folder)},  # for caches and preferences of the programs
        **experiment.block,
    }
    job, report = folder / "job.json", folder / "report.json"
    job.write_text(json.dumps({"name": experiment.name, "blocks": [block]}), encoding="utf-8")
    agent = [sys.executable, "-m", "trio_afrender", "run", str(job), "--report", str(report)]
    ended = subprocess.run(
        [*agent, "--no-progress", "--retries", "0", "--store", str(folder / "store")],
        capture_output=True,
        text=True,
        timeout=AGENT_TIMEOUT,
        check=False,
    )
    if ended.returncode not in (0, 1) or not report.exists():
        raise RuntimeError(f"{experiment.name}: the agent failed: {ended.stderr[-2000:]}")
    (task,) = json.loads(report.read_text(encoding="utf-8"))["tasks"]
    return dict(task)


def _feed_parser(
    experiment: Experiment, command: str, folder: Path, task: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what only the parser has: all percents, flags, files."""
    parser = load(experiment.parser)()
    parser.setTaskInfo(
        {"frames_num": experiment.frames, "wdir": str(folder), "command": command, "files": []}
    )
    batcher = LineBatcher()
    output = str(task["output"]).encode("utf-8", "surrogateescape")
    batches = [batch for line in output.splitlines(keepends=True) for batch in batcher.feed(line)]
    # A task that was stopped has no exit code; parsers tell only a good end from others.
    code = task["exit_code"]
    end = f"{int(code) << 8 if code is not None else int(signal.SIGTERM)}:0"
    calls = [(batch, "RUN") for batch in (*batches, *batcher.finish())]
    curve, flags = [parser.percent], set[str]()
    for data, mode in (*calls, ("", end)):
        parser.parse({"data": data, "mode": mode, "pid": 1, "resources": ""})
        flags |= {flag for flag in FLAGS if getattr(parser, flag)}
        if parser.percent != curve[-1]:
            curve.append(parser.percent)
        if flags & {"error", "fatalerror", "finishedsuccess"}:
            break  # the agent stops the task
    parser.findFiles()
    return {
        "curve": tuple(curve),
        "frame": parser.frame,
        "files": tuple(PurePath(name).name for name in parser.getFiles()),
        "flags": frozenset(flags),
        "missing": tuple(os.path.basename(name) for name in parser.missing_assets[1]),  # noqa: PTH119
    }

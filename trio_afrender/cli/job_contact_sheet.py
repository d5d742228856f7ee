"""``--sheet FILE``: all thumbnails of a job on one picture, made by another process after the job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trio_afrender.cli.report_file import check_output_file
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.extras import how_to_install
from trio_afrender.jobs.views import JobView
from trio_afrender.process.environment import clean_environment

__all__ = ("check_sheet", "list_cells", "write_sheet")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_CELLS = 600
"""Of more cells, this many at even distances are shown."""
TIME_LIMIT = 300.0
"""Seconds for the process that makes the picture."""
_FAILED = ("error", "killed")


def check_sheet(text: str | None) -> Path | None:
    """Return the path of a sheet; raise `ConfigError` if it cannot be made after the job."""
    if text is None:
        return None
    path = check_output_file("--sheet", text)
    if path.suffix.casefold() not in IMAGE_SUFFIXES:
        raise ConfigError(f"--sheet {text}: the name must end in {', '.join(IMAGE_SUFFIXES)}")
    if find_spec("OpenImageIO") is None:
        raise ConfigError(f"--sheet {text} needs OpenImageIO; {how_to_install('thumbnails')}")
    return path


def list_cells(view: JobView) -> list[dict[str, str]]:
    """Return a cell for each thumbnail, in task order, and one for each failed task without any."""
    cells: list[dict[str, str]] = []
    for task in view.tasks:
        pictures = [file for file in task.files if file.suffix.casefold() in IMAGE_SUFFIXES]
        cells += (
            {"label": file.name.removesuffix(".jpg"), "image": str(file)} for file in pictures
        )
        if not pictures and task.state in _FAILED:
            name = f"{task.block_name} / {task.name}"
            cells.append({"label": name, "image": "", "trouble": task.state})
    return cells


def write_sheet(view: JobView, file: Path) -> None:
    """Make the picture and print its path, or why there is none. Raises nothing."""
    cells = list_cells(view)
    if not any(cell["image"] for cell in cells):
        print_line("no sheet: the job has no thumbnails")
        return
    shown = cells
    if len(cells) > MAX_CELLS:
        shown = [cells[index * (len(cells) - 1) // (MAX_CELLS - 1)] for index in range(MAX_CELLS)]
    counts = ", ".join(f"{number} {state}" for state, number in view.counts.items())
    left_out = f" ({len(cells) - len(shown)} pictures left out)" if len(shown) < len(cells) else ""
    request: dict[str, Any] = {
        "file": str(file),
        "title": view.name,
        "note": f"{counts}{left_out}",
        "cells": shown,
    }
    problem = ""
    # Another process, because an image library can crash on a damaged file. -P: no modules from
    # the current folder.
    words = [sys.executable, "-P", "-m", "trio_afrender.thumbnail.contact_sheet"]
    try:
        done = subprocess.run(
            words,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
            env=clean_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    else:
        if done.returncode:
            errors = done.stderr.strip().splitlines()
            problem = errors[-1] if errors else f"exit code {done.returncode}"
    print_line(f"no sheet: {clean(problem)}" if problem else f"sheet: {clean(str(file))}")

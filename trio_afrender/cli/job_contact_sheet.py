"""``--sheet FILE``: a job's thumbnails on one picture, made by a program of their own afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.process.environment import clean_environment

__all__ = ("check_sheet", "list_cells", "write_sheet")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_CELLS = 600
"""Cells; of more, so many in even steps."""
TIME_LIMIT = 300.0
_FAILED = ("error", "killed")


def check_sheet(text: str | None) -> Path | None:
    """Find out before the job whether its sheet could be made after it. Raises `ConfigError`."""
    if text is None:
        return None
    path = Path(text).expanduser().absolute()
    if path.suffix.casefold() not in IMAGE_SUFFIXES:
        raise ConfigError(f"--sheet {text}: the name must end in {', '.join(IMAGE_SUFFIXES)}")
    if path.is_dir():
        raise ConfigError(f"--sheet {text}: is a folder")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"--sheet {text}: the folder {path.parent} cannot be written to")
    if find_spec("OpenImageIO") is None:
        raise ConfigError(
            f"--sheet {text} needs OpenImageIO (pip install 'trio_afrender[thumbnails]')"
        )
    return path


def list_cells(view: JobView) -> list[dict[str, str]]:
    """A cell for each thumbnail, in the order of tasks, and one for each task that failed."""
    return [cell for task in view.tasks for cell in _cells_of(task)]


def _cells_of(task: TaskView) -> Iterator[dict[str, str]]:
    pictures = [file for file in task.files if file.suffix.casefold() in IMAGE_SUFFIXES]
    for file in pictures:
        yield {"label": file.name.removesuffix(".jpg"), "image": str(file)}
    if not pictures and task.state in _FAILED:
        name = f"{task.block_name} / {task.name}"
        yield {"label": name, "image": "", "trouble": task.state}


def write_sheet(view: JobView, file: Path) -> None:
    """Make the picture and say where it is, or why there is none. Never raises for an image."""
    cells = list_cells(view)
    if not any(cell["image"] for cell in cells):
        print_line("no sheet: the job has no thumbnails")
        return
    shown = cells
    if len(cells) > MAX_CELLS:
        shown = [cells[index * (len(cells) - 1) // (MAX_CELLS - 1)] for index in range(MAX_CELLS)]
    counts = ", ".join(f"{number} {state}" for state, number in view.counts.items())
    left_out = f" ({len(cells) - len(shown)} pictures left out)" if len(shown) < len(cells) else ""
    asked: dict[str, Any] = {
        "file": str(file),
        "title": view.name,
        "note": f"{counts}{left_out}",
        "cells": shown,
    }
    problem = _make(asked)
    print_line(f"no sheet: {clean(problem)}" if problem else f"sheet: {clean(str(file))}")


def _make(asked: dict[str, Any]) -> str:
    """Run the program; return what went wrong."""
    words = [sys.executable, "-P", "-m", "trio_afrender.thumbnail.contact_sheet"]
    try:
        done = subprocess.run(
            words,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
            env=clean_environment(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines()
    return (said[-1] if said else f"exit code {done.returncode}") if done.returncode else ""

"""``--sheet FILE``: all thumbnails of a job on one picture, made by another process after the job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from trio_afrender.cli.report_file import check_output_file
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.extras import how_to_install
from trio_afrender.jobs.views import JobView
from trio_afrender.process.environment import clean_environment
from trio_afrender.user_files import write_user_file

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


def write_sheet(view: JobView, file: Path) -> list[str]:
    """Make the picture and print its path; return what went wrong, in at most one sentence.

    A job without thumbnails has no sheet, which is not an error.
    """
    cells = list_cells(view)
    if not any(cell["image"] for cell in cells):
        print_line("no sheet: the job has no thumbnails")
        return []
    shown = cells
    if len(cells) > MAX_CELLS:
        shown = [cells[index * (len(cells) - 1) // (MAX_CELLS - 1)] for index in range(MAX_CELLS)]
    counts = ", ".join(f"{number} {state}" for state, number in view.counts.items())
    left_out = f" ({len(cells) - len(shown)} pictures left out)" if len(shown) < len(cells) else ""
    try:
        # The image library replaces whatever has the name it is given: never what a user named.
        with tempfile.TemporaryDirectory(prefix="trio_afrender-sheet-") as folder:
            picture = Path(folder) / f"sheet{file.suffix}"
            note = f"{counts}{left_out}"
            request = {"file": str(picture), "title": view.name, "note": note, "cells": shown}
            if problem := _make_picture(request):
                return [f"sheet {file}: {problem}"]
            write_user_file(file, picture.read_bytes())
    except OSError as error:
        return [f"sheet {file}: {error.strerror or error}"]
    print_line(f"sheet: {clean(str(file))}")
    return []


def _make_picture(request: Mapping[str, object]) -> str:
    """Make the picture of a request; return what went wrong, or nothing. Raises `OSError`.

    What the program prints besides is shown.
    """
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
    except subprocess.TimeoutExpired:
        return f"not finished after {TIME_LIMIT:g} seconds"
    if not done.returncode:
        print_line(*map(clean, done.stdout.splitlines()))
        return ""
    errors = done.stderr.strip().splitlines()
    return errors[-1] if errors else f"exit code {done.returncode}"

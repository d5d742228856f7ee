"""Jobs for tests of the page: images, a failure, a frame that waits, hostile texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from support.page_viewer import PAINT

__all__ = ("HOSTILE", "LONG", "write_jobs")

HOSTILE: Final = (
    "\u202egpj.exe <script>document.title='taken'</script><img src=x onerror=alert(1)>\x1b[31m"
)
LONG: Final = "N" * 10_000


def write_jobs(folder: Path, longest: int = 20_000) -> list[Path]:
    """A job with images, a failure and a frame that waits; one with hostile texts; one that waits.

    No name of a job has more than `longest` letters.
    """
    images = folder / "images"
    images.mkdir()
    paint = f"{PAINT} @#@ {images}/f.@#@.png --fail 5 --junk 6 --gate 12 {folder / 'gate'}"
    frames = {"service": "generic", "parser": "generic", "capacity": 100, "flags": 1}
    frames |= {"frame_first": 1, "frame_last": 12, "frames_per_task": 1, "errors_retries": 0}
    shot = {
        "name": "shot_010",
        "user_name": "ann",
        "blocks": [
            {"name": "render", "command": paint, "files": [f"{images}/f.@#@.png"], **frames},
            {
                "name": "movie",
                "service": "generic",
                "depend_mask": "render",
                "tasks": [{"name": "movie", "command": "true"}],
            },
        ],
    }
    hostile = {
        "name": (HOSTILE + LONG)[:longest],
        "user_name": "<b>eve</b>",
        "annotation": HOSTILE,
        "blocks": [
            {
                "name": HOSTILE,
                "service": "generic",
                "need_memory": 1 << 30,
                "tasks": [{"name": HOSTILE + LONG, "command": "true"}],
            }
        ],
    }
    stuck = {
        "name": "stuck",
        "user_name": "ann",
        "blocks": [{"name": "b", "command": "true", "need_memory": 1 << 30, **frames}],
    }
    paths = []
    for i, job in enumerate((shot, hostile, stuck)):
        path = folder / f"job{i}.json"
        path.write_text(json.dumps({"job": job}))
        paths.append(path)
    return paths

"""Checks of rendered images: files that exist and are large enough, but cannot be right.

Only for tasks whose block asks for checks of its files; the service has checked existence and
``file_size_min`` before. Images are read to their end by the image worker, so a truncated file is
found too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import trio

from trio_afrender.task.image_worker import ImageProblem, ImageWorker
from trio_afrender.task.mount_threads import call_on_mount
from trio_afrender.thumbnail.common import is_movie

__all__ = (
    "ImageFinding",
    "check_image",
    "check_images",
    "check_size",
    "check_size_on_disk",
    "sample_evenly",
    "sibling_sizes",
)

MAX_IMAGES = 32
"""Images of one task that are read; of more, so many in even steps."""
TIME_BUDGET = 120.0
"""Seconds for all images of a task."""
SIZE_FACTOR = 4.0
"""A size is suspect if it differs from the median of its siblings by more than this factor."""
MIN_SIBLINGS = 4
"""With fewer siblings, sizes are not compared."""
MAX_SIBLINGS = 40
"""The nearest files of a sequence count: over a long one the content may change slowly."""
DISK_TIMEOUT = 5.0
"""Seconds for listing the folder of one image."""
# The last number of a name: the frame, not the version ("v2_beauty.0050.exr").
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@attrs.frozen
class ImageFinding:
    """What is wrong or suspect about one image."""

    path: str
    text: str
    serious: bool
    """Whether the image cannot be right; else it may be."""

    def __str__(self) -> str:
        return self.text if self.path in self.text else f"{self.text}: {self.path}"


def sample_evenly(paths: Sequence[str], most: int = MAX_IMAGES) -> tuple[str, ...]:
    """Return at most `most` paths in even steps, the first and the last among them."""
    if len(paths) <= most:
        return tuple(paths)
    return tuple(paths[index * (len(paths) - 1) // (most - 1)] for index in range(most))


def check_image(path: str, seen: Mapping[str, Any]) -> ImageFinding | None:
    """Return the finding from an image's content; `seen` has the fields of `ImageFacts`."""
    values, bad = int(seen["values"]), int(seen["bad"])
    # First, because an image without any finite value counts as black too.
    if bad and bad == values:
        return ImageFinding(path, "all values of the image are NaN or infinite", True)
    if seen["black"]:
        return ImageFinding(path, "the image is black all over", True)
    if bad:
        share = 100.0 * bad / values
        text = f"{bad} values of the image ({share:.2g} %) are NaN or infinite"
        return ImageFinding(path, text, False)
    return None


def check_size(path: str, size: int, siblings: Sequence[int]) -> ImageFinding | None:
    """Return a finding if a file's size in bytes differs too much from those of its siblings."""
    if len(siblings) < MIN_SIBLINGS:
        return None
    median = sorted(siblings)[len(siblings) // 2]
    if median / SIZE_FACTOR <= size <= median * SIZE_FACTOR:
        return None
    text = f"the file has {size} bytes, {len(siblings)} others of its sequence about {median}"
    return ImageFinding(path, text, False)


def sibling_sizes(path: str, sizes: Iterable[tuple[str, int]]) -> tuple[int, ...]:
    """Return the sizes of the nearest files of the same sequence; `sizes` lists a folder's files."""
    name = os.path.basename(path)  # noqa: PTH119 - a text
    number = _NUMBER.search(name)
    if number is None:
        return ()
    head, tail = name[: number.start()], name[number.end() :]
    near: list[tuple[int, int]] = []
    for other, size in sizes:
        if other == name or not (other.startswith(head) and other.endswith(tail)):
            continue
        middle = other[len(head) : len(other) - len(tail)]
        # Empty files are placeholders or unfinished: they would make every finished one suspect
        # (test_an_empty_sibling_does_not_count).
        if middle.isdecimal() and size > 0:
            # Cut to 18 digits: Python refuses to convert numbers of thousands of digits.
            near.append((abs(int(middle[-18:]) - int(number[0][-18:])), size))
    return tuple(size for _, size in sorted(near)[:MAX_SIBLINGS])


def check_size_on_disk(path: str) -> ImageFinding | None:
    """Compare a file's size with those of its siblings. Blocking."""
    folder = os.path.dirname(path)  # noqa: PTH120 - a text
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - a text
        with os.scandir(folder) as entries:
            sizes = [(entry.name, entry.stat().st_size) for entry in entries if entry.is_file()]
    except OSError:
        return None
    return check_size(path, size, sibling_sizes(path, sizes))


async def check_images(
    paths: Sequence[str],
    image_worker: ImageWorker,
    limit: float,
    *,
    check_on_disk: Callable[[str], ImageFinding | None] = check_size_on_disk,
) -> tuple[tuple[ImageFinding, ...], int]:
    """Check a sample of the images, without movies; return findings and how many were not reached.

    `limit` is the time for one image, `TIME_BUDGET` that for all, in seconds.
    """
    chosen = [path for path in sample_evenly(paths) if not is_movie(path)]
    found: list[ImageFinding] = []
    done = 0
    with trio.move_on_after(TIME_BUDGET):
        for path in chosen:
            try:
                seen = await image_worker.inspect(path, limit)
                finding = check_image(path, seen) if seen is not None else None
            except ImageProblem as problem:
                # A slow disk or a busy worker is no fault of the image: a warning at most.
                finding = ImageFinding(path, str(problem), problem.image_is_faulty)
            if finding is None:
                # The folder may be on a disk that hangs: then the thread is left behind.
                # Without a thread the image is not checked: the render is done.
                with trio.move_on_after(DISK_TIMEOUT), suppress(OSError):
                    finding = await call_on_mount(partial(check_on_disk, path))
            if finding is not None:
                found.append(finding)
            done += 1
    return tuple(found), len(chosen) - done

"""Looks at what a task has rendered: images that cannot be right, beyond their being there.

Only for tasks whose block wants its files checked. Sizes below `file_size_min` and the like are the
service's to judge; here the images are read to their end by the painter.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from trio_afrender.task.image_worker import ImageProblem, ImageWorker
from trio_afrender.thumbnail.common import is_movie

__all__ = ("ImageFinding", "check_image", "find_far_off", "inspect", "pick", "sibling_sizes")

MAX_IMAGES = 32
"""Images of one task that are read; of more, so many in even steps."""
TIME_BUDGET = 120.0
"""Seconds for all of them."""
SIZE_FACTOR = 4.0
"""So many times larger or smaller than its siblings is far off."""
MIN_SIBLINGS = 4
"""Siblings that make a rule."""
MAX_SIBLINGS = 40
"""Siblings that count: of a long sequence the neighbours."""
DISK_TIMEOUT = 5.0
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@attrs.frozen
class ImageFinding:
    """What is odd with one image."""

    path: str
    text: str
    serious: bool
    """Whether it cannot be right; else it is worth a look."""

    def __str__(self) -> str:
        return self.text if self.path in self.text else f"{self.text}: {self.path}"


def pick(paths: Sequence[str], most: int = MAX_IMAGES) -> tuple[str, ...]:
    """At most so many, in even steps, the first and the last among them."""
    if len(paths) <= most:
        return tuple(paths)
    return tuple(paths[index * (len(paths) - 1) // (most - 1)] for index in range(most))


def check_image(path: str, seen: Mapping[str, Any]) -> ImageFinding | None:
    """What an image's picture says against it."""
    values, bad = int(seen["values"]), int(seen["bad"])
    if bad and bad == values:
        return ImageFinding(path, "no pixel of the image is a number (NaN or infinite)", True)
    if seen["black"]:
        return ImageFinding(path, "the image is black all over", True)
    if bad:
        share = 100.0 * bad / values
        text = f"{bad} values of the image ({share:.2g} %) are NaN or infinite"
        return ImageFinding(path, text, False)
    return None


def find_far_off(path: str, size: int, siblings: Sequence[int]) -> ImageFinding | None:
    """Whether a file's size is far off those of its sequence."""
    if len(siblings) < MIN_SIBLINGS:
        return None
    usual = statistics.median(siblings)
    if usual / SIZE_FACTOR <= size <= usual * SIZE_FACTOR:
        return None
    text = f"the file has {size} bytes, {len(siblings)} others of its sequence about {usual:.0f}"
    return ImageFinding(path, text, False)


def sibling_sizes(path: str, sizes: Iterable[tuple[str, int]]) -> tuple[int, ...]:
    """Sizes of the nearest others of a file's sequence, of all (name, size) of its folder."""
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
        if middle.isdecimal() and size > 0:
            near.append((abs(int(middle[-18:]) - int(number[0][-18:])), size))
    return tuple(size for _, size in sorted(near)[:MAX_SIBLINGS])


def _look_around(path: str) -> ImageFinding | None:
    """Blocking. Compare a file's size with those beside it."""
    folder = os.path.dirname(path)  # noqa: PTH120 - a text
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - a text
        with os.scandir(folder) as entries:
            sizes = [(entry.name, entry.stat().st_size) for entry in entries if entry.is_file()]
    except OSError:
        return None
    return find_far_off(path, size, sibling_sizes(path, sizes))


async def inspect(
    paths: Sequence[str],
    image_worker: ImageWorker,
    limit: float,
    *,
    look_around: Callable[[str], ImageFinding | None] = _look_around,
) -> tuple[tuple[ImageFinding, ...], int]:
    """What is odd with these images, and how many could not be looked at in time.

    `limit` seconds are for one image, `BUDGET` for all.
    """
    chosen = [path for path in pick(paths) if not is_movie(path)]
    found: list[ImageFinding] = []
    done = 0
    with trio.move_on_after(TIME_BUDGET):
        for path in chosen:
            try:
                seen = await image_worker.look(path, limit)
                finding = check_image(path, seen) if seen is not None else None
            except ImageProblem as problem:
                # Of a disk or a worker that was too slow nothing follows for the image.
                finding = ImageFinding(path, str(problem), problem.sure)
            if finding is None:
                finding = await _in_thread(partial(look_around, path))
            if finding is not None:
                found.append(finding)
            done += 1
    return tuple(found), len(chosen) - done


async def _in_thread(work: Callable[[], ImageFinding | None]) -> ImageFinding | None:
    """A folder may be on a disk that hangs."""
    with trio.move_on_after(DISK_TIMEOUT):
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    return None

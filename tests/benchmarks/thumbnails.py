"""Processor time of a thumbnail, beside a bare decode of the same pixels in the same run.

Run it as a script: ``python tests/benchmarks/thumbnails.py [runs]``. The bare decode opens the file
and reads the channels that the thumbnail shows as floats, whole, with the same two threads.
Other load on the machine changes processor time little.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import psutil
import trio
from numpy.typing import NDArray

from trio_afrender.config import PluginSettings
from trio_afrender.plugins.meters.service import Meters
from trio_afrender.task.image_worker import open_image_workers
from trio_afrender.thumbnail.inspect import inspect_image
from trio_afrender.thumbnail.make import make_thumbnail
from trio_afrender.thumbnail.worker import DECODE_THREADS

WIDE, HIGH = 4096, 2160
KINDS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "exr, half, zip": ("exr", "half", 3, {"compression": "zip"}),
    "exr, half, zip, 20 channels": ("exr", "half", 20, {"compression": "zip"}),
    "exr, half, piz": ("exr", "half", 3, {"compression": "piz"}),
    "exr, half, dwab": ("exr", "half", 3, {"compression": "dwab"}),
    "exr, float, none": ("exr", "float", 3, {"compression": "none"}),
    "tif, 16 bits, lzw": ("tif", "uint16", 3, {"compression": "lzw"}),
    "png, 8 bits": ("png", "uint8", 3, {}),
    "jpg": ("jpg", "uint8", 3, {}),
    "dpx, 10 bits": ("dpx", "uint16", 3, {"oiio:BitsPerSample": 10}),
}


def make_picture(channels: int) -> NDArray[np.float32]:
    """Make smooth gradients with some grain, as in renders."""
    rows, columns = np.mgrid[0:HIGH, 0:WIDE].astype(np.float32)
    base = np.sin(columns / 300) ** 2 * np.cos(rows / 200) ** 2
    grain = np.random.default_rng(1).random((HIGH, WIDE), np.float32) * 0.05
    layers = [base * (1 + number) / channels + grain for number in range(channels)]
    return np.stack(layers, -1).astype(np.float32)


def write(folder: Path, name: str) -> Path:
    suffix, kind, channels, attributes = KINDS[name]
    path = folder / f"{name.replace(', ', '_').replace(' ', '_')}.{suffix}"
    spec = oiio.ImageSpec(WIDE, HIGH, channels, kind)
    if channels > 3:
        spec.channelnames = tuple("RGB") + tuple(f"layer.{number}" for number in range(3, channels))
    for key, value in attributes.items():
        spec.attribute(key, value)
    image = oiio.ImageBuf(spec)
    image.set_pixels(oiio.ROI(), make_picture(channels))
    if not image.write(str(path)):
        raise SystemExit(image.geterror())
    return path


def decode(path: Path) -> None:
    image = oiio.ImageInput.open(str(path))
    assert image is not None
    image.read_image(0, 0, 0, 3, "float")
    image.close()


def measure(work: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return best and median processor time of all threads in milliseconds."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1000)
    return min(times), statistics.median(times)


def compare(folder: Path, runs: int) -> None:
    print("| 4096 x 2160 | bare decode, best (median) | thumbnail | ratio | inspection | ratio |")  # noqa: T201 - a script
    print("|---|---|---|---|---|---|")  # noqa: T201 - a script
    for name in KINDS:
        path = write(folder, name)
        decode(path)  # so that the file is in the page cache
        bare, bare_median = measure(partial(decode, path), runs)
        thumb, thumb_median = measure(partial(make_thumbnail, path, folder / "t.jpg"), runs)
        inspection, inspection_median = measure(partial(inspect_image, path), runs)
        print(  # noqa: T201 - a script
            f"| {name} | {bare:.0f} ms ({bare_median:.0f}) | {thumb:.0f} ms ({thumb_median:.0f})"
            f" | {thumb / bare:.2f} | {inspection:.0f} ms ({inspection_median:.0f}) | {inspection / bare:.2f} |",
            flush=True,
        )


async def use_worker(folder: Path) -> None:
    """Measure the worker as an agent runs it: the first image, the next ones, its memory."""
    path = str(write(folder, "exr, half, zip"))
    async with open_image_workers() as workers:
        image_worker = workers.own
        times = []
        for _ in range(4):
            start = time.perf_counter()
            await image_worker.thumbnail(path, str(folder / "w.jpg"), 100, 60)
            times.append((time.perf_counter() - start) * 1000)
        memory = psutil.Process(image_worker.pid).memory_info().rss >> 20
    first, best = times[0], min(times[1:])
    print(f"worker: first {first:.0f} ms, then {best:.0f} ms; {memory} MiB resident")  # noqa: T201 - a script


async def use_meters(seconds: float) -> None:
    """Measure the processor time of two meters at a period of one second."""
    names, settings = ("disk_space", "iostat"), PluginSettings()
    async with trio.open_nursery() as nursery:
        meters = Meters(names, settings)
        nursery.start_soon(meters.run, lambda: 1.0)
        await trio.sleep(3)
        host, own = psutil.Process(meters.pid), psutil.Process()
        before, begin = host.cpu_times(), own.cpu_times()
        await trio.sleep(seconds)
        after, end = host.cpu_times(), own.cpu_times()
        memory = host.memory_info().rss >> 20
        nursery.cancel_scope.cancel()
    used = sum(after[:2]) - sum(before[:2]) + sum(end[:2]) - sum(begin[:2])
    each = used / seconds * 1000
    print(  # noqa: T201 - a script
        f"two meters: {each:.2f} ms of processor time for both, at a period of 5 s"
        f" {each / 50:.3f} % of a core; their host has {memory} MiB"
    )


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    oiio.attribute("threads", DECODE_THREADS)
    oiio.attribute("exr_threads", DECODE_THREADS)
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), runs)
        trio.run(use_worker, Path(folder))
    trio.run(use_meters, 20.0)


if __name__ == "__main__":
    main()

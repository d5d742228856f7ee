"""``python -m trio_afrender.thumbnail.worker``: reads images for an agent, one after another.

A line of JSON in, a line of JSON out: ``{"op": "thumbnail", "image", "thumb", "height"}`` or ``{"op":
"look", "image"}``. The answer has ``error``, empty when all is well (``sure``: it is the image's fault),
and what was ``seen``. It ends when its input does: with the agent, or when that has had no use for it
for a while.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import attrs

from trio_afrender.thumbnail.common import ImageError
from trio_afrender.thumbnail.inspect import inspect_image
from trio_afrender.thumbnail.make import make_thumbnail

__all__ = ("answer", "main")

MAX_MEMORY = 6 * 1024**3
"""Bytes of address space: an image that says it is gigantic costs the worker, not the host."""
DECODE_THREADS = 2
"""For decoding: the other cores belong to renders."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked. Raises nothing that an image can cause."""
    try:
        image = Path(request["image"])
        if request["op"] == "thumbnail":
            make_thumbnail(image, Path(request["thumb"]), height=request["height"])
            return {"error": ""}
        seen = inspect_image(image)
        return {"error": "", "seen": attrs.asdict(seen) if seen is not None else None}
    except ImageError as error:
        return {"error": str(error), "sure": True}
    except MemoryError:
        return {"error": f"{request['image']} is too large for the memory that thumbnails may have"}
    except Exception as error:  # noqa: BLE001 - the next image may well be readable
        return {"error": f"cannot read {request['image']}: {type(error).__name__}: {error}"}


def _settle(nice: int) -> None:
    """Take a low place among the host's processes."""
    with suppress(OSError):
        os.nice(nice)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ImportError):
        import OpenImageIO as oiio

        oiio.attribute("threads", DECODE_THREADS)
        oiio.attribute("exr_threads", DECODE_THREADS)


def main() -> NoReturn:
    """Answer until the input ends. Never returns."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries print what they like
    _settle(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

"""``python -m trio_afrender.thumbnail.worker``: reads images for an agent, one after another.

A request is a line of JSON: ``{"op": "thumbnail", "image", "thumb", "height"}`` or ``{"op": "look",
"image"}``. The answer is a line of JSON with ``error``, empty on success (``sure``: true if the image is
the cause), and for ``look`` the facts as ``seen``. Its arguments are its niceness, and optionally the ids of the user that it
becomes: uid, gid and groups, with commas. The worker ends at the end of its input: when the
agent ends, or closes it because it was idle.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import attrs

from trio_afrender.thumbnail.common import ImageError, NotImageError
from trio_afrender.thumbnail.inspect import inspect_image
from trio_afrender.thumbnail.make import make_thumbnail
from trio_afrender.user_switch import UserIds, become_user

__all__ = ("answer", "main")

MAX_MEMORY = 6 * 1024**3
"""Bytes of address space, so that an image with a huge size in its header cannot fill the host."""
DECODE_THREADS = 2
"""Threads for decoding; the other cores are for renders."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Handle a request and return the answer. Errors that an image causes are answers, too."""
    try:
        image = Path(request["image"])
        if request["op"] == "thumbnail":
            make_thumbnail(image, Path(request["thumb"]), height=request["height"])
            return {"error": ""}
        seen = inspect_image(image)
        return {"error": "", "seen": attrs.asdict(seen) if seen is not None else None}
    except ImageError as error:
        return {"error": str(error), "sure": not isinstance(error, NotImageError)}
    except MemoryError:
        return {"error": f"{request['image']} needs more memory than thumbnails may use"}
    except Exception as error:  # noqa: BLE001 - the worker must stay for the next image
        return {"error": f"cannot read {request['image']}: {type(error).__name__}: {error}"}


def main() -> NoReturn:
    """Answer requests until the input ends. Never returns."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # image libraries print to stdout, which would break the protocol
    with suppress(OSError, AttributeError):  # Windows has priority classes, set at the start
        os.nice(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core dumps
    with suppress(ImportError):
        import OpenImageIO as oiio

        oiio.attribute("threads", DECODE_THREADS)
        oiio.attribute("exr_threads", DECODE_THREADS)
    if len(sys.argv) > 2:
        # Only now: the user of a task may not be able to read these libraries. OpenImageIO imports
        # this one with the first image.
        with suppress(ImportError):
            import_module("numpy")
        uid, gid, *groups = map(int, sys.argv[2].split(","))
        become_user(UserIds(uid, gid, tuple(groups)))
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

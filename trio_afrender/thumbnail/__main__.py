"""Make a small JPEG of an image, or of the first frame of a movie.

Images are read with OpenImageIO (the extra `thumbnails`), movies with ffmpeg. THUMB appears only when
it is complete.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trio_afrender.thumbnail.common import DEFAULT_HEIGHT, MAX_HEIGHT, ImageError
from trio_afrender.thumbnail.make import make_thumbnail

__all__ = ("main",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code, 0 or 1."""
    options = argparse.ArgumentParser(prog="python -m trio_afrender.thumbnail", description=__doc__)
    options.add_argument("image", metavar="IMAGE", type=Path)
    options.add_argument("thumb", metavar="THUMB", type=Path)
    options.add_argument(
        "--height", type=int, default=DEFAULT_HEIGHT, help=f"pixels (default {DEFAULT_HEIGHT})"
    )
    chosen = options.parse_args(argv)
    try:
        make_thumbnail(chosen.image, chosen.thumb, height=min(max(chosen.height, 1), MAX_HEIGHT))
    except ImageError as error:
        print(f"No thumbnail: {str(error).rstrip('.?')}.", file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Render a picture with OpenImageIO, for the acceptance check: ``render_image.py FILE FRAME``."""

# ruff: noqa: T201 - the parser reads what it prints

from __future__ import annotations

import sys

import OpenImageIO as oiio


def main() -> None:
    file, frame = sys.argv[1], int(sys.argv[2])
    picture = oiio.ImageBuf(oiio.ImageSpec(320, 180, 3, oiio.HALF))
    oiio.ImageBufAlgo.fill(
        picture, (0.1, 0.1, 0.4), (0.1, 0.1, 0.4), (0.8, 0.5, 0.2), (1, 0.9, 0.4)
    )
    for step in range(1, 5):
        left = 20 + 60 * step + 2 * frame
        oiio.ImageBufAlgo.render_box(
            picture, left, 40, left + 40, 140, (0.2 * step, 0.1, 0.1, 1.0), True
        )
        print(f"PROGRESS: {25 * step}%", flush=True)
    if not picture.write(file):
        sys.exit(f"[ PARSER ERROR ] {oiio.geterror()}")
    print(f"@IMAGE@{file}", flush=True)


if __name__ == "__main__":
    main()

"""Stands for a renderer: prints progress in colours and paints a PNG of a frame.

    paint_frame.py FRAME FILE [--fail FRAME] [--gate FRAME FIFO] [--seconds S] [--junk FRAME]

It fails at one frame, waits at half of another one until the FIFO is opened, and writes something
that is no image for a third one.
"""

import argparse
import struct
import sys
import time
import zlib
from pathlib import Path

WIDE, HIGH = 96, 72


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("frame", type=int)
    parser.add_argument("file")
    parser.add_argument("--fail", type=int, default=0)
    parser.add_argument("--junk", type=int, default=0)
    parser.add_argument("--gate", nargs=2, default=("0", ""))
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    say(f"\x1b[32mINFO\x1b[0m loading the scene of frame {options.frame}")
    for percent in range(0, 50, 10):
        say(f"PROGRESS: {percent}%")
        time.sleep(options.seconds / 10)
    if options.frame == int(options.gate[0]):
        say("waiting for the gate")
        with Path(options.gate[1]).open() as gate:
            gate.read()
        say("the gate is open")
    if options.frame == options.fail:
        say("\x1b[1;31mERROR\x1b[0m texture missing: <b>wood.tx</b>\u202e")
        sys.exit(1)
    for percent in range(50, 101, 10):
        say(f"PROGRESS: {percent}%")
        time.sleep(options.seconds / 10)
    image = b"no image" * 500 if options.frame == options.junk else paint(options.frame)
    Path(options.file).write_bytes(image)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def paint(frame: int) -> bytes:
    """A picture whose colours change from frame to frame."""
    rows = (
        b"\0" + bytes(value for x in range(WIDE) for value in (x * 2, y * 3, frame * 11 % 256))
        for y in range(HIGH)
    )
    head = struct.pack(">IIBBBBB", WIDE, HIGH, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


if __name__ == "__main__":
    main()

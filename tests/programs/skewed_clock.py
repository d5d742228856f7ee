"""Runs the command line with a wall clock that jumps: ``skewed_clock.py FILE agent ...``.

FILE holds a double: the seconds by which this program's Unix time differs, read at each call. So a
test can make the clock jump without changing the time of the host.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path


def shift(path: Path) -> None:
    """Replace the clock. Must run before another module imports a function of `time` by name."""
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 8)
    right: Callable[[], float] = time.time
    time.time = lambda: right() + struct.unpack_from("<d", memory)[0]
    time.time_ns = lambda: int(time.time() * 1e9)


if __name__ == "__main__":
    shift(Path(sys.argv.pop(1)))
    from trio_afrender.cli.main import main

    sys.exit(main())

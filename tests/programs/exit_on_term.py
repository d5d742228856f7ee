"""Ends at TERM like any program; with "fork", so does a child that it waits for."""

# ruff: noqa: T201 - what it prints is what tests wait for

import os
import signal
import sys

if "fork" in sys.argv:
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(go, b"x")
        signal.pause()
    os.read(ready, 1)
    print("member", child, flush=True)
print("up", flush=True)
signal.pause()

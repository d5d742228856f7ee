"""Ends on TERM. With "fork" it has a child, which ends on TERM as well."""

# ruff: noqa: T201 - tests wait for what it prints

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

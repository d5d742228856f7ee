"""Has a child that ended and that it never collects; would obey TERM."""

# ruff: noqa: T201 - what it prints is what tests wait for

import os
import signal

child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print("member", child, flush=True)
print("up", flush=True)
signal.pause()

"""Has a child that has ended and that it never reaps. Ends on TERM."""

# ruff: noqa: T201 - tests wait for what it prints

import os
import signal

child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print("member", child, flush=True)
print("up", flush=True)
signal.pause()

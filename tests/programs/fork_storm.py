"""A chain of processes: each forks the next and ends half a millisecond later; prints "up" when it runs.

"setsid": in a session of its own; "stay": the leader does not end. It ends by itself after 20,000
links, long after any test of it.
"""

# ruff: noqa: T201 - what it prints is what tests wait for

import os
import signal
import sys
import time

if os.fork() == 0:
    if "setsid" in sys.argv:
        os.setsid()
    for link in range(20_000):
        if os.fork() != 0:
            os._exit(0)
        time.sleep(0.0005)
        if link == 20:
            print("up", flush=True)
    os._exit(0)
while "stay" in sys.argv:
    signal.pause()
os.wait()

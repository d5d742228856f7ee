"""A chain of processes: each forks the next one and ends half a millisecond later.

Prints "up" after 20 links. "setsid": in a new session; "stay": the leader does not end. It ends by
itself after 20,000 links, in case that a test does not kill it.
"""

# ruff: noqa: T201 - tests wait for what it prints

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

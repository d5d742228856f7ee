"""Leaves a child behind and ends with code 3.

The child ignores TERM and holds the output; "setsid": in a session of its own; "daemon": in
a session of its own and without its parent (the double fork); "quiet": without the output;
"stay": the leader does not end.
"""

# ruff: noqa: T201 - what it prints is what tests wait for

import os
import signal
import sys


def live(ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "quiet" in sys.argv:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
    signal.alarm(100)  # longer than any test, but not for ever where a test broke
    os.write(ready, b"%d\n" % os.getpid())
    while True:
        signal.pause()


reading, writing = os.pipe()
if os.fork() == 0:
    if "setsid" in sys.argv or "daemon" in sys.argv:
        os.setsid()
    if "daemon" in sys.argv and os.fork() != 0:
        os._exit(0)
    live(writing)
print("member", int(os.read(reading, 20)), flush=True)
print("up", flush=True)
while "stay" in sys.argv:
    signal.pause()
os._exit(3)

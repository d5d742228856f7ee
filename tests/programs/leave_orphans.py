"""Leaves a child behind and ends with code 3.

The child ignores TERM and holds the output. "setsid": it has a session of its own; "daemon": that,
and its parent has ended (the double fork); "quiet": it does not hold the output; "stay": the leader
does not end.
"""

# ruff: noqa: T201 - tests wait for what it prints

import os
import signal
import sys


def run_child(ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "quiet" in sys.argv:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    signal.alarm(100)  # longer than any test, in case that a test does not kill it
    os.write(ready, b"%d\n" % os.getpid())
    while True:
        signal.pause()


reading, writing = os.pipe()
child = os.fork()
if child == 0:
    if "setsid" in sys.argv or "daemon" in sys.argv:
        os.setsid()
    if "daemon" in sys.argv and os.fork() != 0:
        os._exit(0)
    run_child(writing)
if "daemon" in sys.argv:
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # until then it is a member, too
print("member", int(os.read(reading, 20)), flush=True)
print("up", flush=True)
while "stay" in sys.argv:
    signal.pause()
os._exit(3)

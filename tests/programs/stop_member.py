"""Has a child that is stopped, and waits for its end; the child would obey TERM."""

# ruff: noqa: T201 - what it prints is what tests wait for

import os
import signal

child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    signal.pause()
os.waitpid(child, os.WUNTRACED)
print("member", child, flush=True)
print("up", flush=True)
os.waitpid(child, 0)

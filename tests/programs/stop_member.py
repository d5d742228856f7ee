"""Has a child that is stopped, and waits for its end. The child ends on TERM once it is resumed."""

# ruff: noqa: T201 - tests wait for what it prints

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

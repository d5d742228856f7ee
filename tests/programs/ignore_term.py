"""Ignores TERM; prints "up" once it does."""

# ruff: noqa: T201 - what it prints is what tests wait for

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.alarm(100)  # longer than any test, but not for ever where a test broke
while True:
    signal.pause()

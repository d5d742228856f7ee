"""Ignores TERM, then prints "up"."""

# ruff: noqa: T201 - tests wait for what it prints

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.alarm(100)  # longer than any test, in case that a test does not kill it
while True:
    signal.pause()

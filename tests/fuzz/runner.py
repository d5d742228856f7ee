"""Feeds inputs to one target and reports what must not happen."""

from __future__ import annotations

import random
import resource
import sys
import time
import traceback
from collections.abc import Iterator

import attrs

from fuzz.mutate import Mutator
from fuzz.targets import Target

__all__ = ("Finding", "FuzzRun", "try_input")

MAX_TIME = 2.0
"""Seconds of processor time that an input of at most 64 KiB may take."""
MAX_GROWTH = 256 << 20
"""Bytes by which the peak of resident memory may rise."""


@attrs.frozen
class Finding:
    """An input and the problem with it."""

    data: bytes
    problem: str


@attrs.define
class FuzzRun:
    """A run of one target; the same seed gives the same inputs."""

    target: Target
    seed: str
    inputs: int = 0
    accepted: int = 0
    """Inputs that were decoded."""
    slowest: float = 0.0
    """Seconds of processor time."""
    seconds: float = 0.0

    def try_inputs(self, count: int) -> Iterator[Finding]:
        """Try `count` inputs; yield those with a problem."""
        mutator = Mutator(self.target.corpus, random.Random(self.seed))  # noqa: S311 - must be repeatable
        started_at, before = time.monotonic(), read_memory_peak()
        results = [try_input(self.target, each) for each in self.target.corpus]
        assert None in results, "at least one valid input must be decoded"
        assert not any(results), results
        for _ in range(count):
            data = mutator.make()
            start = time.thread_time()
            problem = try_input(self.target, data)
            duration = time.thread_time() - start
            self.slowest = max(self.slowest, duration)
            self.inputs += 1
            self.accepted += problem is None
            if problem:
                yield Finding(data, problem)
            elif duration > MAX_TIME:
                yield Finding(data, f"took {duration:.1f} s")
            # Reading the peak takes time, so the input that raised it is one of the last 100.
            if self.inputs % 100 == 0 and (growth := read_memory_peak() - before) > MAX_GROWTH:
                yield Finding(data, f"memory rose by {growth >> 20} MiB in the last 100 inputs")
                before = read_memory_peak()
        self.seconds = time.monotonic() - started_at


def try_input(target: Target, data: bytes) -> str | None:
    """Return None if the input was decoded, '' if it was rejected properly, else the problem."""
    try:
        target.run(data)
    except target.allowed as error:
        text = str(error)
        return "" if 0 < len(text) < target.max_error else f"error of bad length: {text[:1000]!r}"
    except Exception:  # noqa: BLE001 - any other exception is a finding
        return traceback.format_exc(limit=-6)
    return None


def read_memory_peak() -> int:
    """Return the peak of this process's resident memory in bytes."""
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024

"""Throws inputs at one target and notes what should not have happened."""

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

__all__ = ("Finding", "Hunt", "try_input")

SLOW = 2.0
"""Seconds of processor time for one input of at most 64 KiB: nothing here may take as long."""
FAT = 256 << 20
"""Bytes by which the peak of resident memory may rise."""


@attrs.frozen
class Finding:
    """An input and what it did."""

    data: bytes
    what: str


@attrs.define
class Hunt:
    """One target, some inputs."""

    target: Target
    seed: str
    inputs: int = 0
    accepted: int = 0
    """Inputs that were decoded."""
    slowest: float = 0.0
    """Seconds of processor time."""
    seconds: float = 0.0

    def run(self, count: int) -> Iterator[Finding]:
        """Try `count` inputs."""
        mutator = Mutator(self.target.corpus, random.Random(self.seed))  # noqa: S311 - to be repeated
        began, before = time.monotonic(), peak()
        right = [try_input(self.target, each) for each in self.target.corpus]
        assert None in right, "an example is decoded, or nothing would be found"
        assert not any(right), right
        for _ in range(count):
            data = mutator.make()
            start = time.thread_time()
            what = try_input(self.target, data)
            took = time.thread_time() - start
            self.slowest = max(self.slowest, took)
            self.inputs += 1
            self.accepted += what is None
            if what:
                yield Finding(data, what)
            elif took > SLOW:
                yield Finding(data, f"took {took:.1f} s")
            if self.inputs % 100 == 0 and peak() - before > FAT:
                yield Finding(data, f"memory rose by {(peak() - before) >> 20} MiB, about here")
                before = peak()
        self.seconds = time.monotonic() - began


def try_input(target: Target, data: bytes) -> str | None:
    """None: decoded; '': refused in a sentence of ours; else what went wrong."""
    try:
        target.run(data)
    except target.allowed as error:
        said = str(error)
        return "" if 0 < len(said) < target.longest else f"said {said[:1000]!r}"
    except Exception:  # noqa: BLE001 - which one it is, is what we want to know
        return traceback.format_exc(limit=-6)
    return None


def peak() -> int:
    """The peak of this process's resident memory, in bytes."""
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024

"""Feed wrong inputs to every decoder of data from outside."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.runner import FuzzRun
from fuzz.targets import all_targets

MAX_SHOWN = 3
"""Findings of one target that are printed; one cause makes many."""


def main(inputs: int, seed: int, only: str) -> int:
    """Run all targets; return the number of targets with findings."""
    failed = 0
    for name, target in all_targets().items():
        if only not in name:
            continue
        run = FuzzRun(target, f"{seed}:{name}")
        findings = 0
        for finding in run.try_inputs(inputs):
            findings += 1
            if findings <= MAX_SHOWN:
                write(f"FOUND in {name}: {finding.problem[-1500:]}\n  {finding.data[:400]!r}")
        failed += findings > 0
        write(
            f"{name}: {run.inputs} inputs in {run.seconds:.0f} s, {run.accepted} decoded,"
            f" slowest {run.slowest * 1000:.0f} ms, {findings} findings"
        )
    return failed


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="targets with this in their name")
    options = parser.parse_args()
    write(f"seed {options.seed}")
    sys.exit(1 if main(options.inputs, options.seed, options.only) else 0)

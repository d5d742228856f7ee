"""``make fuzz``: wrong inputs for every decoder of bytes from outside."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.runner import Hunt
from fuzz.targets import all_targets

SHOWN = 3
"""Findings of one target that are shown; one cause makes many."""


def main(inputs: int, seed: int, only: str) -> int:
    """Fuzz; return how many targets were found wrong."""
    wrong = 0
    for name, target in all_targets().items():
        if only not in name:
            continue
        hunt = Hunt(target, f"{seed}:{name}")
        findings = 0
        for finding in hunt.run(inputs):
            findings += 1
            if findings <= SHOWN:
                say(f"FOUND in {name}: {finding.what[-1500:]}\n  {finding.data[:400]!r}")
        wrong += findings > 0
        say(
            f"{name}: {hunt.inputs} inputs in {hunt.seconds:.0f} s, {hunt.accepted} decoded,"
            f" slowest {hunt.slowest * 1000:.0f} ms, {findings} findings"
        )
    return wrong


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="targets with this in their name")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    sys.exit(1 if main(options.inputs, options.seed, options.only) else 0)

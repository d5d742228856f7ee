"""``make chaos``: many rounds of trouble, and whether the agent's footprint stays flat."""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.rounds import RoundFailed, play
from chaos.world import Footprint, open_world

WARM = 20
"""Rounds after which the agent has loaded what it needs."""


async def main(rounds: int, seed: int, *, heavy: bool) -> int:
    """Play; return how many rounds found something wrong."""
    shapes: collections.Counter[str] = collections.Counter()
    failed = 0
    first: Footprint | None = None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with open_world(Path(folder)) as world:
            for number in range(rounds):
                dice = random.Random(f"{seed}:{number}")  # noqa: S311 - to be repeated
                try:
                    plans = await play(world, dice, heavy=heavy)
                    shapes.update(plan.shape for plan in plans)
                except RoundFailed as error:
                    failed += 1
                    _print(f"round {number} of seed {seed}: {error}")
                if first is None and number >= WARM:
                    first = world.footprint()
                if number and number % 50 == 0:
                    _print(f"{number} rounds, {failed} failed, {world.footprint()}")
            last = world.footprint()
    seconds = time.monotonic() - began
    _print(f"seed {seed}: {rounds} rounds in {seconds:.0f} s, {failed} failed; {dict(shapes)}")
    if first is not None:
        _print(f"agent after {WARM} rounds: {first}; at the end: {last}")
    return failed


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--heavy", action="store_true", help="also a thousand children")
    options = parser.parse_args()
    _print(f"seed {options.seed}")
    sys.exit(1 if trio.run(lambda: main(options.rounds, options.seed, heavy=options.heavy)) else 0)

"""``make chaos``: many rounds of trouble, and whether the agent's footprint stays flat."""

from __future__ import annotations

import argparse
import collections
import logging
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import attrs
import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.environment import World, open_world
from chaos.faults import DISK, KEEPING
from chaos.leak_check import Trend
from chaos.rounds import Round, RoundFailed, plan_round, play
from chaos.supervisor_faults import has_supervisors

SEASON, WILD = 1000, 150
"""Of each thousand rounds the first 150 also end agents; then one lives, to see if it grows."""

PATIENCE = 10
"""Looks, two a second, at what seems to have grown."""


@attrs.define(eq=False)
class Tally:
    """What has been played, and found."""

    seed: int
    every: int
    began: float = attrs.field(factory=time.monotonic)
    shapes: collections.Counter[str] = attrs.field(factory=collections.Counter)
    troubles: collections.Counter[str] = attrs.field(factory=collections.Counter)
    played: int = 0
    failed: list[int] = attrs.field(factory=list)
    trend: Trend = attrs.field(factory=Trend)
    grown: set[str] = attrs.field(factory=set)

    async def play(self, world: World, number: int) -> None:
        """Play one round and take it in."""
        pace = "wild" if number % SEASON < WILD else "calm"
        plan = plan_round(
            self.seed, number, pace=pace, disk=world.disk is not None, kept=has_supervisors()
        )
        try:
            await play(world, plan)
        except RoundFailed as error:
            self.failed.append(number)
            say(f"round {number} of seed {self.seed} FAILED: {error}")
            await world.kill_agent()  # the next rounds are not to suffer from this one
        self.played += 1
        self._count(plan)
        now = world.footprint()
        grown = self.trend.note(world.born, now)
        for _ in range(PATIENCE):
            if not grown:
                break
            await trio.sleep(0.5)  # what is just being cleaned up has not grown
            now = world.footprint()
            grown = self.trend.judge(now)
        self.grown.update(f"round {number}: {each}" for each in grown[:1] if not self.grown)
        if number and number % self.every == 0:
            rounds = self.trend.rounds
            say(f"{number} rounds in {self.seconds:.0f} s, {len(self.failed)} failed")
            say(f"  an agent of {rounds} rounds: {now}")

    def _count(self, plan: Round) -> None:
        self.shapes.update(each.shape for each in plan.plans)
        self.troubles.update(trouble.name for trouble in plan.troubles)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def finish(self, world: World) -> None:
        say(f"seed {self.seed}: {self.played} rounds in {self.seconds:.0f} s, {world.born} agents")
        say(f"  {self.shapes.total()} tasks: {dict(self.shapes.most_common())}")
        say(f"  {self.troubles.total()} troubles: {dict(self.troubles.most_common())}")
        if world.disk is None:
            say(f"  left out, for they want a mount (root on Linux): {', '.join(DISK)}")
        if not has_supervisors():
            say(f"  left out, for there are no supervisors: {', '.join(KEEPING)}")
        for each in sorted(self.grown):
            say(f"  GROWN: {each}")
        say(f"  failed rounds: {', '.join(map(str, self.failed)) or 'none'}")


async def main(numbers: range, seed: int, every: int) -> int:
    """Play until all is played, or a signal comes; return how much was found wrong."""
    tally = Tally(seed, every)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with open_world(Path(folder)) as world, trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_signal, nursery.cancel_scope)
            for number in numbers:
                await tally.play(world, number)
            nursery.cancel_scope.cancel()
        tally.finish(world)
    return len(tally.failed) + len(tally.grown)


async def _cancel_at_signal(scope: trio.CancelScope) -> None:
    """Ended early, it takes its agent and its disk along."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            say(f"ended early by {signal.Signals(number).name}")
            scope.cancel()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--first", type=int, default=0, help="the first round's number")
    parser.add_argument("--every", type=int, default=100, help="rounds between two lines")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    logging.getLogger("trio_afrender").addHandler(logging.NullHandler())  # the farm complains a lot
    played = range(options.first, options.first + options.rounds)
    sys.exit(1 if trio.run(main, played, options.seed, options.every) else 0)

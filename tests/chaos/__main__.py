"""Run many rounds of faults against real agents, and check that their resources do not grow."""

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

from chaos.environment import Environment, open_environment
from chaos.faults import DISK_FAULTS, SUPERVISOR_FAULTS
from chaos.leak_check import LeakCheck
from chaos.rounds import Round, RoundFailed, plan_round, run_round
from chaos.supervisor_faults import has_supervisors

PERIOD, WITH_RESTARTS = 1000, 150
"""Of each 1000 rounds the first 150 also end agents; then one agent lives, for the leak check."""

GROWTH_CHECKS = 10
"""Measurements, two per second, of what seems to have grown."""


@attrs.define(eq=False)
class Campaign:
    """The rounds so far and their results."""

    seed: int
    every: int
    started_at: float = attrs.field(factory=time.monotonic)
    shapes: collections.Counter[str] = attrs.field(factory=collections.Counter)
    faults: collections.Counter[str] = attrs.field(factory=collections.Counter)
    rounds: int = 0
    failed: list[int] = attrs.field(factory=list)
    leak_check: LeakCheck = attrs.field(factory=LeakCheck)
    grown: set[str] = attrs.field(factory=set)

    async def run_round(self, environment: Environment, number: int) -> None:
        """Run one round and record its results."""
        profile = "restarts" if number % PERIOD < WITH_RESTARTS else "steady"
        disk, supervisors = environment.disk is not None, has_supervisors()
        plan = plan_round(self.seed, number, profile=profile, disk=disk, supervisors=supervisors)
        try:
            await run_round(environment, plan)
        except RoundFailed as error:
            self.failed.append(number)
            write(f"round {number} of seed {self.seed} FAILED: {error}")
            await environment.kill_agent()  # so that this failure does not affect later rounds
        self.rounds += 1
        self._count(plan)
        now = environment.measure()
        grown = self.leak_check.add_round(environment.agent_number, now)
        for _ in range(GROWTH_CHECKS):
            if not grown:
                break
            await trio.sleep(0.5)  # what is just being cleaned up is no growth
            now = environment.measure()
            grown = self.leak_check.compare(now)
        self.grown.update(f"round {number}: {each}" for each in grown[:1] if not self.grown)
        if number and number % self.every == 0:
            rounds = self.leak_check.rounds
            write(f"{number} rounds in {self.seconds:.0f} s, {len(self.failed)} failed")
            write(f"  an agent of {rounds} rounds: {now}")

    def _count(self, plan: Round) -> None:
        self.shapes.update(each.shape for each in plan.plans)
        self.faults.update(fault.name for fault in plan.faults)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started_at

    def write_summary(self, environment: Environment) -> None:
        agents = environment.agent_number
        write(f"seed {self.seed}: {self.rounds} rounds in {self.seconds:.0f} s, {agents} agents")
        write(f"  {self.shapes.total()} tasks: {dict(self.shapes.most_common())}")
        write(f"  {self.faults.total()} faults: {dict(self.faults.most_common())}")
        if environment.disk is None:
            write(f"  left out, because no disk can be mounted: {', '.join(DISK_FAULTS)}")
        if not has_supervisors():
            write(f"  left out, because there is no supervisor: {', '.join(SUPERVISOR_FAULTS)}")
        for each in sorted(self.grown):
            write(f"  GROWN: {each}")
        write(f"  failed rounds: {', '.join(map(str, self.failed)) or 'none'}")


async def main(numbers: range, seed: int, every: int) -> int:
    """Run all rounds, or until a signal; return the number of faults found."""
    campaign = Campaign(seed, every)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with open_environment(Path(folder)) as environment, trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_signal, nursery.cancel_scope)
            for number in numbers:
                await campaign.run_round(environment, number)
            nursery.cancel_scope.cancel()
        campaign.write_summary(environment)
    return len(campaign.failed) + len(campaign.grown)


async def _cancel_at_signal(scope: trio.CancelScope) -> None:
    """Leave by the usual way at a signal: the agent ends and the disk is unmounted."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            write(f"ended early by {signal.Signals(number).name}")
            scope.cancel()


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--first", type=int, default=0, help="the first round's number")
    parser.add_argument("--every", type=int, default=100, help="rounds between two lines")
    options = parser.parse_args()
    write(f"seed {options.seed}")
    # The farm logs a warning for many faults.
    logging.getLogger("trio_afrender").addHandler(logging.NullHandler())
    rounds = range(options.first, options.first + options.rounds)
    sys.exit(1 if trio.run(main, rounds, options.seed, options.every) else 0)

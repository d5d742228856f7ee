"""A few rounds of the chaos suite; `make chaos` runs any number."""

from __future__ import annotations

import random
from pathlib import Path

import trio
from chaos.environment import open_environment
from chaos.rounds import plan_round, run_round
from chaos.supervisor_faults import has_supervisors

ROUNDS = 30


async def test_some_rounds_of_faults(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: make chaos SEED={seed} ROUNDS={ROUNDS} repeats it")  # noqa: T201
    with trio.fail_after(300):
        async with open_environment(tmp_path) as environment:
            for number in range(ROUNDS):
                disk, supervisors = environment.disk is not None, has_supervisors()
                plan = plan_round(
                    seed, number, profile="restarts", disk=disk, supervisors=supervisors
                )
                print(f"round {number}: {plan}")  # noqa: T201 - shown when it fails
                await run_round(environment, plan)


def test_a_seed_repeats_its_rounds() -> None:
    first, again = (
        plan_round(7, 3, profile="steady", disk=True, supervisors=True) for _ in range(2)
    )
    assert str(first) == str(again)
    assert str(first) != str(plan_round(7, 4, profile="steady", disk=True, supervisors=True))

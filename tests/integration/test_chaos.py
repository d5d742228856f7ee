"""A few rounds of the chaos suite; `make chaos` plays as many as wanted."""

from __future__ import annotations

import random
from pathlib import Path

import trio
from chaos.environment import open_world
from chaos.rounds import plan_round, play
from chaos.supervisor_faults import has_supervisors

ROUNDS = 30


async def test_some_rounds_of_trouble(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: make chaos SEED={seed} ROUNDS={ROUNDS} repeats it")  # noqa: T201
    with trio.fail_after(300):
        async with open_world(tmp_path) as world:
            for number in range(ROUNDS):
                plan = plan_round(
                    seed, number, pace="wild", disk=world.disk is not None, kept=has_supervisors()
                )
                print(f"round {number}: {plan}")  # noqa: T201 - shown when it fails
                await play(world, plan)


def test_a_seed_repeats_its_rounds() -> None:
    first, again = (plan_round(7, 3, pace="calm", disk=True, kept=True) for _ in range(2))
    assert str(first) == str(again)
    assert str(first) != str(plan_round(7, 4, pace="calm", disk=True, kept=True))

"""A few rounds of the chaos suite; `make chaos` plays as many as wanted."""

from __future__ import annotations

import random
from pathlib import Path

import trio
from chaos.rounds import play
from chaos.shapes import ENDING, STAYING
from chaos.world import open_world

ROUNDS = 8


async def test_some_rounds_of_trouble(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: make chaos SEED={seed} ROUNDS={ROUNDS} repeats it")  # noqa: T201
    with trio.fail_after(300):
        async with open_world(tmp_path) as world:
            for number in range(ROUNDS):
                plans = await play(world, random.Random(f"{seed}:{number}"))  # noqa: S311
                assert {plan.shape for plan in plans} <= {*ENDING, *STAYING}
        assert "Traceback" not in world.log

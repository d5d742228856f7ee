"""What a round does to agent, farm, disk, clock and network while tasks run."""

from __future__ import annotations

import random
from collections.abc import Container

import attrs
import trio

from chaos.environment import World
from chaos.faulty_relay import FAULTS

__all__ = (
    "DISK",
    "FARM",
    "KEEPING",
    "KILL",
    "PACES",
    "PARENT",
    "SUPERVISOR",
    "Trouble",
    "plan_troubles",
    "start",
)

KILL, REPLACE, FARM, CLOCK = "kill_agent", "replace_agent", "kill_farm", "clock"
SUPERVISOR, PARENT = "kill_supervisor", "kill_parent"
FULL, LOCKED = "full_disk", "locked_disk"
DISK = (FULL, LOCKED)
"""They want a disk that may be mounted."""
KEEPING = (SUPERVISOR, PARENT)
"""They want agents that leave their tasks to a supervisor."""
JUMPS = (-315_360_000.0, -3600.0, -1.0, 0.0, 1.0, 3600.0, 86_400.0, 315_360_000.0)
"""Seconds off the right time: up to ten years."""

CALM = {
    **dict.fromkeys(("cut", "late", "twice"), 12),
    **dict.fromkeys(("stall", "slow", "slow_reader", "refuse"), 5),
    "half_open": 2, SUPERVISOR: 4, PARENT: 4, FARM: 4, CLOCK: 8, FULL: 4, LOCKED: 3,
}  # fmt: skip
"""How often each comes while one agent lives long enough to show whether it grows."""
WILD = {**CALM, KILL: 30, REPLACE: 10}
PACES = {"calm": CALM, "wild": WILD}
assert set(FAULTS) <= set(CALM)


@attrs.frozen
class Trouble:
    """One of them, some time after the round began."""

    name: str
    after: float
    """Seconds."""

    def __str__(self) -> str:
        return f"{self.name} after {self.after:.2f} s"


def plan_troubles(
    dice: random.Random, pace: str, left_out: Container[str] = ()
) -> tuple[Trouble, ...]:
    """Throw what happens in one round: mostly nothing, sometimes two things."""
    weights = {name: each for name, each in PACES[pace].items() if name not in left_out}
    names = dice.choices(
        list(weights), list(weights.values()), k=dice.choice((0, 0, 0, 0, 0, 1, 1, 1, 2))
    )
    if {KILL, REPLACE} & set(names):
        # One that begins on a store that it may not write to says so and ends, for good.
        names = [name for name in names if name != LOCKED]
    return tuple(Trouble(name, dice.choice((0.0, dice.uniform(0.0, 0.2)))) for name in names)


async def start(world: World, trouble: Trouble, dice: random.Random) -> None:
    """Make it happen; returns when it is over, so far as it ever is."""
    await trio.sleep(trouble.after)
    match trouble.name:
        case "kill_agent":
            await world.kill_agent()
        case "replace_agent":
            await world.replace_agent()
        case "kill_supervisor":
            await world.kill_supervisor()
        case "kill_parent":
            await world.kill_parent(dice)
        case "kill_farm":
            await world.kill_farm()
        case "clock":
            world.jump(dice.choice(JUMPS))
        case "full_disk" if world.disk:
            await trio.to_thread.run_sync(world.disk.fill)
            await trio.sleep(dice.uniform(0.0, 0.3))
            await trio.to_thread.run_sync(world.disk.free)
        case "locked_disk" if world.disk:
            await trio.to_thread.run_sync(world.disk.lock)
            await trio.sleep(dice.uniform(0.0, 0.3))
            await trio.to_thread.run_sync(world.disk.unlock)
        case name:
            await world.relay.hurt(name, dice)

"""Faults of agent, farm, disk, clock and network, injected while the tasks of a round run."""

from __future__ import annotations

import random
from collections.abc import Container

import attrs
import trio

from chaos.environment import Environment
from chaos.faulty_relay import LINK_FAULTS

__all__ = (
    "AGENT_KILL",
    "DISK_FAULTS",
    "FARM_KILL",
    "PROFILES",
    "SPECIAL_FILE",
    "SUPERVISOR_FAULTS",
    "SUPERVISOR_KILL",
    "TASK_SUPERVISOR_KILL",
    "Fault",
    "inject",
    "plan_faults",
)

AGENT_KILL, AGENT_REPLACE, FARM_KILL, CLOCK = "kill_agent", "replace_agent", "kill_farm", "clock"
SUPERVISOR_KILL, TASK_SUPERVISOR_KILL = "kill_supervisor", "kill_task_supervisor"
DISK_FULL, DISK_READ_ONLY = "full_disk", "read_only_disk"
DISK_FAULTS = (DISK_FULL, DISK_READ_ONLY)
"""They need a disk that may be mounted."""
SUPERVISOR_FREEZE, TASK_SUPERVISOR_FREEZE = "freeze_supervisor", "freeze_task_supervisor"
PLUGIN_FREEZE, THUMBNAIL_FREEZE = "freeze_plugins", "freeze_thumbnail_worker"
FREEZES = (SUPERVISOR_FREEZE, TASK_SUPERVISOR_FREEZE, PLUGIN_FREEZE, THUMBNAIL_FREEZE)
"""Helpers under SIGSTOP."""
SUPERVISOR_FAULTS = (
    SUPERVISOR_KILL,
    TASK_SUPERVISOR_KILL,
    SUPERVISOR_FREEZE,
    TASK_SUPERVISOR_FREEZE,
)
"""They need agents that run their tasks under a supervisor."""
SPECIAL_FILE = "special_file"
CLOCK_OFFSETS = (-315_360_000.0, -3600.0, -1.0, 0.0, 1.0, 3600.0, 86_400.0, 315_360_000.0)
"""Seconds: up to ten years."""

STEADY = {
    **dict.fromkeys(("cut", "late", "twice"), 12),
    **dict.fromkeys(("stall", "slow", "slow_reader", "refuse"), 5),
    "half_open": 2, SUPERVISOR_KILL: 4, TASK_SUPERVISOR_KILL: 4, FARM_KILL: 4, CLOCK: 8, DISK_FULL: 4,
    DISK_READ_ONLY: 3, SUPERVISOR_FREEZE: 4, TASK_SUPERVISOR_FREEZE: 6, PLUGIN_FREEZE: 5,
    THUMBNAIL_FREEZE: 3, SPECIAL_FILE: 16,
}  # fmt: skip
"""Weights while one agent lives, long enough for the leak check."""
RESTARTS = {**STEADY, AGENT_KILL: 30, AGENT_REPLACE: 10}
"""Weights with agents that are ended."""
PROFILES = {"steady": STEADY, "restarts": RESTARTS}
assert set(LINK_FAULTS) <= set(STEADY)


@attrs.frozen
class Fault:
    """A fault by its name, and when it is injected."""

    name: str
    after: float
    """Seconds after the start of the round, or after the fault before."""

    def __str__(self) -> str:
        return f"{self.name} after {self.after:.2f} s"


def plan_faults(
    rng: random.Random, profile: str, left_out: Container[str] = ()
) -> tuple[Fault, ...]:
    """Draw the faults of one round: mostly none, sometimes two."""
    weights = {name: each for name, each in PROFILES[profile].items() if name not in left_out}
    names = rng.choices(
        list(weights), list(weights.values()), k=rng.choice((0, 0, 0, 0, 0, 1, 1, 1, 2))
    )
    return tuple(Fault(name, rng.choice((0.0, rng.uniform(0.0, 0.2)))) for name in names)


async def inject(environment: Environment, fault: Fault, rng: random.Random) -> None:
    """Inject a fault after its delay; return when it is over, if it ends at all."""
    await trio.sleep(fault.after)
    match fault.name:
        case "kill_agent":
            await environment.kill_agent()
        case "replace_agent":
            await environment.replace_agent()
        case "kill_supervisor":
            await environment.kill_supervisor()
        case "kill_task_supervisor":
            await environment.kill_task_supervisor(rng)
        case name if name in FREEZES:
            await environment.freeze(name, rng)
        case "special_file":
            await environment.exchange_file(rng)
        case "kill_farm":
            await environment.kill_farm()
        case "clock":
            environment.set_clock_offset(rng.choice(CLOCK_OFFSETS))
        case "full_disk" if environment.disk:
            await trio.to_thread.run_sync(environment.disk.fill)
            await trio.sleep(rng.uniform(0.0, 0.3))
            await trio.to_thread.run_sync(environment.disk.free)
        case "read_only_disk" if environment.disk:
            # An agent that starts with a read-only store reports that and exits for good.
            await environment.agent_ready.wait()
            await trio.to_thread.run_sync(environment.disk.make_read_only)
            await trio.sleep(rng.uniform(0.0, 0.3))
            await trio.to_thread.run_sync(environment.disk.make_writable)
        case name:
            await environment.relay.inject(name, rng)

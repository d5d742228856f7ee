"""The four settings that a server may change: seconds, and heartbeats between measurements. Pure.

A positive number is one to use, -1 our own default, 0 no change; with a negative id they are
whatever was in the server's memory.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict

import attrs

from trio_afrender.config import Timing
from trio_afrender.protocol.afanasy import RenderEvents

__all__ = ("NEVER", "PacingSettings", "PollSchedule", "resolve")

NEVER = -1.0
"""For `exit_no_task_time`: switched off."""
_DAY = 86_400


class PacingSettings(TypedDict):
    """The settings as `Registered` and `Events` have them; 0: no change."""

    heartbeat_sec: float
    resources_update_period: int
    zombie_time: float
    exit_no_task_time: float


def resolve(said: RenderEvents, defaults: Timing) -> PacingSettings:
    """What a server's numbers mean for a render with these `defaults`."""
    if said.id <= 0:
        return PacingSettings(
            heartbeat_sec=0, resources_update_period=0, zombie_time=0, exit_no_task_time=0
        )
    return PacingSettings(
        heartbeat_sec=_pick(said.heartbeat_sec, defaults.heartbeat),
        resources_update_period=int(_pick(said.resources_update_period, defaults.resources_period)),
        zombie_time=_pick(said.zombie_time, defaults.zombie),
        exit_no_task_time=_pick(said.exit_no_task_time, NEVER),
    )


def _pick(number: int, default: float) -> float:
    return default if number < 0 else float(min(number, _DAY))


@attrs.define(eq=False)
class PollSchedule:
    """When the next sign of life is due, in seconds of the clock that the caller goes by.

    After an outcome the server has room for a task: it hands it out with its next turn, within a
    second. So for that long we ask often, and a chain of short tasks costs one turn each.
    """

    heartbeat: float = 1.0
    zombie: float = 16.0
    next: float = 0.0
    _often_until: float = 0.0

    OFTEN: ClassVar[float] = 0.1
    TURN: ClassVar[float] = 1.2

    def exchanged(self, now: float) -> None:
        """An exchange began then."""
        pause = min(self.heartbeat, self.zombie / 4)
        if now < self._often_until:
            pause = min(pause, self.OFTEN)
        self.next = now + pause

    def ended(self, now: float) -> None:
        """An outcome went out."""
        self._often_until = now + self.TURN
        self.next = min(self.next, now + self.OFTEN)

    def begun(self) -> None:
        """A task came."""
        self._often_until = 0.0

    def change(self, said: PacingSettings) -> None:
        """Take over what is positive."""
        self.heartbeat = said["heartbeat_sec"] or self.heartbeat
        self.zombie = said["zombie_time"] or self.zombie

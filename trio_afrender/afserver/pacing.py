"""Poll timing of a render, and the four settings that a server may change. No I/O.

Of a setting in an answer, a positive number is the new value, -1 restores this render's default,
and 0 changes nothing. In an answer with a negative id the server leaves the four fields
uninitialized: numbers such as 32745 and -1140755952 were captured.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict

import attrs

from trio_afrender.config import Timing
from trio_afrender.protocol.afanasy import RenderEvents

__all__ = ("NEVER", "PacingSettings", "PollSchedule", "resolve")

NEVER = -1.0
"""The value of `exit_no_task_time` that switches the exit off."""
_DAY = 86_400


class PacingSettings(TypedDict):
    """The settings in the form of `Registered` and `Events`: 0 means no change."""

    heartbeat_sec: float
    resources_update_period: int
    zombie_time: float
    exit_no_task_time: float


def resolve(answer: RenderEvents, defaults: Timing) -> PacingSettings:
    """Return the settings in an answer, with -1 replaced by `defaults`."""
    if answer.id <= 0:
        # Uninitialized memory of the server (test_settings_without_a_valid_id_are_ignored).
        return PacingSettings(
            heartbeat_sec=0, resources_update_period=0, zombie_time=0, exit_no_task_time=0
        )
    return PacingSettings(
        heartbeat_sec=_pick(answer.heartbeat_sec, defaults.heartbeat),
        resources_update_period=int(
            _pick(answer.resources_update_period, defaults.resources_period)
        ),
        zombie_time=_pick(answer.zombie_time, defaults.zombie),
        exit_no_task_time=_pick(answer.exit_no_task_time, NEVER),
    )


def _pick(number: int, default: float) -> float:
    return default if number < 0 else float(min(number, _DAY))


@attrs.define(eq=False)
class PollSchedule:
    """When the next exchange is due. Times are seconds of the caller's clock.

    The protocol has no push: a render gets its tasks in the answers to its updates. The server
    hands tasks out once a second. After an outcome it has room for another task on this render, so
    for `FAST_POLL_TIME` the render polls every `FAST_POLL_INTERVAL` and gets the task as soon as it
    is handed out. A chain of short tasks then takes one server cycle a task instead of two.
    """

    heartbeat: float = 1.0
    zombie: float = 16.0
    next: float = 0.0
    _fast_until: float = 0.0

    FAST_POLL_INTERVAL: ClassVar[float] = 0.1
    FAST_POLL_TIME: ClassVar[float] = 1.2

    def exchanged(self, now: float) -> None:
        """Plan the next exchange after one that began at `now`."""
        # A quarter of the zombie time leaves room for three lost exchanges before the server gives
        # the tasks of this render to others.
        interval = min(self.heartbeat, self.zombie / 4)
        if now < self._fast_until:
            interval = min(interval, self.FAST_POLL_INTERVAL)
        self.next = now + interval

    def ended(self, now: float) -> None:
        """Poll fast from now on, because an outcome was sent."""
        self._fast_until = now + self.FAST_POLL_TIME
        self.next = min(self.next, now + self.FAST_POLL_INTERVAL)

    def begun(self) -> None:
        """Stop polling fast, because a task was received."""
        self._fast_until = 0.0

    def change(self, settings: PacingSettings) -> None:
        """Apply the settings that are not 0."""
        self.heartbeat = settings["heartbeat_sec"] or self.heartbeat
        self.zombie = settings["zombie_time"] or self.zombie

"""Settings of a farm. Times are in seconds unless stated otherwise."""

from __future__ import annotations

import attrs

__all__ = ("FarmSettings",)


@attrs.frozen(slots=True, kw_only=True)
class FarmSettings:
    """Settings of one farm. The first four are sent to renders."""

    heartbeat_sec: float = 0.0
    """0: the render keeps its own value; likewise the next one."""
    resources_update_period: int = 0
    """In heartbeats."""
    zombie_time: float = 16.0
    """A render that sends nothing for so long counts as lost."""
    exit_no_task_time: float = 0.0
    """Renders exit after so long without a task; 0 or less: never. A negative one is sent to them,
    too, and replaces what they were sent before."""
    handshake: float = 12.0
    """How long a new connection may take until it registers."""
    errors_retries: int = 3
    """How often a failed task is retried, unless its block has a value."""
    errors_avoid_host: int = 3
    """After so many errors of a block a render gets its tasks only if no other render can."""
    errors_task_same_host: int = 3
    """The same for one task."""
    errors_forgive_time: int = 18_000
    """After so long without another error a block takes a render back; 0: never."""
    pause: float = 1.0
    """How long a render that gave a task back gets none. Doubles each time, up to `pause_limit`."""
    pause_limit: float = 30.0
    sleep_limit: float = 120.0
    """A render that is still there so long after the order to sleep does not sleep."""
    wake_limit: float = 300.0
    """A render that has not registered so long after it was woken does not wake."""
    wake_interval: float = 10.0
    """Between two renders that are woken for waiting tasks."""
    wake_address: str = "255.255.255.255"
    """Where packets to wake a host are sent to, by UDP; a broadcast address."""
    wake_port: int = 9
    flush: float = 10.0
    """How long closing the farm waits until texts are on disk."""

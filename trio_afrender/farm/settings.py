"""Settings of a farm. Times are in seconds unless stated otherwise."""

from __future__ import annotations

import attrs

from trio_afrender.config.value_rules import checked

__all__ = ("FarmSettings",)


@attrs.frozen(slots=True, kw_only=True)
class FarmSettings:
    """Settings of one farm. The first four are sent to renders."""

    heartbeat_sec: float = checked(0.0, unit="seconds")
    """0: the render keeps its own value; likewise the next one."""
    resources_update_period: int = checked(0)
    """In heartbeats."""
    zombie_time: float = checked(16.0, least=0.01, unit="seconds")
    """A render that sends nothing for so long counts as lost."""
    exit_no_task_time: float = checked(0.0, least=-1e9, unit="seconds")
    """Renders exit after so long without a task; 0 or less: never. A negative one is sent to them,
    too, and replaces what they were sent before."""
    handshake: float = checked(12.0, least=0.01, unit="seconds")
    """How long a new connection may take until it registers."""
    errors_retries: int = checked(3)
    """How often a failed task is retried, unless its block has a value."""
    errors_avoid_host: int = checked(3)
    """After so many errors of a block a render gets its tasks only if no other render can."""
    errors_task_same_host: int = checked(3)
    """The same for one task."""
    errors_forgive_time: int = checked(18_000, unit="seconds")
    """After so long without another error a block takes a render back; 0: never."""
    pause: float = checked(1.0, unit="seconds")
    """How long a render that gave a task back gets none. Doubles each time, up to `pause_limit`."""
    pause_limit: float = checked(30.0, unit="seconds")
    sleep_limit: float = checked(120.0, unit="seconds")
    """A render that is still there so long after the order to sleep does not sleep."""
    wake_limit: float = checked(300.0, unit="seconds")
    """A render that has not registered so long after it was woken does not wake."""
    wake_interval: float = checked(10.0, unit="seconds")
    """Between two renders that are woken for waiting tasks."""
    wake_address: str = checked("255.255.255.255")
    """Where packets to wake a host are sent to, by UDP; a broadcast address."""
    wake_port: int = checked(9, least=1, most=65535)
    flush: float = checked(10.0, unit="seconds")
    """How long closing the farm waits until texts are on disk."""

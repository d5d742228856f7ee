"""What can be set on a farm. Seconds unless a name says otherwise."""

from __future__ import annotations

import attrs

__all__ = ("FarmSettings",)


@attrs.frozen(slots=True, kw_only=True)
class FarmSettings:
    """One farm's settings; the first four are what renders are told."""

    heartbeat_sec: float = 0.0
    """0: whatever the render is used to; so too the next one."""
    resources_update_period: int = 0
    """In heartbeats. A render that says nothing at all for `zombie_time` counts as lost."""
    zombie_time: float = 16.0
    exit_no_task_time: float = 0.0
    """Renders exit after so many seconds without a task; 0: never."""
    handshake: float = 12.0
    """How long a new connection may take to register."""
    errors_retries: int = 3
    """How often a failed task is tried again, unless its block says."""
    errors_avoid_host: int = 3
    """After so many errors of a block a render gets its tasks only if nobody else can."""
    errors_task_same_host: int = 3
    """The same for one task."""
    pause: float = 1.0
    """How long a render that gave a task back gets none; doubles each time up to `pause_limit`."""
    pause_limit: float = 30.0
    flush: float = 10.0
    """How long closing the farm waits for texts on their way to disk."""

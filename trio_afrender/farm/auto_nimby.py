"""Rules by the load of a host: reserve a busy render, free an idle one, have it sleep. No I/O.

A host is *busy* while any of its figures reaches its limit, and *idle* while none does, but another
set of limits. Only a render without tasks is either: the load of its own tasks does not count.
"""

from __future__ import annotations

import enum
import math

import attrs

from trio_afrender.protocol.messages import HostResources

__all__ = ("AutoAction", "AutoTimes", "LoadLimits", "LoadWatch", "decide", "next_check", "observe")

_KIB_PER_MIB = 1024


@attrs.frozen(slots=True, kw_only=True)
class LoadLimits:
    """Limits of a host's load; 0 and less: none.

    `cpu`, `mem`, `swp` and `hddio` are percents in use, `hddgb` is GiB free, `netmbs` MiB/s of
    both directions.
    """

    cpu: int = -1
    mem: int = -1
    swp: int = -1
    hddgb: int = -1
    hddio: int = -1
    netmbs: int = -1

    def reached(self, load: HostResources, *, beyond: bool = False) -> str:
        """The first figure that reaches its limit, as "cpu 93 of 80"; empty if there is none.

        With `beyond` a figure must exceed its limit.
        """
        figures = (
            ("cpu", 100 - load.cpu_idle, self.cpu),
            ("mem", _percent(load.mem_total_mb - load.mem_free_mb, load.mem_total_mb), self.mem),
            ("swp", _percent(load.swap_used_mb, load.swap_total_mb), self.swp),
            ("hddio", load.hdd_busy, self.hddio),
            ("netmbs", (load.net_recv_kbsec + load.net_send_kbsec) / _KIB_PER_MIB, self.netmbs),
        )
        for name, value, limit in figures:
            if limit > 0 and (value > limit or (value == limit and not beyond)):
                return f"{name} {value:.0f} of {limit}"
        if self.hddgb > 0 and load.hdd_free_gb <= self.hddgb:
            return f"hddgb {load.hdd_free_gb} of {self.hddgb}"
        return ""

    def __bool__(self) -> bool:
        return any(limit > 0 for limit in attrs.astuple(self))


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole > 0 else 0.0


@attrs.frozen(slots=True, kw_only=True)
class AutoTimes:
    """Seconds after which a rule acts; 0 and less: never."""

    busy_nimby: float = -1
    idle_free: float = -1
    idle_sleep: float = -1


@attrs.frozen(slots=True)
class LoadWatch:
    """Since when a host is idle and busy, on any clock; None while it is not."""

    idle_since: float | None = None
    busy_since: float | None = None


class AutoAction(enum.Enum):
    """What a rule does with a render."""

    NIMBY = enum.auto()
    FREE = enum.auto()
    SLEEP = enum.auto()


def observe(
    watch: LoadWatch,
    load: HostResources,
    now: float,
    *,
    idle: LoadLimits,
    busy: LoadLimits,
    reserved: bool,
    has_tasks: bool,
) -> LoadWatch:
    """Return the watch after a measurement of the host. A reserved render does not get busy."""
    is_idle = not has_tasks and bool(idle) and not idle.reached(load, beyond=True)
    is_busy = not has_tasks and not reserved and bool(busy.reached(load))
    return LoadWatch(
        idle_since=_since(watch.idle_since, now) if is_idle else None,
        busy_since=_since(watch.busy_since, now) if is_busy else None,
    )


def _since(begin: float | None, now: float) -> float:
    return now if begin is None else begin


def decide(
    watch: LoadWatch, times: AutoTimes, now: float, *, reserved: bool, may_sleep: bool
) -> AutoAction | None:
    """Return what is to be done with the render now, if anything. The caller does it at once."""
    for action, when in _deadlines(watch, times, reserved=reserved, may_sleep=may_sleep):
        if when <= now:
            return action
    return None


def next_check(watch: LoadWatch, times: AutoTimes, *, reserved: bool, may_sleep: bool) -> float:
    """When `decide` would return something, if the load stays as it is; infinite for never."""
    deadlines = _deadlines(watch, times, reserved=reserved, may_sleep=may_sleep)
    return min((when for _, when in deadlines), default=math.inf)


def _deadlines(
    watch: LoadWatch, times: AutoTimes, *, reserved: bool, may_sleep: bool
) -> tuple[tuple[AutoAction, float], ...]:
    rules = (
        (AutoAction.NIMBY, watch.busy_since, times.busy_nimby, not reserved),
        (AutoAction.FREE, watch.idle_since, times.idle_free, reserved),
        (AutoAction.SLEEP, watch.idle_since, times.idle_sleep, may_sleep),
    )
    return tuple(
        (action, since + seconds)
        for action, since, seconds, wanted in rules
        if wanted and since is not None and seconds > 0
    )

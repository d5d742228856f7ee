"""What users set of renders and of the pool: frozen values, and what follows from them. No I/O.

Names are Afanasy's; -1 and empty mean "not set here": then the pool's value counts, then the
render's own.
"""

from __future__ import annotations

import attrs

from trio_afrender.farm.auto_nimby import AutoTimes, LoadLimits
from trio_afrender.protocol.messages import Register

__all__ = ("EffectiveParameters", "PoolParameters", "RenderOverrides", "resolve")


@attrs.frozen(slots=True, kw_only=True)
class RenderOverrides:
    """What users have set of one render."""

    user_name: str = ""
    priority: int = -1
    capacity_host: int = -1
    max_tasks_host: int = -1
    power_host: int = -1
    properties_host: str = ""
    services: tuple[str, ...] | None = None
    """None: those of the render itself. An empty list: all services."""
    services_disabled: tuple[str, ...] = ()
    annotation: str = ""
    custom_data: str = ""
    hidden: bool = False

    @property
    def own_limits(self) -> bool:
        """Whether the render counts as overridden: Afanasy's ``DRT``."""
        return self.capacity_host >= 0 or self.max_tasks_host >= 0


@attrs.frozen(slots=True, kw_only=True)
class PoolParameters:
    """What users have set of the pool "/", the one pool of this farm. Times are seconds."""

    priority: int = 99
    annotation: str = ""
    custom_data: str = ""
    hidden: bool = False
    paused: bool = False
    """Whether no task is started on any render."""
    heartbeat_sec: int = -1
    resources_update_period: int = -1
    """In heartbeats."""
    zombie_time: int = -1
    exit_no_task_time: int = -1
    new_nimby: bool = False
    """Whether a render that the farm sees for the first time gets NIMBY."""
    new_paused: bool = False
    sick_errors_count: int = -1
    """A render is sick when tasks of so many different users failed since its last success."""
    idle_wolsleep_time: int = -1
    idle_free_time: int = -1
    busy_nimby_time: int = -1
    idle_cpu: int = -1
    idle_mem: int = -1
    idle_swp: int = -1
    idle_hddgb: int = -1
    idle_hddio: int = -1
    idle_netmbs: int = -1
    busy_cpu: int = -1
    busy_mem: int = -1
    busy_swp: int = -1
    busy_hddgb: int = -1
    busy_hddio: int = -1
    busy_netmbs: int = -1
    capacity_host: int = -1
    max_tasks_host: int = -1
    power_host: int = -1
    properties_host: str = ""
    services: tuple[str, ...] = ()
    services_disabled: tuple[str, ...] = ()

    def limits(self, kind: str) -> LoadLimits:
        """The limits of the load that are named ``idle_...`` or ``busy_...``."""
        names = (field.name for field in attrs.fields(LoadLimits))
        return LoadLimits(**{name: getattr(self, f"{kind}_{name}") for name in names})

    @property
    def times(self) -> AutoTimes:
        return AutoTimes(
            busy_nimby=self.busy_nimby_time,
            idle_free=self.idle_free_time,
            idle_sleep=self.idle_wolsleep_time,
        )


@attrs.frozen(slots=True, kw_only=True)
class EffectiveParameters:
    """The values of one render that count for its tasks."""

    user_name: str
    priority: int
    capacity: int
    max_tasks: int
    power: int
    properties: str
    services: tuple[str, ...]
    """What it lists itself; empty: nothing."""
    services_disabled: tuple[str, ...]
    pool_services: tuple[str, ...]
    pool_services_disabled: tuple[str, ...]

    def offers(self, service: str) -> bool:
        """Whether it runs tasks of a service.

        From the render up to the pool the first one that names the service decides. If none does,
        it is offered unless one of them has a list.
        """
        if service in self.services_disabled:
            return False
        if service in self.services:
            return True
        if service in self.pool_services_disabled:
            return False
        return service in self.pool_services or not (self.services or self.pool_services)


def resolve(
    register: Register, overrides: RenderOverrides, pool: PoolParameters
) -> EffectiveParameters:
    """Return the values that count: the render's override, else the pool's, else its own."""

    def first(*values: int) -> int:
        return next((value for value in values if value >= 0), -1)

    return EffectiveParameters(
        user_name=overrides.user_name or register.user_name,
        priority=first(overrides.priority, register.priority),
        capacity=first(overrides.capacity_host, pool.capacity_host, register.capacity),
        max_tasks=first(overrides.max_tasks_host, pool.max_tasks_host, register.max_tasks),
        power=first(overrides.power_host, pool.power_host, 1),
        properties=overrides.properties_host or pool.properties_host,
        services=register.services if overrides.services is None else overrides.services,
        services_disabled=overrides.services_disabled,
        pool_services=pool.services,
        pool_services_disabled=pool.services_disabled,
    )

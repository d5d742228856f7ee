"""What the objects of several types of nodes have in common. Pure functions.

Like Afanasy, an object leaves out most fields that are empty, zero or not limited.
"""

from __future__ import annotations

import ipaddress

from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.jobs.job_spec import HostNeeds

__all__ = ("ERROR_RULES", "describe_address", "needs_fields", "unix_time", "without_empty")

ERROR_RULES = (
    "errors_retries",
    "errors_avoid_host",
    "errors_task_same_host",
    "errors_forgive_time",
)
"""What blocks, users and the farm have each."""
_LIMITS = (
    "max_tasks_per_second",
    "max_running_tasks",
    "max_running_tasks_per_host",
)
"""-1: not limited; 0 is a limit."""
_NEEDS = (
    "need_power",
    "need_memory",
    "need_hdd",
    "need_gpu_mem_mb",
    "need_cpu_freq_mgz",
    "need_cpu_cores",
    "need_cpu_freq_cores",
)
_MASKS = ("hosts_mask", "hosts_mask_exclude", "need_os", "need_properties")


def needs_fields(needs: HostNeeds) -> Answer:
    """What a job, block or user requires of a render, without what it does not require."""
    found: Answer = {}
    if needs == _NO_NEEDS:  # most have none
        return found
    for name in _LIMITS:
        if (value := getattr(needs, name)) >= 0:
            found[name] = value
    for name in _NEEDS:
        if (value := getattr(needs, name)) > 0:
            found[name] = value
    for name in _MASKS:
        if text := getattr(needs, name):
            found[name] = text
    return found


_NO_NEEDS = HostNeeds()


def without_empty(**fields: object) -> Answer:
    """The fields that are not empty, zero or false."""
    return {name: value for name, value in fields.items() if value}


def unix_time(when: float | None) -> int:
    """A time in whole seconds; 0 for none."""
    return int(when) if when else 0


def describe_address(text: str) -> Answer:
    """An address that may have a port behind it, or any text: then it is the unspecified address."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return {"family": 4, "ip": "0.0.0.0", "port": 0}  # noqa: S104 - shown, not bound
    return {"family": address.version, "ip": str(address), "port": 0}

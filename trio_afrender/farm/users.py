"""Users of the farm: limits and error rules that their jobs share. No I/O."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import attrs

from trio_afrender.farm.node_log import NodeLog
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.jobs.host_masks import NO_MASKS, HostMasks
from trio_afrender.jobs.job_spec import HostNeeds

if TYPE_CHECKING:
    from trio_afrender.farm.model import Block, Job

__all__ = ("NO_STARTS", "StartRate", "User", "error_rule")


class StartRate(NamedTuple):
    """How many tasks were started in a second that began at `begin`, on the farm's own clock."""

    begin: float = -math.inf
    started: int = 0

    @property
    def end(self) -> float:
        return self.begin + 1.0

    def add(self, now: float) -> StartRate:
        """The rate after one more start."""
        return StartRate(now, 1) if now >= self.end else StartRate(self.begin, self.started + 1)


NO_STARTS = StartRate()


@attrs.define(slots=True, eq=False, kw_only=True)
class User:
    """One user. It is made when a job names it for the first time.

    A number of -1 means "not limited" in `needs`, and "the farm's setting" in the error rules.
    """

    id: int
    name: str
    host_name: str = ""
    """The host from which its last job was submitted."""
    time_register: float = 0.0
    """Unix time, like the next one."""
    time_activity: float = 0.0
    priority: int = 99
    annotation: str = ""
    custom_data: str = ""
    srv_info: str = ""
    hidden: bool = False
    paused: bool = False
    """Whether none of its tasks is started."""
    needs: HostNeeds = attrs.field(factory=HostNeeds)
    """Limits and masks for all its jobs together."""
    hosts_mask_type: str = "regex"
    """The language of these masks."""
    masks: HostMasks = NO_MASKS
    errors_retries: int = -1
    errors_avoid_host: int = -1
    errors_task_same_host: int = -1
    errors_forgive_time: int = -1
    jobs_life_time: int = -1
    """Seconds from its creation after which a job is deleted; 0 or less: never."""
    jobs: dict[int, Job] = attrs.field(factory=dict, repr=False)
    """By id."""
    starts: StartRate = NO_STARTS
    running: int = 0
    """How many of its tasks run."""
    running_on: Counter[str] = attrs.field(factory=Counter)
    """Render name -> how many of its tasks run there."""
    node_log: NodeLog = attrs.field(factory=NodeLog)


def error_rule(settings: FarmSettings, block: Block, name: str) -> int:
    """The value of a rule such as ``errors_retries``: the block's, else its user's, else the farm's."""
    for owner in (block.spec, block.job.user, settings):
        value: int = getattr(owner, name)
        if value >= 0:
            break
    return value

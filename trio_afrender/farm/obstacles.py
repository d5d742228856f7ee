"""What keeps a task from a render: a kind and its figures, and the sentence for users. No I/O."""

from __future__ import annotations

import enum
from typing import NamedTuple

from trio_afrender.text import count_text

__all__ = ("Obstacle", "ObstacleKind")


class ObstacleKind(enum.StrEnum):
    """The rule that is in the way. The values are stable words for programs."""

    # Of a render, for every task
    OFFLINE = "offline"
    LINK_LOST = "link_lost"
    ASLEEP = "asleep"
    WAKING = "waking"
    FALLING = "falling"
    SICK = "sick"
    PRIORITY = "priority"
    POOL_PAUSED = "pool_paused"
    HOST_NIMBY = "host_nimby"
    MAX_TASKS = "max_tasks"
    FULL = "full"
    GAVE_BACK = "gave_back"
    # Of a render, for the tasks of a job or a block
    PAUSED = "paused"
    NIMBY_ALL = "NIMBY"
    NIMBY = "nimby"
    CAPACITY = "capacity"
    SERVICE = "service"
    HOSTS_MASK = "hosts_mask"
    HOSTS_MASK_EXCLUDE = "hosts_mask_exclude"
    NEED_OS = "need_os"
    NEED_PROPERTIES = "need_properties"
    NEED_POWER = "need_power"
    NEED_MEMORY = "need_memory"
    NEED_HDD = "need_hdd"
    NEED_CPU_FREQ = "need_cpu_freq_mgz"
    NEED_CPU_CORES = "need_cpu_cores"
    NEED_CPU_FREQ_CORES = "need_cpu_freq_cores"
    NEED_GPU_MEM = "need_gpu_mem_mb"
    MAX_RUNNING_PER_HOST = "max_running_tasks_per_host"
    MAINTENANCE = "maintenance"
    AVOIDED_BY_BLOCK = "avoided_by_block"
    AVOIDED_BY_TASK = "avoided_by_task"
    # Of a task, for every render
    MAX_RUNNING = "max_running_tasks"
    MAX_PER_SECOND = "max_tasks_per_second"
    NO_RENDER = "no_render"
    TIME = "time"
    JOBS = "jobs"
    BLOCKS = "blocks"
    FRAMES = "frames"
    JOB_PAUSED = "job_paused"
    JOB_PRIORITY = "job_priority"
    APPROVAL = "approval"
    USER_PAUSED = "user_paused"
    SUSPENDED = "suspended"
    ENDING = "ending"


_TEXTS = {
    ObstacleKind.OFFLINE: "it is offline",
    ObstacleKind.LINK_LOST: "its link is lost, and it may come back",
    ObstacleKind.ASLEEP: "it is asleep",
    ObstacleKind.WAKING: "it is asleep, and packets to wake it were sent",
    ObstacleKind.FALLING: "it was ordered to sleep",
    ObstacleKind.SICK: "it is sick: tasks of {user} failed there",
    ObstacleKind.PRIORITY: "its priority is 0",
    ObstacleKind.POOL_PAUSED: "the pool is paused",
    ObstacleKind.HOST_NIMBY: "it takes no jobs, as it reports itself (NIMBY)",
    ObstacleKind.MAX_TASKS: "it runs {task}, its limit is {of}",
    ObstacleKind.FULL: "all its capacity of {of} is in use",
    ObstacleKind.GAVE_BACK: "it has just given a task back",
    ObstacleKind.PAUSED: "it is paused",
    ObstacleKind.NIMBY_ALL: "it takes no jobs (NIMBY)",
    ObstacleKind.NIMBY: 'it takes jobs of its user "{detail}" only (nimby)',
    ObstacleKind.CAPACITY: "a task needs {need} of capacity, {have} of {of} are free",
    ObstacleKind.SERVICE: 'it does not offer the service "{detail}"',
    ObstacleKind.HOSTS_MASK: "its name does not match hosts_mask of the {detail}",
    ObstacleKind.HOSTS_MASK_EXCLUDE: "its name matches hosts_mask_exclude of the {detail}",
    ObstacleKind.NEED_OS: 'its system "{detail}" does not match need_os',
    ObstacleKind.NEED_PROPERTIES: 'its properties "{detail}" do not match need_properties',
    ObstacleKind.NEED_POWER: "a task needs a power of {need}, it has {have}",
    ObstacleKind.NEED_MEMORY: "a task needs {need} MiB of free memory, it has {have}",
    ObstacleKind.NEED_HDD: "a task needs {need} GiB of free disk, it has {have}",
    ObstacleKind.NEED_CPU_FREQ: "a task needs a processor of {need} MHz, it has {have}",
    ObstacleKind.NEED_CPU_CORES: "a task needs {need} processors, it has {have}",
    ObstacleKind.NEED_CPU_FREQ_CORES: "a task needs {need} MHz of all processors, it has {have}",
    ObstacleKind.NEED_GPU_MEM: "a task needs {need} MiB of free GPU memory, it has {have}",
    ObstacleKind.MAX_RUNNING_PER_HOST: (
        "it runs {task} of the {detail}, max_running_tasks_per_host is {of}"
    ),
    ObstacleKind.MAINTENANCE: "a task of a maintenance job runs only on the render of its own name",
    ObstacleKind.AVOIDED_BY_BLOCK: (
        "the block avoids it after {error} there, the limit is {of}; {detail}"
    ),
    ObstacleKind.AVOIDED_BY_TASK: (
        "the task avoids it after {error} there, the limit is {of}; {detail}"
    ),
    ObstacleKind.MAX_RUNNING: "{task} of the {detail} running, max_running_tasks is {of}",
    ObstacleKind.MAX_PER_SECOND: (
        "{task} of the {detail} started in this second, max_tasks_per_second is {of}"
    ),
    ObstacleKind.NO_RENDER: "no render is online",
    ObstacleKind.TIME: "the job starts in {need} s (time_wait)",
    ObstacleKind.JOBS: "the job waits for {detail}",
    ObstacleKind.BLOCKS: "it waits for {detail}",
    ObstacleKind.FRAMES: "it waits for frames of {detail}",
    ObstacleKind.JOB_PAUSED: "the job is paused",
    ObstacleKind.JOB_PRIORITY: "the priority of the {detail} is 0",
    ObstacleKind.APPROVAL: "the previews were started, the other tasks wait for approval (ppa)",
    ObstacleKind.USER_PAUSED: 'the user "{detail}" is paused',
    ObstacleKind.SUSPENDED: "the task is suspended",
    ObstacleKind.ENDING: "no task of the job is started any more: {detail}",
}


class Obstacle(NamedTuple):
    """One thing in the way. A tuple, because a round of the scheduler makes many of them."""

    kind: ObstacleKind
    need: int = 0
    """What the task needs, in the unit of the rule; of an avoided render: seconds until it is not."""
    have: int = 0
    """What there is of it: free, running, failed."""
    of: int = 0
    """The limit or the total that `have` is a part of."""
    detail: str = ""
    """A name: of the service, the user, the block ..."""

    @property
    def text(self) -> str:
        """A sentence without its subject's name, as "it is paused"."""
        counted = {noun: count_text(self.have, noun) for noun in ("task", "error", "user")}
        return _TEXTS[self.kind].format_map({**self._asdict(), **counted})

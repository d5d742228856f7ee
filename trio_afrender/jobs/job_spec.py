"""The specification of a job: frozen values, and the arithmetic of frames and names.

`job_file` reads them from Afanasy's job JSON; an application may also build them itself. Field
names, units and defaults are Afanasy's; -1 means "not limited" or "the farm's default".
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from trio_afrender.frame_ranges import fill_numbers, listed_frames, task_count, task_frames
from trio_afrender.protocol.messages import BlockFlags

__all__ = ("BlockSpec", "HostNeeds", "JobSpec", "TaskSpec")

# Plain integers: with a flag of `enum` the test takes 2 us, and a scheduler makes many of them.
_NUMERIC = int(BlockFlags.NUMERIC)


@attrs.frozen(slots=True, kw_only=True)
class HostNeeds:
    """What a block, a job or a user requires of a render. `host_masks` has the language of masks."""

    hosts_mask: str = ""
    hosts_mask_exclude: str = ""
    max_tasks_per_second: int = -1
    """Starts in a second; of a job or a user only."""
    max_running_tasks: int = -1
    max_running_tasks_per_host: int = -1
    need_os: str = ""
    """A mask that is searched in the render's ``os`` text; the next one in its properties."""
    need_properties: str = ""
    need_power: int = -1
    need_memory: int = 0
    """MiB that must be free. Like the next ones it has no effect while the render has not reported
    its load."""
    need_hdd: int = 0
    """GiB."""
    need_cpu_freq_mgz: int = -1
    need_cpu_cores: int = -1
    need_cpu_freq_cores: int = -1
    """MHz times cores."""
    need_gpu_mem_mb: int = -1


@attrs.frozen(slots=True, kw_only=True)
class TaskSpec:
    """One task of a block that lists its tasks."""

    name: str = ""
    command: str = ""
    files: tuple[str, ...] = ()
    environment: Mapping[str, str] = attrs.field(factory=dict)
    custom_data: str = ""


@attrs.frozen(slots=True, kw_only=True)
class BlockSpec:
    """Tasks of one kind: by frame numbers (flag `BlockFlags.NUMERIC`) or as a list."""

    name: str = "block"
    service: str = "generic"
    parser: str = ""
    command: str = ""
    working_directory: str = ""
    """Empty: a folder made for the run."""
    files: tuple[str, ...] = ()
    environment: Mapping[str, str] = attrs.field(factory=dict)
    tasks: tuple[TaskSpec, ...] = ()
    tasks_name: str = ""
    """Pattern for the names of tasks: ``@#@`` stands for frame numbers or the task's own name."""
    flags: int = attrs.field(default=0, converter=int)
    """Bits of `BlockFlags`."""
    frame_first: int = 0
    frame_last: int = 0
    frames_per_task: int = 1
    """In a list: frames of each task; negative: how many tasks make one frame."""
    frames_inc: int = 1
    sequential: int = 1
    """1 in order, -1 in reverse, 0 coarse to fine, N every Nth frame first, -N from the end."""
    capacity: int = 1000
    capacity_coeff_min: int = 0
    capacity_coeff_max: int = 0
    depend_mask: str = ""
    """Mask of blocks of this job that must be done before; never the block itself."""
    tasks_depend_mask: str = ""
    """Mask of blocks whose tasks with overlapping frames must be done before."""
    needs: HostNeeds = HostNeeds()
    errors_retries: int = -1
    errors_avoid_host: int = -1
    errors_task_same_host: int = -1
    errors_forgive_time: int = -1
    task_max_run_time: int = 0
    """Seconds after which the farm stops a run and counts an error; 0: never."""
    task_min_run_time: int = 0
    """A success in fewer seconds counts as an error; 0: never."""
    task_progress_change_timeout: int = -1
    file_size_min: int = -1
    file_size_max: int = -1
    parser_coeff: int = 1
    custom_data: str = ""
    srv_info: str = ""

    @property
    def numeric(self) -> bool:
        return bool(self.flags & _NUMERIC)

    @property
    def task_count(self) -> int:
        if not self.numeric:
            return len(self.tasks)
        return task_count(self.frame_first, self.frame_last, self.frames_per_task, self.frames_inc)

    def frames(self, task: int) -> tuple[int, int, int]:
        """First frame, last frame (inclusive) and number of frames of a task.

        A list counts its frames from 0. A negative `frames_per_task` is returned as the number of
        frames, as Afanasy does.
        """
        if self.numeric:
            return task_frames(
                self.frame_first, self.frame_last, self.frames_per_task, self.frames_inc, task
            )
        return listed_frames(self.frames_per_task, task)

    def frame_span(self, task: int) -> tuple[int, int, int] | None:
        """First frame, last frame and step of a task; None in a block that lists its tasks."""
        if not self.numeric:
            return None
        first, last, _ = self.frames(task)
        return first, last, max(1, self.frames_inc)

    def task_name(self, task: int) -> str:
        """The displayed name, such as ``frame 1-7 / 2``."""
        if not self.numeric:
            own = self.tasks[task].name or f"task {task}"
            return self.tasks_name.replace("@#@", own) if self.tasks_name else own
        start, finish, _ = self.frames(task)
        if self.tasks_name:
            return fill_numbers(self.tasks_name, start, finish)
        if start == finish:
            return f"frame {start}"
        step = f" / {self.frames_inc}" if self.frames_inc > 1 else ""
        return f"frame {start}-{finish}{step}"


@attrs.frozen(slots=True, kw_only=True)
class JobSpec:
    """A whole job. Jobs with higher `priority` come first, then those submitted earlier."""

    name: str = "job"
    user_name: str = ""
    priority: int = 99
    blocks: tuple[BlockSpec, ...]
    needs: HostNeeds = HostNeeds()
    depend_mask: str = ""
    """Mask of jobs of the same user on this farm that must be done before."""
    depend_mask_global: str = ""
    """Mask of jobs of any user that must be done before."""
    time_wait: int = 0
    """Unix time before which nothing starts."""
    time_life: int = -1
    """Seconds from its submission after which the job is deleted; 0: never, -1: as its user has."""
    offline: bool = False
    """Whether the job is paused from the start."""
    ppa: bool = False
    """Only the coarse steps of blocks with a `sequential` step are started until this is off."""
    maintenance: bool = False
    """Each task runs on the render that has the name of the task, and on no other."""
    ignore_nimby: bool = False
    ignore_paused: bool = False
    """Whether tasks are started on paused renders too."""
    hosts_mask_type: str = "regex"
    """The language of the masks for hosts, of the blocks too: ``regex`` or ``find``."""
    host_name: str = ""
    """The host that the job was submitted from. Like the next ones it is for users alone."""
    annotation: str = ""
    description: str = ""
    custom_data: str = ""
    srv_info: str = ""
    project: str = ""
    department: str = ""
    hidden: bool = False
    folders: Mapping[str, str] = attrs.field(factory=dict)
    """Name, such as ``output``, -> path."""
    unhonoured: tuple[str, ...] = ()
    """Paths of fields that have a value and no effect in this program."""
    notes: tuple[str, ...] = ()
    """Sentences on probable mistakes, such as a mask that matches no block."""

    def unattended(self) -> JobSpec:
        """The job for a farm of its own that no user steers, as ``trio_afrender run`` has it.

        What waits for a user, deletes the job, or needs what only an administrator gives to a
        render has no effect there: it is off, and listed in `unhonoured`. So has a priority of 0,
        with which nothing starts.
        """
        off = JobSpec(blocks=())
        names = [name for name in _FOR_USERS if getattr(self, name) != getattr(off, name)]
        if self.priority == 0:
            names.append("priority")
        needs, paths = _without_gifts(self.needs, "")
        blocks = []
        for number, block in enumerate(self.blocks):
            block_needs, more = _without_gifts(block.needs, f"blocks[{number}].")
            blocks.append(attrs.evolve(block, needs=block_needs))
            paths += more
        return attrs.evolve(
            self,
            **{name: getattr(off, name) for name in names},
            needs=needs,
            blocks=tuple(blocks),
            unhonoured=(*names, *self.unhonoured, *paths),
        )

    def within(self, capacity: int) -> JobSpec:
        """The job for renders of that capacity and no others: larger blocks take all of a render.

        They are listed in `notes`.
        """
        blocks, notes = [], []
        for number, block in enumerate(self.blocks):
            least = block.capacity * max(1, block.capacity_coeff_min)
            if least > capacity:
                block = attrs.evolve(block, capacity=capacity, capacity_coeff_min=0)
                text = f"a task needs {least}, a render here has {capacity}: it takes all of it"
                notes.append(f"blocks[{number}].capacity: {text}")
            blocks.append(block)
        return attrs.evolve(self, blocks=tuple(blocks), notes=(*self.notes, *notes))


_FOR_USERS = ("offline", "time_life", "ppa", "maintenance")
_GIFTS = ("need_properties", "need_power")
"""Needs that refer to values which an administrator gives to a render."""


def _without_gifts(needs: HostNeeds, path: str) -> tuple[HostNeeds, list[str]]:
    none = HostNeeds()
    names = [name for name in _GIFTS if getattr(needs, name) != getattr(none, name)]
    if needs.max_tasks_per_second == 0:
        names.append("max_tasks_per_second")
    changed = attrs.evolve(needs, **{name: getattr(none, name) for name in names})
    return changed, [path + name for name in names]

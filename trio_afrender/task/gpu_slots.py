"""Assignment of this host's GPUs to tasks: the choice over values, and the allocator that waits.

A task waits until as many GPUs as it is to have are free enough. Tasks are served strictly in the
order of arrival: otherwise tasks that want one GPU would starve one that wants several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile

import attrs
import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.config import GpuSlots
from trio_afrender.protocol.messages import GpuCard

__all__ = (
    "GpuAllocations",
    "GpuAllocator",
    "choose_gpus",
    "host_gpu_allocations",
    "make_gpu_variables",
    "make_no_gpu_variables",
    "name_gpus",
)

# By default CUDA puts the fastest GPU first, so its numbers would differ from the driver's.
CUDA_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
# NVIDIA; AMD for HIP and for OpenCL; Intel. ROCR_VISIBLE_DEVICES is left out on purpose: it renumbers
# the GPUs below HIP, and the number in HIP_VISIBLE_DEVICES would then name another one.
GPU_NUMBER_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)
TASK_GPUS_VARIABLE = "AF_TASK_GPUS"


def choose_gpus(
    gpus: Sequence[str], taken: Mapping[str, int], *, per_task: int, tasks_per_gpu: int
) -> tuple[str, ...] | None:
    """Choose `per_task` GPUs that have fewer than `tasks_per_gpu` tasks, the least used first.

    Return them in the order of `gpus`; None if there are not enough now. A host with fewer than
    `per_task` GPUs gives all it has.
    """
    free = [gpu for gpu in gpus if taken.get(gpu, 0) < tasks_per_gpu]
    wanted = min(per_task, len(gpus))
    if len(free) < wanted:
        return None
    free.sort(key=lambda gpu: taken.get(gpu, 0))  # stable: equals keep the driver's order
    chosen = set(free[:wanted])
    return tuple(gpu for gpu in gpus if gpu in chosen)


def name_gpus(gpus: Sequence[GpuCard]) -> tuple[str, ...]:
    """Return the names that programs accept: the number of a GPU, the UUID of a part (MIG).

    Parts have no numbers of their own.
    """
    return tuple(str(gpu.index) if gpu.part is None else gpu.uuid for gpu in gpus)


def make_gpu_variables(gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment variables that make a program see these GPUs alone."""
    listed = ",".join(gpus)
    # A name that is no number is the UUID of an NVIDIA part: only CUDA's variable gets it.
    numbered = all(gpu.isdigit() for gpu in gpus)
    names = GPU_NUMBER_VARIABLES if numbered else GPU_NUMBER_VARIABLES[:1]
    return {**CUDA_ORDER, **dict.fromkeys(names, listed), TASK_GPUS_VARIABLE: listed}


def make_no_gpu_variables() -> dict[str, str]:
    """Return the environment variables that make a program see no GPU; Intel has no such value."""
    return {**dict.fromkeys(GPU_NUMBER_VARIABLES[:-1], "-1"), TASK_GPUS_VARIABLE: ""}


@attrs.define(eq=False)
class GpuAllocations:
    """How many tasks each GPU has."""

    taken: Counter[str] = attrs.field(factory=Counter)
    changed: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    """Set and replaced at each change that may let a task start."""
    unknown: int = 0
    """Runs of an earlier agent whose GPUs are still being looked up; no GPU is given meanwhile."""


_ALLOCATIONS: trio.lowlevel.RunVar[GpuAllocations] = trio.lowlevel.RunVar("GPUs of this host")


def host_gpu_allocations() -> GpuAllocations:
    """Return the allocations shared by all agents of this event loop: they use the same GPUs."""
    try:
        return _ALLOCATIONS.get()
    except LookupError:
        allocations = GpuAllocations()
        _ALLOCATIONS.set(allocations)
        return allocations


@attrs.define(eq=False)
class GpuAllocator:
    """Gives GPUs of this host to tasks, by the rule of one agent."""

    rule: GpuSlots = attrs.field(factory=GpuSlots)
    measured: Callable[[], Sequence[GpuCard] | None] = lambda: ()
    """Returns the GPUs measured last; None: the driver has not answered yet."""
    visible_devices: str = ""
    """``CUDA_VISIBLE_DEVICES`` of the agent itself: if set, tasks get GPUs of these only."""
    allocations: GpuAllocations = attrs.field(factory=lambda: GpuAllocations())
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    def gpus(self) -> tuple[str, ...] | None:
        """Return the names of the GPUs that tasks may get; None: not known yet."""
        visible = tuple(filter(None, self.visible_devices.replace(" ", "").split(",")))
        if self.rule.cards:
            return self.rule.cards
        if visible:
            # As CUDA reads it: -1 hides what follows, alone it hides all GPUs.
            return tuple(takewhile(lambda name: not name.startswith("-"), visible))
        measured = self.measured()
        return None if measured is None else name_gpus(measured)

    @property
    def slots(self) -> int | None:
        """How many tasks can run at once; None where GPUs do not limit that: some tasks get none."""
        gpus = self.gpus()
        # With a list of services, tasks of other ones need no GPU: their number limits nothing.
        if not self.rule.tasks_per_card or self.rule.services or not gpus:
            return None
        per_task = min(self.rule.cards_per_task, len(gpus))
        return max(len(gpus) * self.rule.tasks_per_card // per_task, 1)

    def assigns_to(self, service: str) -> bool:
        """Whether a task of that service gets GPUs of its own."""
        return not self.rule.services or service in self.rule.services

    def choose(self) -> tuple[str, ...] | None:
        """Return GPUs that are free now, () on a host without any; None: wait."""
        gpus = self.gpus()
        if gpus is None or self.allocations.unknown:
            return None
        return choose_gpus(
            gpus,
            self.allocations.taken,
            per_task=self.rule.cards_per_task,
            tasks_per_gpu=self.rule.tasks_per_card,
        )

    async def take(self) -> tuple[str, ...]:
        """Wait until GPUs are free and allocate them; the caller gives them back with `free`.

        Cancelled, nothing is allocated.
        """
        # trio's lock is fair, which makes the waiting a queue.
        async with self._turn:
            # Woken when GPUs are freed, and when the driver has answered.
            while (chosen := self.choose()) is None:
                await self.allocations.changed.wait()
            self.allocations.taken.update(chosen)  # no checkpoint from here on
        return chosen

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Give no GPUs to tasks inside of this block: which ones inherited runs use is unknown."""
        self.allocations.unknown += 1
        try:
            yield
        finally:
            self.allocations.unknown -= 1
            self.look_again()

    def hold(self, gpus: Sequence[str]) -> None:
        """Allocate GPUs that an inherited run already uses; the caller gives them back with `free`."""
        # Whatever the rule allows now: the run uses them already.
        self.allocations.taken.update(gpus)

    def free(self, gpus: Sequence[str]) -> None:
        """Give GPUs back."""
        self.allocations.taken.subtract(gpus)
        self.look_again()

    def look_again(self) -> None:
        """Make waiting tasks choose again: the measured or the free GPUs may have changed."""
        self.allocations.changed.set()

    def is_busy(self) -> bool:
        """Whether a task that comes now would have to wait."""
        return self._turn.locked() or self.choose() is None

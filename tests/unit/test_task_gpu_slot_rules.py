"""Which GPUs a task gets, and the environment variables for its programs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.config import GpuSlots
from trio_afrender.protocol.messages import GpuCard
from trio_afrender.task.gpu_slots import (
    GpuAllocator,
    choose_gpus,
    make_gpu_variables,
    make_no_gpu_variables,
    name_gpus,
)

THREE = ("0", "1", "2")


@pytest.mark.parametrize(
    ("gpus", "taken", "per_task", "tasks_per_gpu", "chosen"),
    [
        (THREE, {}, 1, 1, ("0",)),
        (THREE, {"0": 1}, 1, 1, ("1",)),
        (THREE, {"0": 1, "1": 1, "2": 1}, 1, 1, None),
        (THREE, {"0": 1, "1": 1}, 1, 2, ("2",)),
        (THREE, {"0": 2, "1": 1, "2": 1}, 1, 2, ("1",)),
        (THREE, {"1": 1}, 2, 1, ("0", "2")),
        (THREE, {"0": 1, "1": 1}, 2, 1, None),
        (("0",), {}, 4, 1, ("0",)),
        ((), {}, 1, 1, ()),
    ],
)
def test_the_least_used_gpus_are_chosen_first(
    gpus: tuple[str, ...],
    taken: dict[str, int],
    per_task: int,
    tasks_per_gpu: int,
    chosen: tuple[str, ...] | None,
) -> None:
    assert choose_gpus(gpus, taken, per_task=per_task, tasks_per_gpu=tasks_per_gpu) == chosen


@given(
    st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.lists(st.booleans(), max_size=30)
)
def test_no_gpu_ever_has_more_tasks_than_allowed(
    count: int, per_task: int, tasks_per_gpu: int, arrivals: list[bool]
) -> None:
    gpus = tuple(map(str, range(count)))
    taken: Counter[str] = Counter()
    held: list[tuple[str, ...]] = []
    for arrives in arrivals:
        if arrives:
            chosen = choose_gpus(gpus, taken, per_task=per_task, tasks_per_gpu=tasks_per_gpu)
            if chosen is not None:
                assert len(chosen) == len(set(chosen)) == min(per_task, count)
                taken.update(chosen)
                held.append(chosen)
        elif held:
            taken.subtract(held.pop(0))
        assert all(0 <= tasks <= tasks_per_gpu for tasks in taken.values())


def test_the_variables_of_all_makers_agree() -> None:
    assert make_gpu_variables(("0", "2")) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "0,2",
        "HIP_VISIBLE_DEVICES": "0,2",
        "GPU_DEVICE_ORDINAL": "0,2",
        "ZE_AFFINITY_MASK": "0,2",
        "AF_TASK_GPUS": "0,2",
    }
    assert make_gpu_variables(("MIG-a",)).keys() == {
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",
        "AF_TASK_GPUS",
    }
    assert make_no_gpu_variables()["CUDA_VISIBLE_DEVICES"] == "-1"


def test_parts_are_named_by_their_uuids() -> None:
    gpus = [GpuCard(index=0, uuid="GPU-a"), GpuCard(index=1, uuid="MIG-b", part=0)]
    assert name_gpus(gpus) == ("0", "MIG-b")


@pytest.mark.parametrize(
    ("rule", "visible_devices", "gpus"),
    [
        # As CUDA reads it: nothing from the first negative number on.
        (GpuSlots(), "-1", ()),
        (GpuSlots(), "1,-1,0", ("1",)),
        (GpuSlots(tasks_per_card=1), "", ("0", "1")),
        (GpuSlots(tasks_per_card=1), " 1, 3", ("1", "3")),
        (GpuSlots(tasks_per_card=1, cards=("5",)), "1", ("5",)),
    ],
)
def test_which_gpus_tasks_may_get(
    rule: GpuSlots, visible_devices: str, gpus: tuple[str, ...]
) -> None:
    measured = (GpuCard(index=0), GpuCard(index=1))
    assert GpuAllocator(rule, lambda: measured, visible_devices).gpus() == gpus


@pytest.mark.parametrize(
    ("rule", "slots"),
    [
        (GpuSlots(), None),
        (GpuSlots(tasks_per_card=1), 2),
        (GpuSlots(tasks_per_card=3), 6),
        (GpuSlots(tasks_per_card=3, cards_per_task=2), 3),
        (GpuSlots(tasks_per_card=1, cards_per_task=9), 1),
        (GpuSlots(tasks_per_card=1, services=("blender",)), None),
    ],
)
def test_how_many_tasks_fit(rule: GpuSlots, slots: int | None) -> None:
    assert GpuAllocator(rule, lambda: (GpuCard(index=0), GpuCard(index=1))).slots == slots


def test_no_gpu_is_given_before_the_driver_has_answered() -> None:
    allocator = GpuAllocator(GpuSlots(tasks_per_card=1), lambda: None)
    assert (allocator.choose(), allocator.slots, allocator.is_busy()) == (None, None, True)

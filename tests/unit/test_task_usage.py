"""The usage of a run from measurements of processes that start and end."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.hostinfo.process_usage import GpuShare, ProcessUsage
from trio_afrender.protocol.messages import TaskUsage
from trio_afrender.task.usage_totals import TreeUsage, show_bytes, usage_sentence, usage_words

MIB = 1024**2
LEADER = ProcessUsage(pid=10, started=1, parent=1, resident=100 * MIB, peak=150 * MIB, cpu=1.0)
WORKER = ProcessUsage(pid=11, started=2, parent=10, resident=50 * MIB, peak=60 * MIB, cpu=2.0)


def test_a_tree_is_added_up_and_its_peak_is_kept() -> None:
    tree = TreeUsage(0.0)
    usage = tree.advance([LEADER, WORKER], 5.0)
    assert (usage.resident, usage.resident_peak) == (150 * MIB, 150 * MIB)
    assert (usage.processes, usage.cpu_seconds, usage.cpu_percent) == (2, 3.0, 60.0)
    usage = tree.advance([attrs.evolve(LEADER, resident=10 * MIB, waited=2.0)], 10.0)
    assert (usage.resident, usage.resident_peak) == (10 * MIB, 150 * MIB)
    assert (usage.processes, usage.processes_peak) == (1, 2)
    assert (usage.cpu_seconds, usage.cpu_percent) == (3.0, 0.0)


def test_the_peak_of_one_process_counts_if_it_is_above_all_measurements() -> None:
    usage = TreeUsage(0.0).advance([attrs.evolve(LEADER, peak=900 * MIB), WORKER], 5.0)
    assert usage.resident_peak == 900 * MIB


def test_a_collected_child_counts_once_also_when_it_ran_on_after_the_measurement() -> None:
    tree = TreeUsage(0.0)
    tree.advance([LEADER, WORKER], 5.0)
    usage = tree.advance([attrs.evolve(LEADER, waited=4.5)], 10.0)
    assert usage.cpu_seconds == 5.5


def test_an_orphan_that_no_process_of_the_tree_collects_still_counts() -> None:
    tree = TreeUsage(0.0)
    orphan = attrs.evolve(WORKER, parent=1)
    tree.advance([LEADER, orphan], 5.0)
    assert tree.advance([LEADER], 10.0).cpu_seconds == 3.0


def test_a_child_whose_parent_ended_too_counts_at_its_grandparent() -> None:
    tree = TreeUsage(0.0)
    grandchild = attrs.evolve(WORKER, pid=12, started=3, parent=11, cpu=4.0)
    tree.advance([LEADER, WORKER, grandchild], 5.0)
    assert tree.advance([attrs.evolve(LEADER, waited=6.0)], 10.0).cpu_seconds == 7.0
    # A grandchild adopted by another process is not measured at the leader, and must still count.
    tree = TreeUsage(0.0)
    tree.advance([LEADER, WORKER, grandchild], 5.0)
    assert tree.advance([attrs.evolve(LEADER, waited=2.0)], 10.0).cpu_seconds == 7.0


def test_a_zombie_has_used_but_uses_nothing() -> None:
    usage = TreeUsage(0.0).advance([attrs.evolve(LEADER, state="Z", resident=0, peak=0)], 5.0)
    assert (usage.cpu_seconds, usage.processes, usage.resident) == (1.0, 0, 0)


def test_a_pid_with_another_start_time_is_another_process() -> None:
    tree = TreeUsage(0.0)
    tree.advance([attrs.evolve(LEADER, cpu=8.0, parent=1)], 5.0)
    assert tree.advance([attrs.evolve(LEADER, started=77, cpu=0.5)], 10.0).cpu_seconds == 8.5


def test_the_final_measurement_keeps_the_peaks() -> None:
    tree = TreeUsage(0.0)
    tree.advance([LEADER, WORKER], 5.0)
    usage = tree.close([attrs.evolve(LEADER, state="Z", resident=0, waited=3.0)])
    assert (usage.cpu_seconds, usage.resident_peak, usage.processes_peak) == (4.0, 150 * MIB, 2)


def test_gpu_usage_is_added_up_by_process() -> None:
    shares = {11: GpuShare(memory=300 * MIB, percent=40.0), 99: GpuShare(memory=1)}
    tree = TreeUsage(0.0)
    usage = tree.advance([LEADER, WORKER], 5.0, shares)
    assert (usage.gpu_memory, usage.gpu_percent) == (300 * MIB, 40.0)
    assert tree.advance([LEADER, WORKER], 10.0).gpu_memory_peak == 300 * MIB


def test_a_quiet_tree_keeps_its_figures_and_the_time_of_its_measurement() -> None:
    tree = TreeUsage(0.0)
    share = {10: GpuShare(memory=MIB, percent=5.0)}
    assert tree.advance([LEADER], 5.0, share).cpu_percent == 20.0
    usage = tree.advance([LEADER], 10.0)
    assert (usage.cpu_percent, usage.gpu_memory, usage.gpu_percent) == (0.0, 0, 0.0)
    for now in (15.0, 20.0):
        assert tree.advance([LEADER], now) == usage
    assert tree.advance([attrs.evolve(LEADER, cpu=2.0)], 25.0).cpu_percent == 20.0, "of 5 seconds"


def test_bytes_never_decrease() -> None:
    tree = TreeUsage(0.0)
    tree.advance([attrs.evolve(LEADER, read=10, written=20, passed=70)], 5.0)
    usage = tree.advance([attrs.evolve(LEADER, read=0, written=0)], 10.0)
    assert (usage.read_bytes, usage.written_bytes, tree.io_bytes) == (10, 20, 70)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, float, bool]]:
    """Workers one after another: measurements it lives for, CPU seconds, collected by the leader."""
    return draw(
        st.lists(
            st.tuples(
                st.integers(1, 3), st.floats(0.0, 100.0).map(lambda x: round(x, 2)), st.booleans()
            ),
            max_size=8,
        )
    )


@given(histories())
def test_nothing_is_lost_and_nothing_counts_twice_in_any_history(
    history: list[tuple[int, float, bool]],
) -> None:
    tree, now, waited, truth = TreeUsage(0.0), 0.0, 0.0, 1.0
    for number, (measurements, cpu, collected) in enumerate(history):
        parent = LEADER.pid if collected else 1
        worker = attrs.evolve(WORKER, pid=100 + number, parent=parent, cpu=cpu)
        for _ in range(measurements):
            now += 5.0
            tree.advance([attrs.evolve(LEADER, waited=waited), worker], now)
        waited += cpu if collected else 0.0
        truth += cpu
    usage = tree.close([attrs.evolve(LEADER, waited=waited)])
    assert usage.cpu_seconds == pytest.approx(truth, abs=0.02)


def test_usage_words_and_sentence() -> None:
    usage = TaskUsage(
        resident=100 * MIB,
        resident_peak=1536 * MIB,
        cpu_seconds=120.04,
        cpu_percent=389.5,
        read_bytes=5 * MIB,
        processes=3,
        processes_peak=4,
    )
    assert usage_words(usage) == (
        "task_mem_mb:100 task_mem_peak_mb:1536 task_procs:3 task_cpu:390 task_cpu_sec:120"
        " task_read_mb:5 task_write_mb:0"
    )
    assert usage_sentence(usage, 60.0) == (
        "1.5 GiB of memory, 4 processes at once; 120.0 s of CPU (2 cores on average);"
        " 5.0 MiB read, 0 bytes written"
    )
    with_gpu = attrs.evolve(usage, gpu_memory=MIB, gpu_memory_peak=2 * MIB, gpu_percent=50.0)
    assert usage_words(with_gpu).endswith("task_gpu_mb:1 task_gpu_peak_mb:2 task_gpu:50")
    assert usage_sentence(with_gpu).endswith("; 2.0 MiB of GPU memory")


def test_a_task_that_ended_before_the_first_measurement_claims_no_memory() -> None:
    assert (
        usage_words(TaskUsage(cpu_seconds=0.3)) == "task_cpu_sec:0.3 task_read_mb:0 task_write_mb:0"
    )
    assert (
        usage_sentence(TaskUsage(cpu_seconds=0.3)) == "0.3 s of CPU; 0 bytes read, 0 bytes written"
    )


def test_usage_that_was_only_reported_at_the_end_has_no_processes() -> None:
    usage = TaskUsage(cpu_seconds=0.3, resident_peak=8 * MIB)
    assert usage_words(usage).startswith("task_mem_peak_mb:8 task_cpu_sec:0.3")
    assert usage_sentence(usage).startswith("8.0 MiB of memory; 0.3 s of CPU")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (200 * MIB, "200 MiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_show_bytes(size: int, text: str) -> None:
    assert show_bytes(size) == text

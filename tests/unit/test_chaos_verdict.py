"""The checks of the chaos suite: they find faults, and nothing where there is none."""

from __future__ import annotations

import attrs
import pytest
from chaos.frames import FrameCutter, is_ack
from chaos.leak_check import WARM_UP, Footprint, LeakCheck
from chaos.task_shapes import TaskPlan
from chaos.verdict import check_output

from trio_afrender.tasklog.head_tail import missing_marker

PLAIN = TaskPlan(shape="plain", lines=6, stop_after=None)
FLOOD = TaskPlan(shape="flood", lines=2, stop_after=0.1)


def lines(*numbers: int) -> str:
    return "".join(f"L {number}\n" for number in numbers)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (lines(1, 2, 3, 4, 5, 6), ""),
        (lines(1, 2, 3, 4, 5), "5 of 6 lines"),
        (lines(1, 2, 4, 5, 6), "printed 'L 4"),
        (lines(1, 2, 2, 3, 4, 5, 6), "printed 'L 2"),
        (lines(1, 3, 2, 4, 5, 6), "printed 'L 3"),
        (lines(1, 2, 3, 4, 5, 6, 7), "printed 'L 7"),
        (lines(1, 2, 3, 4, 5, 6)[:-1], "printed 'L 6'"),
        ("hello\n" + lines(1, 2, 3, 4, 5, 6), "printed 'hello"),
        (lines(1, 2) + missing_marker(8, 2) + lines(5, 6), "1 gaps in 6 lines"),
    ],
)
def test_every_line_once_and_in_order(output: str, problem: str) -> None:
    assert check_output(PLAIN, "done", output)[: len(problem) or None] == problem


def test_a_gap_has_the_stated_number_of_lines() -> None:
    whole = lines(1, 2) + missing_marker(8, 2) + lines(5, 6)
    assert check_output(PLAIN, "done", whole, disk_failed=True) == ""
    short = lines(1, 2) + missing_marker(8, 1) + lines(5, 6)
    assert "printed 'L 5" in check_output(PLAIN, "done", short, disk_failed=True)
    flood = lines(1, 2) + "F 1\n" + missing_marker(4000, 998) + "F 1000\n"
    assert check_output(FLOOD, "killed", flood) == ""


def test_output_of_a_killed_task_may_end_early() -> None:
    assert check_output(PLAIN, "killed", "") == ""
    assert check_output(PLAIN, "killed", lines(1, 2) + "L") == ""
    assert check_output(PLAIN, "error", lines(1, 2)) == "2 of 6 lines"
    assert "printed 'LL 2" in check_output(PLAIN, "killed", "L" + lines(2))
    assert check_output(FLOOD, "killed", lines(1, 2) + "F 1\nF 2") == ""


def test_frames_are_complete_for_any_pieces() -> None:
    head = b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n"
    ack = b"\x81\x15" + b'{"type":"ack","seq":1}'[:21]
    long, longest = b"\x81\x7e\x01\x00" + bytes(256), b"\x81\x7f" + bytes(5) + b"\x01\x00\x01"
    longest += bytes(65537)
    data = head + ack + long + longest + b"\x89\x00"
    for size in (1, 7, 100_000):
        cutter = FrameCutter()
        pieces = (data[i : i + size] for i in range(0, len(data), size))
        frames = [frame for piece in pieces for frame in cutter.feed(piece)]
        assert frames == [head, ack, long, longest, b"\x89\x00"]
        assert [is_ack(frame) for frame in frames] == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("name", "more"),
    [("descriptors", 7), ("threads", 7), ("children", 7), ("host_descriptors", 7),
     ("resident", 20 << 20), ("host_resident", 20 << 20), ("own_resident", 40 << 20),
     ("own_descriptors", 7)],
)  # fmt: skip
def test_growth_is_named(name: str, more: int) -> None:
    flat = Footprint(10, 5, 40 << 20, 1, 5, 20 << 20, 7, 12 << 20, 17, 40 << 20)
    leak_check = LeakCheck()
    assert [leak_check.add_round(1, flat) for _ in range(WARM_UP + 5)] == [()] * (WARM_UP + 5)
    grown = attrs.evolve(flat, **{name: getattr(flat, name) + more})
    (problem,) = leak_check.add_round(1, grown)
    assert name.removeprefix("own_") in problem
    assert leak_check.add_round(2, grown) == (), "another agent is compared with itself"

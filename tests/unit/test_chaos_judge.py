"""The judges of the chaos suite judge: what is wrong is found, what is right passes."""

from __future__ import annotations

import attrs
import pytest
from chaos.frames import FrameCutter, is_ack
from chaos.leak_check import WARM, Footprint, Trend
from chaos.task_shapes import Plan
from chaos.verdict import judge_output

from trio_afrender.tasklog.head_tail import missing_marker

PLAIN = Plan(shape="plain", lines=6, stop_after=None)
FLOOD = Plan(shape="flood", lines=2, stop_after=0.1)


def lines(*numbers: int) -> str:
    return "".join(f"L {number}\n" for number in numbers)


@pytest.mark.parametrize(
    ("output", "said"),
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
def test_every_line_once_and_in_order(output: str, said: str) -> None:
    assert judge_output(PLAIN, "done", output)[: len(said) or None] == said


def test_a_gap_is_as_long_as_it_says() -> None:
    whole = lines(1, 2) + missing_marker(8, 2) + lines(5, 6)
    assert judge_output(PLAIN, "done", whole, starved=True) == ""
    short = lines(1, 2) + missing_marker(8, 1) + lines(5, 6)
    assert "printed 'L 5" in judge_output(PLAIN, "done", short, starved=True)
    flood = lines(1, 2) + "F 1\n" + missing_marker(4000, 998) + "F 1000\n"
    assert judge_output(FLOOD, "killed", flood) == ""


def test_who_is_killed_may_be_cut_short_but_nowhere_else() -> None:
    assert judge_output(PLAIN, "killed", "") == ""
    assert judge_output(PLAIN, "killed", lines(1, 2) + "L") == ""
    assert judge_output(PLAIN, "error", lines(1, 2)) == "2 of 6 lines"
    assert "printed 'LL 2" in judge_output(PLAIN, "killed", "L" + lines(2))
    assert judge_output(FLOOD, "killed", lines(1, 2) + "F 1\nF 2") == ""


def test_frames_are_cut_whole_from_any_pieces() -> None:
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
def test_what_grows_is_named(name: str, more: int) -> None:
    flat = Footprint(10, 5, 40 << 20, 1, 5, 20 << 20, 7, 12 << 20, 17, 40 << 20)
    trend = Trend()
    assert [trend.note(1, flat) for _ in range(WARM + 5)] == [()] * (WARM + 5)
    grown = attrs.evolve(flat, **{name: getattr(flat, name) + more})
    (said,) = trend.note(1, grown)
    assert name.removeprefix("own_") in said
    assert trend.note(2, grown) == (), "another agent begins anew"

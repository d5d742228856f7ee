"""The output of a task from events: no text twice, none left out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.afserver.output_follower import (
    OutputPieces,
    is_error_text,
    read_output_events,
)

LINES = [f"line {number}\n" for number in range(40)]
TEXT = "".join(LINES)


def message(task: int, data: str) -> dict[str, object]:
    return {"pos": {"job": 2, "block": 0, "task": task, "number": 0}, "data": data}


def test_events_of_other_tasks_are_left_out() -> None:
    events = {
        "tasks_outputs": [message(1, "other"), message(0, "whole")],
        "tasks_listens": [message(0, "a"), message(1, "x"), message(0, "b"), 5, {"data": "c"}],
    }
    assert read_output_events(events, (2, 0, 0)) == ("whole", "ab")
    assert read_output_events({}, (2, 0, 0)) == (None, "")


@pytest.mark.parametrize(
    "text",
    [
        "ERROR: Can't get file:\n/srv/1.txt\nNo such file or directory",
        "ERROR: Can't get ouput of a running task.",  # codespell:ignore ouput
        "Retrieving running task output from render...",
    ],
)
def test_errors_of_the_server_are_no_output(text: str) -> None:
    assert is_error_text(text)
    assert read_output_events({"tasks_outputs": [message(0, text)]}, (2, 0, 0)) == (None, "")


def test_a_program_may_print_errors() -> None:
    assert not is_error_text("ERROR: licence server down\n")
    events = {"tasks_outputs": [message(0, "ERROR: licence server down\n")]}
    assert read_output_events(events, (2, 0, 0))[0] == "ERROR: licence server down\n"


@given(
    whole=st.integers(0, 40),
    first=st.integers(0, 40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
)
def test_nothing_is_printed_twice_or_left_out(whole: int, first: int, cuts: list[int]) -> None:
    """Pieces from `first` on, which is in the whole output or follows it."""
    first = min(first, whole)
    cuts = sorted({first, *(max(first, cut) for cut in cuts), 40})
    pieces = ["".join(LINES[a:b]) for a, b in pairwise(cuts)]
    follower = OutputPieces()
    # All pieces that the whole output may contain have come before it.
    early = [piece for piece in pieces if TEXT.index(piece) < len("".join(LINES[:whole]))]
    printed = "".join(follower.add(None, piece) for piece in early)
    printed += follower.add("".join(LINES[:whole]), "")
    printed += "".join(follower.add(None, piece) for piece in pieces[len(early) :])
    printed += follower.finish(TEXT)
    assert printed == TEXT


def test_what_is_missing_at_the_end_is_printed() -> None:
    follower = OutputPieces()
    assert follower.add("a\n", "") == "a\n"
    assert follower.finish("a\nb\nc\n") == "b\nc\n"


def test_without_any_event_all_is_printed_at_the_end() -> None:
    assert OutputPieces().finish("a\n") == "a\n"


def test_lost_pieces_are_no_reason_to_repeat() -> None:
    follower = OutputPieces()
    follower.add("a\n", "")
    follower.add(None, "c\n")  # b was lost
    assert follower.finish("a\nb\nc\nd\n") == "d\n"
    other = OutputPieces()
    other.add("a\nb\n", "")
    assert other.finish("something else") == ""


def test_after_a_lost_connection_the_missing_part_is_printed() -> None:
    follower = OutputPieces()
    assert follower.add("a\nb\n", "") == "a\nb\n"
    follower.restart()
    assert follower.add(None, "d\n") == ""
    assert follower.add("a\nb\nc\nd\n", "e\n") == "c\nd\ne\n"
    assert follower.finish("a\nb\nc\nd\ne\n") == ""


def test_a_long_first_piece_is_found_in_the_whole_output() -> None:
    long = "".join(f"{number}\n" for number in range(9000))
    follower = OutputPieces()
    follower.add(None, long[500:])
    assert follower.add(long[:40_000], "") == long


def test_an_output_that_repeats_itself() -> None:
    follower = OutputPieces()
    follower.add(None, "x\n" * 30 + "y\n")
    assert follower.add("x\n" * 100, "") == "x\n" * 100 + "y\n"

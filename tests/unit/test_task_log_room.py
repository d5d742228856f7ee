"""How much text a run may add to the task's log on the server."""

from __future__ import annotations

import pytest

from trio_afrender.config import SentAmounts
from trio_afrender.task.run_state import LogRoom

SENT = SentAmounts(log=4096, log_lines=100)


@pytest.mark.parametrize(
    ("size", "lines", "texts", "kept", "dropped"),
    [
        (100, 10, ["a", "b\nc"], ["a", "b\nc"], 0),
        (100, 2, ["a", "b\nc"], ["a", "b"], 1),
        (100, 2, ["a\nb", "c", "d\ne"], ["a\nb", "", ""], 3),
        (6, 10, ["abc", "defg\nh"], ["abc", ""], 2),
        (8, 10, ["ééé\né"], ["ééé"], 1),
        (10, 10, ["\ud800\n\ud800"], ["\ud800\n\ud800"], 0),
        (4, 10, ["longer than all\na"], [""], 2),
    ],
)
def test_whole_lines_are_kept_from_the_first_on_and_the_others_counted(
    size: int, lines: int, texts: list[str], kept: list[str], dropped: int
) -> None:
    room = LogRoom(size=size, lines=lines)
    assert [room.take(text) for text in texts] == kept
    assert room.dropped == dropped
    assert (f"{dropped} more lines were left out" in room.left_out(SENT)) is (dropped > 0)


def test_a_flood_is_cut_to_its_limits_in_one_pass() -> None:
    room = LogRoom(size=SENT.log, lines=SENT.log_lines)
    kept = room.take("\n".join(f"line {number}" for number in range(200_000)))
    assert kept.count("\n") == 99
    assert room.left_out(SENT) == (
        "199900 more lines were left out: the limits are 4096 bytes (sent.log)"
        " and 100 lines (sent.log_lines)"
    )

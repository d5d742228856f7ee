"""The words of `trio_afrender why`."""

from __future__ import annotations

import pytest

from trio_afrender.cli.commands.why import _describe


@pytest.mark.parametrize(
    ("started", "shown"), [(100.0, "+1.00s exit"), (None, "+0.00s exit"), (200.0, "+0.00s exit")]
)
def test_times_count_from_the_start_of_the_task(started: float | None, shown: str) -> None:
    """The clock of the host may have been set back meanwhile."""
    step = {"time": 101.0, "event": "exit", "text": "the process ended"}
    explained = {"time": 101.0, "event": "class", "text": "no seat"}
    why = [explained, step]
    facts = {"run": "r", "state": "FinishedSuccess", "started": started, "why": why}
    lines = list(_describe(facts))
    assert any(shown in line for line in lines)
    assert "    +0.00s class: no seat" in lines

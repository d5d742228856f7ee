"""OOM scores: supervisor and task supervisors are protected, tasks are not."""

from __future__ import annotations

import pytest

from trio_afrender.supervisor.daemon import OOM_SCORE, divide_scores


@pytest.mark.parametrize(
    ("score", "lowered", "scores"),
    [
        (0, True, (0, OOM_SCORE)),
        (-500, True, (0, OOM_SCORE)),
        (300, True, (300, OOM_SCORE)),
        (0, False, None),
        (300, False, None),
        (-500, False, (0, -500)),  # set by a unit file, for a user who may not lower it
    ],
)
def test_no_task_inherits_protection(
    score: int, lowered: bool, scores: tuple[int, int] | None
) -> None:
    assert divide_scores(score, lowered=lowered) == scores

"""A command that at times fails or is skipped, to test a farm.

With ``AF_TEST_SEED`` in the task's environment a task always gets the same result.
"""

from __future__ import annotations

import random
from typing import Any

from services import service

__all__ = ("test",)

parser = "generic"

FAIL_BELOW = 0.01
SKIP_BELOW = 0.03


class test(service.service):
    """One task in a hundred gets no command, two more are skipped."""

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        value = self._make_random().random()
        if value < FAIL_BELOW:
            self.addLog(f"{value} < {FAIL_BELOW}")
            taskInfo["command"] = ""
        elif value < SKIP_BELOW:
            self.addLog(f"{value} < {SKIP_BELOW}")
            self.skip_task = True

    def _make_random(self) -> random.Random:
        seed = self.taskInfo["environment"].get("AF_TEST_SEED", "")
        if not seed:
            return random.Random()  # noqa: S311 - not for secrets
        ids = [str(self.taskInfo.get(key, "")) for key in ("job_id", "block_id", "task_id")]
        return random.Random("/".join([seed, *ids]))  # noqa: S311 - as above

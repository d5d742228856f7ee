"""A command that fails or is skipped now and then, to see what a farm makes of it.

With ``AF_TEST_SEED`` in the task's environment the same task always meets the same fate.
"""

from __future__ import annotations

import random
from typing import Any

from services import service

__all__ = ("test",)

parser = "generic"

FAILS = 0.01
SKIPS = 0.03


class test(service.service):
    """One task of a hundred has no command, two more are skipped."""

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        value = self._dice().random()
        if value < FAILS:
            self.addLog(f"{value} < {FAILS}")
            taskInfo["command"] = ""
        elif value < SKIPS:
            self.addLog(f"{value} < {SKIPS}")
            self.skip_task = True

    def _dice(self) -> random.Random:
        seed = self.taskInfo["environment"].get("AF_TEST_SEED", "")
        if not seed:
            return random.Random()  # noqa: S311 - faults, no secrets
        ids = [str(self.taskInfo.get(key, "")) for key in ("job_id", "block_id", "task_id")]
        return random.Random("/".join([seed, *ids]))  # noqa: S311 - as above

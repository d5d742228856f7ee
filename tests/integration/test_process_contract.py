"""The contract of `ProcessTree`, with real trees of a process that is not a subreaper.

`test_process_subreaper` and `test_process_supervised_tree` run it in other settings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from support.process import RealTrees
from support.process_contract import CHECKS, TreeStarter


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[TreeStarter], Awaitable[None]]) -> None:
    await check(RealTrees())

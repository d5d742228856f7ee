"""The contract of all children, kept by real processes, with and without a subreaper."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from child_contract import CHECKS, Stage
from child_stage import RealStage


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[Stage], Awaitable[None]]) -> None:
    await check(RealStage())

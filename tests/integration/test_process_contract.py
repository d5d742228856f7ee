"""The contract of all children, kept by real processes, with and without a subreaper."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from support.process import RealStage
from support.process_contract import CHECKS, Stage


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[Stage], Awaitable[None]]) -> None:
    await check(RealStage())

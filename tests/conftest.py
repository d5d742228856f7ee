"""Makes the packages of this folder importable for tests, configures hypothesis, keeps signals."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# No time limits: other load on the machine may slow a test down.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""None on Windows."""
_KEPT = tuple(each for each in (signal.SIGINT, signal.SIGTERM, _HANGUP) if each is not None)


@pytest.fixture
def plain_hangup() -> Iterator[None]:
    """Have processes of the test end on SIGHUP, also if this one was started by ``nohup``."""
    before = None if _HANGUP is None else signal.signal(_HANGUP, signal.SIG_DFL)
    yield
    if _HANGUP is not None:
        signal.signal(_HANGUP, before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; the test is skipped by name where there is none."""
    from support.page_viewer import find_chromium, open_browser

    find_chromium()
    with open_browser() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Restore the signals that a command which runs in this process ignores at its end.

    Processes of later tests would inherit that: they would not end on SIGTERM.
    """
    before = {number: signal.getsignal(number) for number in _KEPT}
    try:
        return (yield)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What the doctor makes of the facts of a Windows host."""

from __future__ import annotations

import pytest

from trio_afrender.cli.doctor.finding import OK, WARNING
from trio_afrender.cli.doctor.windows_host import WindowsFacts, compare_windows

STORE = r"C:\temp\afanasy"


@pytest.mark.parametrize(
    ("facts", "check", "level", "text"),
    [
        (WindowsFacts(session=0), "session", WARNING, "session 0"),
        (WindowsFacts(session=0, titles=("x",)), "session", WARNING, "af_render_windowsmustdie"),
        (WindowsFacts(session=1), "session", OK, "session 1"),
        (WindowsFacts(sleeps_after=1800), "power", WARNING, "after 30 minutes"),
        (WindowsFacts(sleeps_after=0), "power", OK, "does not sleep"),
        (WindowsFacts(long_paths=False), "paths", WARNING, "260"),
        (WindowsFacts(long_paths=True), "paths", OK, "on"),
        (WindowsFacts(excluded=(), store=STORE), "scanner", WARNING, STORE),
        (WindowsFacts(excluded=("C:\\Temp",), store=STORE), "scanner", OK, "does not scan"),
        (WindowsFacts(excluded=("C:\\te",), store=STORE), "scanner", WARNING, STORE),
        (WindowsFacts(excluded=(STORE,), store="C:/temp/afanasy"), "scanner", OK, "does not"),
    ],
)
def test_facts_are_judged(facts: WindowsFacts, check: str, level: str, text: str) -> None:
    (found,) = compare_windows(facts)
    assert (found.check, found.level) == (check, level)
    assert text in found.text
    assert bool(found.fix) == (level == WARNING)


def test_what_cannot_be_read_is_no_finding() -> None:
    assert list(compare_windows(WindowsFacts())) == []

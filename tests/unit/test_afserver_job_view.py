"""An afserver's answers about a job become a view."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trio_afrender.afserver.job_view import RemoteTexts, make_view
from trio_afrender.errors import ProtocolError
from trio_afrender.jobs.job_file import parse_job
from trio_afrender.jobs.views import JobView

READY, RUNNING, DEPENDS, TIME, DONE, ERROR = 1, 2, 4, 8, 16, 32
SKIPPED, ERROR_READY, RECONNECT, SUSPENDED, SOLVED = 1 << 8, 1 << 17, 1 << 18, 1 << 20, 1 << 62
SPEC = parse_job({"job": {"name": "j", "blocks": [{"name": "b", "tasks": [{}, {}, {}]}]}})


def view(states: Sequence[object], job: dict[str, object] | None = None) -> JobView:
    rows = [{"st": state} for state in states]
    return make_view(SPEC, 7, job or {}, [rows], RemoteTexts())


@pytest.mark.parametrize(
    ("states", "names", "state"),
    [
        ([READY, RUNNING, DONE], ["ready", "running", "done"], "running"),
        ([DONE, DONE | SOLVED, DONE | SKIPPED], ["done", "done", "skipped"], "done"),
        ([DONE, ERROR, DONE], ["done", "error", "done"], "error"),
        ([ERROR_READY | READY, DONE, DONE], ["ready", "done", "done"], "running"),
        ([RECONNECT, DONE, DONE], ["running", "done", "done"], "running"),
        ([ERROR, DEPENDS, DEPENDS], ["error", "killed", "killed"], "error"),
        ([DONE, DEPENDS, DEPENDS], ["done", "waiting", "waiting"], "running"),
        ([ERROR, DEPENDS, SUSPENDED], ["error", "waiting", "waiting"], "running"),
        ([ERROR, TIME, DONE], ["error", "waiting", "done"], "running"),
    ],
)
def test_states_of_tasks_and_job(states: list[int], names: list[str], state: str) -> None:
    found = view(states)
    assert ([task.state for task in found.tasks], found.state) == (names, state)


def test_tasks_of_a_waiting_block_are_waiting_although_listed_as_ready() -> None:
    found = view([READY, READY, READY], {"blocks": [{"st": DEPENDS}]})
    assert (found.tasks[0].state, found.state) == ("waiting", "running")


def test_attempts_are_errors_and_the_present_run() -> None:
    rows = [
        {"st": RUNNING, "err": 1, "str": 4, "tst": 10, "tdn": 12},
        {"st": ERROR, "err": 2, "str": 2, "tst": 10, "tdn": 12},
        {"st": DONE | SKIPPED, "tdn": 3},
    ]
    one, two, three = make_view(SPEC, 7, {}, [rows], RemoteTexts()).tasks
    assert (one.attempts, one.run, one.started, one.finished) == (2, "4", 10.0, None)
    assert (two.attempts, two.finished) == (2, 12.0)
    assert (three.attempts, three.run, three.started) == (0, "", None)


def test_tasks_that_were_appended_on_the_server_are_shown() -> None:
    rows = [{"st": DONE}] * 4
    found = make_view(SPEC, 7, {}, [rows, rows[:1]], RemoteTexts())
    assert [task.name for task in found.tasks] == ["task 0", "task 1", "task 2", "task 3", "task 0"]
    assert found.tasks[4].block_name == "block 1"


@pytest.mark.parametrize("unreadable", ["16", None, 1.5])
def test_an_unreadable_state_is_a_protocol_error(unreadable: object) -> None:
    with pytest.raises(ProtocolError, match="the progress of job 7 cannot be read"):
        view([unreadable, DONE, DONE])
    with pytest.raises(ProtocolError, match="the progress of job 7 cannot be read"):
        make_view(SPEC, 7, {}, [["x"]], RemoteTexts())

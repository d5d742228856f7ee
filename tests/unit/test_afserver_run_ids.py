"""Task keys become runs: which exec resumes a run, which starts one, and which runs have ended."""

from __future__ import annotations

from itertools import count
from typing import TypedDict, Unpack

from trio_afrender.afserver.lost_tasks import LostTasks
from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.afserver.server_view import ServerView
from trio_afrender.protocol.afanasy import RenderEvents
from trio_afrender.protocol.messages import Events, Register, RunRef, TaskExec, TaskKey, TaskStatus

KEY = TaskKey(2, 0, 7)
OTHER = TaskKey(2, 0, 8)


def make_exec(key: TaskKey = KEY, *, run: str = "", start: int = 1000) -> TaskExec:
    return TaskExec(run=run, **key._asdict(), time_start=start)


def make_runs(*running: TaskExec, undelivered: tuple[TaskExec, ...] = ()) -> RunIds:
    numbers = count(1)
    runs = RunIds(lambda task: f"{task.key}#{next(numbers)}")
    runs.take(Register(name="n1", running=running, undelivered=undelivered))
    return runs


class EventFields(TypedDict, total=False):
    tasks: tuple[TaskExec, ...]
    closes: tuple[TaskKey, ...]
    stops: tuple[TaskKey, ...]
    outputs: tuple[TaskKey, ...]
    listens_add: tuple[TaskKey, ...]
    listens_rem: tuple[TaskKey, ...]
    instruction: str
    command: str
    log: str


def make_events(**fields: Unpack[EventFields]) -> RenderEvents:
    return RenderEvents(id=1, **fields)


def events_of(runs: RunIds, **fields: Unpack[EventFields]) -> Events:
    events = runs.apply_update_answer(make_events(**fields)).events
    assert events is not None
    return events


# -- updates -------------------------------------------------------------------------------------


def test_an_exec_in_an_update_answer_is_a_new_run() -> None:
    runs = make_runs()
    events = events_of(runs, tasks=(make_exec(),))
    assert [task.run for task in events.tasks] == ["2.0.7#1"]
    assert runs.key_of("2.0.7#1") == KEY


def test_an_exec_of_a_key_that_runs_closes_the_older_run() -> None:
    runs = make_runs(make_exec(run="old"))
    events = events_of(runs, tasks=(make_exec(start=2000),))
    assert [task.run for task in events.tasks] == ["2.0.7#1"]
    assert [ref.run for ref in events.closes] == ["old"]
    assert runs.key_of("old") is None, "nothing more of it is reported"


def test_a_close_concerns_the_run_of_its_key() -> None:
    runs = make_runs(make_exec(run="r1"), make_exec(OTHER, run="r2"))
    events = events_of(runs, closes=(KEY,))
    assert events.closes == (RunRef(run="r1", job=2, block=0, task=7),)
    assert runs.key_of("r1") is None
    assert runs.key_of("r2") == OTHER


def test_a_close_with_an_exec_of_its_key_concerns_an_earlier_run() -> None:
    """A lost task is closed and started again in the same cycle of the server."""
    runs = make_runs(make_exec(run="old"))
    events = events_of(runs, tasks=(make_exec(start=2000),), closes=(KEY,))
    assert [ref.run for ref in events.closes] == ["old"]
    assert runs.key_of(events.tasks[0].run) == KEY


def test_a_start_and_a_stop_in_one_message_are_of_one_run() -> None:
    runs = make_runs()
    events = events_of(runs, tasks=(make_exec(),), stops=(KEY,))
    assert [ref.run for ref in events.stops] == [events.tasks[0].run]


def test_a_stop_of_an_unknown_task_is_returned_separately() -> None:
    result = make_runs().apply_update_answer(make_events(stops=(KEY,)))
    assert result.events is None
    assert result.unknown == {KEY}


def test_a_stop_that_crosses_the_outcome_is_ignored() -> None:
    """The outcome was on its way when the task was stopped, so its close is in the same message."""
    result = make_runs(undelivered=(make_exec(run="r1"),)).apply_update_answer(
        make_events(stops=(KEY,), closes=(KEY,))
    )
    assert result.unknown == frozenset()


def test_a_request_for_the_output_of_an_unknown_task_is_passed_on() -> None:
    events = events_of(make_runs(), outputs=(KEY,), listens_add=(KEY,), listens_rem=(KEY,))
    assert [ref.key for ref in events.outputs] == [KEY]
    assert events.listens_add == events.listens_rem == ()


def test_instructions_and_logs_are_passed_on() -> None:
    events = events_of(make_runs(), instruction="launch", command="true", log="hello")
    assert events == Events(instruction="launch", command="true", log="hello")


# -- the answer to a register --------------------------------------------------------------------


def test_a_listed_task_in_a_register_answer_is_resumed() -> None:
    runs = make_runs(make_exec(run="r1"), undelivered=(make_exec(OTHER, run="r2"),))
    answer = runs.registered(make_events(tasks=(make_exec(), make_exec(OTHER))), listed=True)
    assert set(answer.registered.resume) == {"r1", "r2"}
    assert answer.registered.stop == ()
    assert answer.events is None, "nothing is started twice"


def test_an_unlisted_task_in_a_register_answer_is_started() -> None:
    answer = make_runs().registered(make_events(tasks=(make_exec(),)), listed=True)
    assert answer.registered.resume == ()
    assert answer.events is not None
    assert [task.run for task in answer.events.tasks] == ["2.0.7#1"]


def test_a_stop_in_a_register_answer_withdraws_the_task() -> None:
    runs = make_runs(make_exec(run="r1"), make_exec(OTHER, run="r2"))
    answer = runs.registered(make_events(stops=(KEY, TaskKey(9, 9, 9))), listed=True)
    assert answer.registered.stop == ("r1",)
    assert answer.registered.resume == ("r2",)
    assert answer.events is None
    assert runs.key_of("r1") is None


def test_a_task_that_is_resumed_and_stopped_is_stopped_with_a_report() -> None:
    runs = make_runs(make_exec(run="r1"))
    answer = runs.registered(make_events(tasks=(make_exec(),), stops=(KEY,)), listed=True)
    assert answer.registered.resume == ("r1",)
    assert answer.events is not None
    assert [ref.run for ref in answer.events.stops] == ["r1"]


def test_a_register_without_tasks_withdraws_them_all() -> None:
    runs = make_runs(make_exec(run="r1"))
    answer = runs.registered(make_events(), listed=False)
    assert (answer.registered.resume, answer.registered.stop) == ((), ("r1",))
    assert runs.tasks == ()


def test_of_two_runs_of_a_task_the_running_one_counts() -> None:
    runs = make_runs(make_exec(run="new"), undelivered=(make_exec(run="old"),))
    assert [task.run for task in runs.tasks] == ["new"]
    answer = runs.registered(make_events(tasks=(make_exec(),)), listed=True)
    assert answer.registered.resume == ("new",)
    assert answer.registered.stop == ("old",)


# -- continuing without a register ---------------------------------------------------------------


def make_view(tasks: dict[TaskKey, int] | None) -> ServerView:
    return ServerView(id=5, name="n1", online=True, time_launch=1, tasks=tasks)


def test_a_run_that_both_sides_list_is_resumed() -> None:
    runs = make_runs(make_exec(run="r1"), undelivered=(make_exec(OTHER, run="r2"),))
    answer = runs.continue_runs(make_view({KEY: 1000, OTHER: 1000}))
    assert answer.registered.id == 5
    assert set(answer.registered.resume) == {"r1", "r2"}
    assert answer.events is None
    assert answer.unknown == frozenset()


def test_an_outcome_of_an_unlisted_task_has_arrived() -> None:
    runs = make_runs(undelivered=(make_exec(run="r1"),))
    answer = runs.continue_runs(make_view({}))
    assert answer.registered.stop == ()
    assert answer.events == Events(closes=(RunRef(run="r1", job=2, block=0, task=7),))


def test_a_run_of_an_unlisted_task_is_withdrawn() -> None:
    answer = make_runs(make_exec(run="r1")).continue_runs(make_view({}))
    assert answer.registered.stop == ("r1",)


def test_another_start_of_a_key_is_another_run() -> None:
    """The outcome arrived without an answer, and the exec that followed was lost as well."""
    runs = make_runs(undelivered=(make_exec(run="r1"),))
    answer = runs.continue_runs(make_view({KEY: 2000}))
    assert answer.events is not None
    assert [ref.run for ref in answer.events.closes] == ["r1"]
    assert answer.unknown == {KEY}


def test_an_unreadable_list_withdraws_nothing() -> None:
    runs = make_runs(make_exec(run="r1"), undelivered=(make_exec(OTHER, run="r2"),))
    answer = runs.continue_runs(make_view(None))
    assert set(answer.registered.resume) == {"r1", "r2"}
    assert answer.registered.stop == ()


# -- tasks that only the server lists ------------------------------------------------------------


def test_a_lost_exec_is_given_back() -> None:
    runs, lost = make_runs(), LostTasks()
    lost.update_view({KEY})
    lost.answered(runs)
    assert lost.returns == {KEY: TaskStatus.GiveBack}
    lost.closed((KEY,))
    assert lost.returns == {}


def test_an_exec_in_the_next_answer_is_not_given_back() -> None:
    runs, lost = make_runs(), LostTasks()
    lost.update_view({KEY})
    runs.apply_update_answer(make_events(tasks=(make_exec(),)))
    lost.answered(runs)
    assert lost.returns == {}


def test_a_stop_of_a_lost_exec_is_answered_with_killed() -> None:
    runs, lost = make_runs(), LostTasks()
    lost.compared(make_view({KEY: 1000}), runs, {KEY})
    assert lost.returns == {KEY: TaskStatus.FinishedKilled}
    lost.answered(runs)
    assert lost.returns == {KEY: TaskStatus.FinishedKilled}, "not given back as well"


def test_a_late_stop_of_a_closed_run_is_ignored() -> None:
    """The server applies its outcome in the next cycle. A report now could end the task's next run."""
    runs, lost = make_runs(make_exec(run="r1")), LostTasks()
    runs.apply_update_answer(make_events(closes=(KEY,)))
    lost.compared(make_view({KEY: 1000}), runs, {KEY})
    lost.answered(runs)
    assert lost.returns == {}
    lost.compared(make_view({KEY: 2000}), runs, {KEY})
    assert lost.returns == {KEY: TaskStatus.FinishedKilled}


def test_a_stop_of_a_task_that_no_side_lists_is_ignored() -> None:
    runs, lost = make_runs(), LostTasks()
    lost.compared(make_view({}), runs, {KEY})
    assert lost.returns == {}

"""Keys of the server become runs: which exec goes on with a run, which begins one, what is over."""

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


class Said(TypedDict, total=False):
    tasks: tuple[TaskExec, ...]
    closes: tuple[TaskKey, ...]
    stops: tuple[TaskKey, ...]
    outputs: tuple[TaskKey, ...]
    listens_add: tuple[TaskKey, ...]
    listens_rem: tuple[TaskKey, ...]
    instruction: str
    command: str
    log: str


def say(**fields: Unpack[Said]) -> RenderEvents:
    return RenderEvents(id=1, **fields)


def events_of(runs: RunIds, **fields: Unpack[Said]) -> Events:
    events = runs.apply_update_answer(say(**fields)).events
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
    assert runs.key_of("old") is None, "nothing more is said of it"


def test_a_close_is_of_the_run_of_its_key() -> None:
    runs = make_runs(make_exec(run="r1"), make_exec(OTHER, run="r2"))
    events = events_of(runs, closes=(KEY,))
    assert events.closes == (RunRef(run="r1", job=2, block=0, task=7),)
    assert runs.key_of("r1") is None
    assert runs.key_of("r2") == OTHER


def test_a_close_beside_an_exec_of_its_key_is_about_an_earlier_run() -> None:
    """A lost task is closed with the server's turn, and started anew in the same turn."""
    runs = make_runs(make_exec(run="old"))
    events = events_of(runs, tasks=(make_exec(start=2000),), closes=(KEY,))
    assert [ref.run for ref in events.closes] == ["old"]
    assert runs.key_of(events.tasks[0].run) == KEY


def test_a_start_and_a_stop_in_one_message_are_of_one_run() -> None:
    runs = make_runs()
    events = events_of(runs, tasks=(make_exec(),), stops=(KEY,))
    assert [ref.run for ref in events.stops] == [events.tasks[0].run]


def test_a_stop_of_a_task_that_we_do_not_run_is_told_apart() -> None:
    heard = make_runs().apply_update_answer(say(stops=(KEY,)))
    assert heard.events is None
    assert heard.unknown == {KEY}


def test_a_stop_that_crosses_the_outcome_is_nothing() -> None:
    """The outcome was on its way when the task was stopped: its close comes along."""
    heard = make_runs(undelivered=(make_exec(run="r1"),)).apply_update_answer(
        say(stops=(KEY,), closes=(KEY,))
    )
    assert heard.unknown == frozenset()


def test_output_of_a_task_that_we_do_not_run_is_asked_for_all_the_same() -> None:
    events = events_of(make_runs(), outputs=(KEY,), listens_add=(KEY,), listens_rem=(KEY,))
    assert [ref.key for ref in events.outputs] == [KEY]
    assert events.listens_add == events.listens_rem == ()


def test_what_is_not_about_tasks_is_passed_on() -> None:
    events = events_of(make_runs(), instruction="launch", command="true", log="hello")
    assert events == Events(instruction="launch", command="true", log="hello")


# -- the answer to a register --------------------------------------------------------------------


def test_a_listed_task_that_comes_again_goes_on() -> None:
    runs = make_runs(make_exec(run="r1"), undelivered=(make_exec(OTHER, run="r2"),))
    answer = runs.registered(say(tasks=(make_exec(), make_exec(OTHER))), listed=True)
    assert set(answer.registered.resume) == {"r1", "r2"}
    assert answer.registered.stop == ()
    assert answer.events is None, "nothing is started twice"


def test_a_task_that_was_not_listed_begins() -> None:
    answer = make_runs().registered(say(tasks=(make_exec(),)), listed=True)
    assert answer.registered.resume == ()
    assert answer.events is not None
    assert [task.run for task in answer.events.tasks] == ["2.0.7#1"]


def test_a_stop_in_a_register_answer_takes_the_task_away() -> None:
    runs = make_runs(make_exec(run="r1"), make_exec(OTHER, run="r2"))
    answer = runs.registered(say(stops=(KEY, TaskKey(9, 9, 9))), listed=True)
    assert answer.registered.stop == ("r1",)
    assert answer.registered.resume == ("r2",)
    assert answer.events is None
    assert runs.key_of("r1") is None


def test_a_task_that_goes_on_and_is_stopped_is_stopped_with_a_report() -> None:
    runs = make_runs(make_exec(run="r1"))
    answer = runs.registered(say(tasks=(make_exec(),), stops=(KEY,)), listed=True)
    assert answer.registered.resume == ("r1",)
    assert answer.events is not None
    assert [ref.run for ref in answer.events.stops] == ["r1"]


def test_a_register_without_our_tasks_takes_them_all_away() -> None:
    runs = make_runs(make_exec(run="r1"))
    answer = runs.registered(say(), listed=False)
    assert (answer.registered.resume, answer.registered.stop) == ((), ("r1",))
    assert runs.tasks == ()


def test_of_two_runs_of_a_task_the_running_one_counts() -> None:
    runs = make_runs(make_exec(run="new"), undelivered=(make_exec(run="old"),))
    assert [task.run for task in runs.tasks] == ["new"]
    answer = runs.registered(say(tasks=(make_exec(),)), listed=True)
    assert answer.registered.resume == ("new",)
    assert answer.registered.stop == ("old",)


# -- going on without a register -----------------------------------------------------------------


def believe(tasks: dict[TaskKey, int] | None) -> ServerView:
    return ServerView(id=5, name="n1", online=True, time_launch=1, tasks=tasks)


def test_what_both_believe_goes_on() -> None:
    runs = make_runs(make_exec(run="r1"), undelivered=(make_exec(OTHER, run="r2"),))
    answer = runs.continue_runs(believe({KEY: 1000, OTHER: 1000}))
    assert answer.registered.id == 5
    assert set(answer.registered.resume) == {"r1", "r2"}
    assert answer.events is None
    assert answer.unknown == frozenset()


def test_an_outcome_that_is_not_waited_for_has_arrived() -> None:
    runs = make_runs(undelivered=(make_exec(run="r1"),))
    answer = runs.continue_runs(believe({}))
    assert answer.registered.stop == ()
    assert answer.events == Events(closes=(RunRef(run="r1", job=2, block=0, task=7),))


def test_a_run_that_is_not_believed_in_was_taken_away() -> None:
    answer = make_runs(make_exec(run="r1")).continue_runs(believe({}))
    assert answer.registered.stop == ("r1",)


def test_another_start_of_a_key_is_another_run() -> None:
    """The outcome arrived, its answer did not, and the task was handed out anew: lost as well."""
    runs = make_runs(undelivered=(make_exec(run="r1"),))
    answer = runs.continue_runs(believe({KEY: 2000}))
    assert answer.events is not None
    assert [ref.run for ref in answer.events.closes] == ["r1"]
    assert answer.unknown == {KEY}


def test_a_list_that_cannot_be_read_takes_nothing_away() -> None:
    runs = make_runs(make_exec(run="r1"), undelivered=(make_exec(OTHER, run="r2"),))
    answer = runs.continue_runs(believe(None))
    assert set(answer.registered.resume) == {"r1", "r2"}
    assert answer.registered.stop == ()


# -- what only the server believes ---------------------------------------------------------------


def test_an_exec_that_was_lost_is_given_back() -> None:
    runs, doubts = make_runs(), LostTasks()
    doubts.update_view({KEY})
    doubts.answered(runs)
    assert doubts.returns == {KEY: TaskStatus.GiveBack}
    doubts.closed((KEY,))
    assert doubts.returns == {}


def test_an_exec_that_was_on_its_way_is_not() -> None:
    runs, doubts = make_runs(), LostTasks()
    doubts.update_view({KEY})
    runs.apply_update_answer(say(tasks=(make_exec(),)))
    doubts.answered(runs)
    assert doubts.returns == {}


def test_a_stop_for_a_lost_exec_is_answered_as_killed() -> None:
    runs, doubts = make_runs(), LostTasks()
    doubts.compared(believe({KEY: 1000}), runs, {KEY})
    assert doubts.returns == {KEY: TaskStatus.FinishedKilled}
    doubts.answered(runs)
    assert doubts.returns == {KEY: TaskStatus.FinishedKilled}, "not given back as well"


def test_a_late_stop_of_what_we_ended_is_nothing() -> None:
    """Its outcome waits for the server's turn: a report now could hit the task's next run."""
    runs, doubts = make_runs(make_exec(run="r1")), LostTasks()
    runs.apply_update_answer(say(closes=(KEY,)))
    doubts.compared(believe({KEY: 1000}), runs, {KEY})
    doubts.answered(runs)
    assert doubts.returns == {}
    doubts.compared(believe({KEY: 2000}), runs, {KEY})
    assert doubts.returns == {KEY: TaskStatus.FinishedKilled}


def test_a_stop_of_what_nobody_runs_is_nothing() -> None:
    runs, doubts = make_runs(), LostTasks()
    doubts.compared(believe({}), runs, {KEY})
    assert doubts.returns == {}

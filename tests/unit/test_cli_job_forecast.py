"""When a job ends, by what its tasks have taken."""

from __future__ import annotations

from collections import Counter

import pytest

from trio_afrender.afserver.job_view import RemoteTexts
from trio_afrender.cli.job_forecast import JobForecast, Outlook
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec
from trio_afrender.jobs.views import JobView, TaskView

SPEC = JobSpec(
    blocks=(BlockSpec(name="b", flags=1, frame_first=1, frame_last=100, frames_per_task=2),)
)


def task(number: int, state: str, started: float | None = None, **more: object) -> TaskView:
    fields: dict[str, object] = {"run": f"run{number}", **more}
    return TaskView(
        job=2,
        block=0,
        task=number,
        name=f"frame {number}",
        block_name="b",
        service="generic",
        state=state,
        started=started,
        attempt=1,
        texts=RemoteTexts(),
        **fields,  # type: ignore[arg-type] # the attributes of the class
    )


def job(*tasks: TaskView, state: str = "running") -> JobView:
    counts = Counter(each.state for each in tasks)
    return JobView(id=2, name="j", user_name="u", state=state, counts=counts, tasks=tasks)


def test_without_any_sign_nothing_is_promised() -> None:
    forecast = JobForecast(SPEC)
    outlook = forecast.update(job(task(0, "ready"), task(1, "running", 100.0)), 101.0)
    assert outlook.seconds_left is None
    assert outlook.frames_per_minute is None
    assert outlook.text(101.0).startswith("slowest: b / frame 1 1.0 s")


def test_a_percentage_gives_the_end_of_a_task_and_of_those_behind_it() -> None:
    forecast = JobForecast(SPEC)
    outlook = forecast.update(job(task(0, "running", 100.0, percent=25), task(1, "ready")), 110.0)
    # 10 s for 25 %: 30 s more, and 40 s for the next one.
    assert outlook.seconds_left == pytest.approx(70)


def test_ended_tasks_give_the_time_of_the_others() -> None:
    forecast = JobForecast(SPEC)
    done = [task(n, "done", 100.0, finished=120.0, percent=100) for n in range(2)]
    running = [task(n, "running", 120.0) for n in (2, 3)]
    ready = [task(n, "ready") for n in range(4, 10)]
    outlook = forecast.update(job(*done, *running, *ready), 125.0)
    # Two at once: 2 x 15 s for the running ones, 6 x 20 s for the others, by two.
    assert outlook.seconds_left == pytest.approx((2 * 15 + 6 * 20) / 2)


def test_the_curve_of_a_block_counts_more_than_the_percentage() -> None:
    """A renderer that loads for 80 s at 0 % and then counts to 100 % within 20 s."""
    forecast = JobForecast(SPEC)
    for now in range(0, 100, 2):
        percent = max(0, (now - 80) * 5)
        forecast.update(job(task(0, "running", 0.0, percent=percent)), float(now))
    done = task(0, "done", 0.0, finished=100.0, percent=100)
    outlook = forecast.update(job(done, task(1, "running", 100.0, percent=50)), 190.0)
    # By the percentage alone, 90 s more; by the curve, half of the last 20 s.
    assert outlook.seconds_left == pytest.approx(10, abs=3)


def test_a_task_that_takes_longer_than_all_others_is_not_expected_in_the_past() -> None:
    forecast = JobForecast(SPEC)
    done = task(0, "done", 0.0, finished=10.0, percent=100)
    outlook = forecast.update(job(done, task(1, "running", 10.0)), 500.0)
    assert outlook.seconds_left == 0.0
    assert outlook.slowest_seconds == 490.0


def test_another_attempt_begins_a_new_curve() -> None:
    forecast = JobForecast(SPEC)
    forecast.update(job(task(0, "running", 0.0, percent=90)), 90.0)
    outlook = forecast.update(job(task(0, "running", 100.0, percent=10, run="again")), 110.0)
    assert outlook.seconds_left == pytest.approx(90)


def test_frames_a_minute_count_done_tasks_and_frames_of_running_ones() -> None:
    forecast = JobForecast(SPEC)
    forecast.update(job(task(0, "running", 0.0), task(1, "ready")), 0.0)
    views = [task(0, "done", 0.0, finished=30.0, percent=100), task(1, "running", 30.0, frame=1)]
    outlook = forecast.update(job(*views), 60.0)
    assert outlook.frames_per_minute == pytest.approx(3)  # two of the first task, one of the second


def test_old_frames_do_not_count_in_the_rate() -> None:
    forecast = JobForecast(SPEC)
    rates = []
    for minute in range(30):
        done = [task(n, "done", 0.0, finished=1.0, percent=100) for n in range(min(minute, 10))]
        rates.append(forecast.update(job(*done, task(49, "running", 0.0)), minute * 60.0))
    assert rates[8].frames_per_minute == pytest.approx(2)
    assert rates[29].frames_per_minute is None  # nothing ended in the last five minutes


def test_a_job_that_is_over_has_no_end_ahead() -> None:
    forecast = JobForecast(SPEC)
    outlook = forecast.update(
        job(task(0, "done", 0.0, finished=10.0, percent=100), state="done"), 20.0
    )
    assert outlook.seconds_left is None


def test_the_line_for_people() -> None:
    outlook = Outlook(
        seconds_left=95.0, frames_per_minute=12.345, slowest="b / frame 3", slowest_seconds=61.0
    )
    text = outlook.text(1_000_000.0)
    assert text.startswith("ends about ")
    assert text.endswith(", in 1:35 min; 12.3 frames a minute; slowest: b / frame 3 1:01 min")
    assert Outlook().text(0.0) == ""

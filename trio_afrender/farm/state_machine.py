"""The farm without any I/O: a state machine told of messages, wishes and the time.

Times are seconds on whatever clock the caller uses, never Unix time. Nothing here waits, so
every call is atomic; `take_effects` says what the world outside has to do afterwards.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from trio_afrender.farm import renders, scheduler, transitions, updates, user_requests
from trio_afrender.farm.model import Job, RenderState, Task
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.snapshots import view_job, view_render
from trio_afrender.farm.state import FarmState, OutgoingMessages
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.views import JobView, RenderView, Texts
from trio_afrender.protocol.messages import (
    Events,
    Reason,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskKey,
    Update,
)

__all__ = ("FarmStateMachine",)

_PUSHED = ("heartbeat_sec", "resources_update_period", "zombie_time", "exit_no_task_time")


def _random_run() -> str:
    return secrets.token_hex(12)


class FarmStateMachine:
    """Jobs, tasks, runs and renders of one farm.

    A *session* is one link of a render, any number that is not used again. Messages of a session
    that has been superseded have no effect.
    """

    def __init__(
        self,
        texts: Texts,
        *,
        settings: FarmSettings,
        wall: Callable[[], float],
        first_job: int = 2,
        make_run: Callable[[], str] = _random_run,
    ) -> None:
        self._book = FarmState(
            settings=settings, wall=wall, make_run=make_run, texts=texts, next_job=first_job
        )

    # The world outside

    def take_effects(self) -> OutgoingMessages:
        """What has to be done since the last call."""
        effects, self._book.effects = self._book.effects, OutgoingMessages()
        return effects

    @property
    def due(self) -> float:
        """When `tick` must be called at the latest."""
        return self._book.due

    def tick(self, now: float) -> None:
        """Do what time brings."""
        renders.tick(self._book, now)
        self._settle(now)

    # Renders

    def register(
        self, message: Register, session: int, peer: str, now: float
    ) -> Registered | Refused:
        answer = renders.register(self._book, message, session, peer, now)
        self._settle(now)
        return answer

    def seen(self, name: str, session: int, now: float, *, busy: bool) -> None:
        """Note a sign of life; while `busy` with what it sent we do not call it silent."""
        render = self._book.renders[name]
        if render.session == session:
            renders.seen(render, session, now)
            render.busy = busy

    def apply(self, name: str, session: int, update: Update, now: float) -> tuple[RunRef, ...]:
        """Take an update in. Give what it returns to `close` once its texts are stored."""
        render = self._book.renders[name]
        if render.session != session:
            return ()
        closes = updates.apply_update(self._book, render, update, now)
        self._settle(now)
        return closes

    def close(self, name: str, session: int, closes: tuple[RunRef, ...]) -> None:
        """Tell a render to forget runs."""
        render = self._book.renders[name]
        if render.session == session and closes:
            render.outbox.closes.update((ref.run, ref) for ref in closes)
            self._book.wake(render)

    def take_events(self, name: str, session: int) -> Events | None:
        """What a render has to be told next; from here on its tasks count as sent."""
        render = self._book.renders[name]
        if render.session != session or not render.outbox:
            return None
        events = render.outbox.take()
        for task in events.tasks:
            self._book.runs[task.run].sent = True
        return events

    def unlink(self, name: str, session: int, now: float) -> None:
        renders.unlink(self._book, self._book.renders[name], session, now)
        self._settle(now)

    def deregister(self, name: str, session: int, reason: str, now: float) -> None:
        renders.deregister(self._book, self._book.renders[name], session, reason, now)
        self._settle(now)

    # People

    def submit(self, spec: JobSpec, now: float) -> int:
        """Take a job in and return its id. Raises `JobError`."""
        job = transitions.submit(self._book, spec, now)
        self._settle(now)
        return job.id

    def suspend_task(self, key: TaskKey, reason: str) -> bool:
        return user_requests.suspend_task(self._book, self._task(key), reason)

    def stop_task(self, key: TaskKey, reason: str, now: float) -> None:
        user_requests.stop_task(self._book, self._task(key), reason, now)
        self._settle(now)

    def end_job(self, job: int, reason: str, now: float, *, stop: bool) -> None:
        user_requests.end_job(self._book, self._job(job), reason, now, stop=stop)
        self._settle(now)

    def forget_job(self, job: int) -> None:
        """Drop a job that is over. Raises `JobError` for one that is not."""
        transitions.forget(self._book, self._job(job))

    def listen(self, key: TaskKey) -> bool:
        """Begin to listen; False when the task is over and will say nothing more."""
        task = self._task(key)
        if task.state.over:
            return False
        user_requests.listen(self._book, task)
        return True

    def unlisten(self, key: TaskKey) -> None:
        user_requests.unlisten(self._book, self._task(key))

    def ask_output(self, key: TaskKey) -> str | None:
        return user_requests.ask_output(self._book, self._task(key))

    def instruct(self, name: str, instruction: str, command: str) -> None:
        """Raises KeyError for a render that is not there."""
        user_requests.instruct(self._book, self._online(name), instruction, command)

    def change_settings(self, settings: FarmSettings) -> None:
        """Use other settings from now on, and tell renders of what concerns them."""
        old, self._book.settings = self._book.settings, settings
        changed = {
            name: getattr(settings, name)
            for name in _PUSHED
            if getattr(settings, name) != getattr(old, name)
        }
        self._book.remind(0.0)
        for render in self._book.renders.values():
            if changed and render.online:
                render.outbox.settings.update(changed)
                self._book.wake(render)

    def note(self, key: TaskKey, event: str, text: str) -> None:
        """Add a step to a task's "why" but not to its log: that may be what cannot be stored."""
        step = Reason(time=self._book.wall(), event=event, text=text)
        self._book.add_why(self._task(key), (step,))

    # Snapshots

    def job_over(self, job: int) -> bool:
        return self._job(job).over

    def attempts(self, key: TaskKey) -> int:
        return self._task(key).attempts

    def view(self, job: int) -> JobView:
        return view_job(self._job(job), self._book.texts)

    def jobs(self) -> tuple[int, ...]:
        return tuple(self._book.jobs)

    def renders(self) -> tuple[RenderView, ...]:
        return tuple(map(view_render, self._book.renders.values()))

    def why_waiting(self, job: int, now: float) -> tuple[str, ...]:
        return scheduler.why_waiting(self._book, self._job(job), now)

    def _settle(self, now: float) -> None:
        scheduler.assign(self._book, now)

    def _job(self, job: int) -> Job:
        if job not in self._book.jobs:
            raise KeyError(f"no job {job}")
        return self._book.jobs[job]

    def _task(self, key: TaskKey) -> Task:
        job = self._job(key.job)
        if key.number == 0 and 0 <= key.block < len(job.blocks):
            tasks = job.blocks[key.block].tasks
            if 0 <= key.task < len(tasks):
                return tasks[key.task]
        raise KeyError(f"no task {key}")

    def _online(self, name: str) -> RenderState:
        render = self._book.renders.get(name)
        if render is None or not render.online:
            raise KeyError(f'no render "{name}" is online')
        return render

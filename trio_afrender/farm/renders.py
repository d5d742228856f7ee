"""Renders come, go, fall silent and come back.

A render whose link is cut keeps its tasks for `zombie_time`; then they are queued again, and the
runs count as lost. When it comes back it names its runs. Those that nobody else has taken up
meanwhile it may go on with: a frame that took an hour is not thrown away for a blink of the net.
"""

from __future__ import annotations

from trio_afrender.farm.model import RenderState, Run
from trio_afrender.farm.state import FarmState, time_limits
from trio_afrender.farm.transitions import release_held, requeue, resume_lost_run
from trio_afrender.farm.user_requests import stop_for_limit
from trio_afrender.protocol.messages import Events, Refused, Register, Registered, RunRef

__all__ = ("close_runs", "deregister", "register", "seen", "take_events", "tick", "unlink")

_MAX_NAME = 255


def register(
    state: FarmState, message: Register, session: int, peer: str, now: float
) -> Registered | Refused:
    """Take a render in under its name, unless an online one has it."""
    problem = _check_name(message.name)
    if problem:
        return Refused(reason="bad-name", text=problem)
    render = state.renders.get(message.name)
    if render is None:
        render = RenderState(id=state.next_render, name=message.name, register=message)
        state.next_render += 1
        state.renders[render.name] = render
    elif render.session is not None:
        if not _knows_our_runs(state, render, message):
            return _name_taken(state, render)
        # Only that render can know ids of its runs: its old link is dead and we have not noticed.
        state.outgoing.drop_sessions.append(render.session)
        _end_session(state, render, now)
    render.register = message
    render.session = session
    render.peer = peer
    render.state = message.state
    render.resources = message.resources or render.resources
    render.last_seen = now
    render.lost_at = None
    render.paused_until = 0.0
    render.given_back = 0
    state.check_by(now + state.settings.zombie_time)
    state.freed.add(render.name)
    state.outgoing.changed = True
    return _answer(state, render, message, now)


def _check_name(name: str) -> str:
    if not name:
        return "a render needs a name"
    if len(name) > _MAX_NAME or not name.isprintable():
        return "a name has at most 255 printable characters"
    return ""


def _name_taken(state: FarmState, render: RenderState) -> Refused:
    return Refused(
        reason="name-taken",
        text=f'a render "{render.name}" is online from {render.peer}',
        retry_after=min(5.0, state.settings.zombie_time / 4),
    )


def _knows_our_runs(state: FarmState, render: RenderState, message: Register) -> bool:
    listed = (state.runs.get(task.run) for task in (*message.running, *message.undelivered))
    return any(run is not None and run.render is render for run in listed)


def _answer(state: FarmState, render: RenderState, message: Register, now: float) -> Registered:
    resume: list[str] = []
    stop: list[str] = []
    listed: set[str] = set()
    for task in (*message.running, *message.undelivered):
        listed.add(task.run)
        run = state.runs.get(task.run)
        if run is None or run.render is not render:
            stop.append(task.run)
        elif run.over:
            # Its outcome is here and only our close was lost; of what runs on nobody wants more.
            render.outbox.closes[run.id] = run.ref()
            state.wake(render)
        elif run.lost and not resume_lost_run(state, run, now):
            stop.append(run.id)
        else:
            resume.append(run.id)
            _ask_again(state, run)
    for run in [run for run in render.running.values() if run.id not in listed]:
        requeue(state, run, "lost", f'render "{render.name}" came back without it', now)
    settings = state.settings
    return Registered(
        id=render.id,
        heartbeat_sec=settings.heartbeat_sec,
        resources_update_period=settings.resources_update_period,
        zombie_time=settings.zombie_time,
        exit_no_task_time=settings.exit_no_task_time,
        resume=tuple(resume),
        stop=tuple(stop),
    )


def _ask_again(state: FarmState, run: Run) -> None:
    """Repeat what was asked of a run over the link that is gone."""
    box, task = run.render.outbox, run.task
    if run.stop is not None:
        box.stops[run.id] = run.ref(run.stop.reason)
    if run.suspended:
        box.suspends[run.id] = run.ref(run.suspended)
    if task.listeners:
        box.listens_add[run.id] = run.ref()
    if task.asked:
        box.outputs[run.id] = run.ref()
    if box:
        state.wake(run.render)


def seen(render: RenderState, session: int, now: float, *, busy: bool) -> None:
    """Note a sign of life; while `busy` with what it sent we do not call it silent."""
    if render.session == session:
        render.last_seen = now
        render.busy = busy


def close_runs(
    state: FarmState, render: RenderState, session: int, closes: tuple[RunRef, ...]
) -> None:
    """Have a render forget runs."""
    if render.session == session and closes:
        render.outbox.closes.update((ref.run, ref) for ref in closes)
        state.wake(render)


def take_events(state: FarmState, render: RenderState, session: int) -> Events | None:
    """The next message for a render; from here on its tasks count as sent."""
    if render.session != session or not render.outbox:
        return None
    events = render.outbox.take()
    for task in events.tasks:
        state.runs[task.run].sent = True
    return events


def unlink(state: FarmState, render: RenderState, session: int, now: float) -> None:
    """Note that a link is gone; what was never sent over it is queued again at once."""
    if render.session != session:
        return
    _end_session(state, render, now)
    render.lost_at = now + state.settings.zombie_time
    state.check_by(render.lost_at)


def _end_session(state: FarmState, render: RenderState, now: float) -> None:
    render.session = None
    render.busy = False
    for run in [run for run in render.running.values() if not run.sent]:
        requeue(state, run, "lost", f'never reached render "{render.name}"', now)
    render.outbox = type(render.outbox)()
    state.outgoing.changed = True


def deregister(
    state: FarmState, render: RenderState, session: int, reason: str, now: float
) -> None:
    """Let a render go: its tasks are taken back at once, without an error."""
    if render.session != session:
        return
    _end_session(state, render, now)
    _take_all(
        state, render, f'render "{render.name}" left' + (f": {reason}" if reason else ""), now
    )


def _take_all(state: FarmState, render: RenderState, text: str, now: float) -> None:
    render.lost_at = None
    for run in list(render.running.values()):
        requeue(state, run, "lost", text, now)


def tick(state: FarmState, now: float) -> None:
    """Do what time brings: lost renders, limits of runs, ends of pauses, jobs that wait."""
    if now < state.due:
        return
    state.due = float("inf")
    for render in state.renders.values():
        _tick_render(state, render, now)
    for run in list(state.limited.values()):
        if run.stop is None:
            _tick_run(state, run, now)
    release_held(state, now)


def _tick_render(state: FarmState, render: RenderState, now: float) -> None:
    zombie = state.settings.zombie_time
    if render.session is not None:
        # The same sum decides and reminds: a difference may round to less than `zombie` at the
        # very moment we are reminded of, and a virtual clock would stand still there for ever.
        given_up = render.last_seen + zombie
        if render.busy or now < given_up:
            state.check_by(now + zombie if render.busy else given_up)
        else:
            silent = now - render.last_seen
            state.outgoing.drop_sessions.append(render.session)
            _end_session(state, render, now)
            _take_all(state, render, f'render "{render.name}" silent for {silent:.0f} s', now)
    elif render.lost_at is not None:
        if now < render.lost_at:
            state.check_by(render.lost_at)
        else:
            _take_all(state, render, f'render "{render.name}" gone for {zombie:.0f} s', now)
            state.outgoing.changed = True
    if render.paused_until > now:
        state.check_by(render.paused_until)
    elif render.paused_until:
        render.paused_until = 0.0
        state.freed.add(render.name)


def _tick_run(state: FarmState, run: Run, now: float) -> None:
    for when, text in time_limits(run):
        if when <= now:
            stop_for_limit(state, run, text, now)
            return
        state.check_by(when)

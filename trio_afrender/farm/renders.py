"""Sessions of renders: register, lose a link, reconnect, deregister, be silent for too long.

A render whose link is lost keeps its tasks for `zombie_time`. After that they are queued again and
its runs count as lost. When it reconnects it lists its runs, and it may continue those whose tasks
no other render has got meanwhile: a short network failure does not throw away an hour of work.
"""

from __future__ import annotations

from trio_afrender.farm.model import RenderState, Run
from trio_afrender.farm.render_queue import RenderQueue
from trio_afrender.farm.state import FarmState, time_limits
from trio_afrender.farm.transitions import release_held, requeue, resume_lost_run
from trio_afrender.farm.user_requests import stop_for_limit
from trio_afrender.protocol.messages import Events, Refused, Register, Registered, RunRef

__all__ = ("close_runs", "deregister", "register", "seen", "take_events", "tick", "unlink")

_MAX_NAME = 255


def register(
    state: FarmState, message: Register, session: int, peer: str, now: float
) -> Registered | Refused:
    """Register a render under its name; refused if another one is online under that name."""
    if not message.name:
        return Refused(reason="bad-name", text="a render needs a name")
    if len(message.name) > _MAX_NAME or not message.name.isprintable():
        return Refused(reason="bad-name", text="a name has at most 255 printable characters")
    render = state.renders.get(message.name)
    if render is None:
        render = RenderState(id=state.next_render, name=message.name, register=message)
        state.next_render += 1
        state.renders[render.name] = render
        state.changes.note_render(render.id, "add")
    elif render.session is not None:
        listed = (state.runs.get(task.run) for task in (*message.running, *message.undelivered))
        if not any(run is not None and run.render is render for run in listed):
            return Refused(
                reason="name-taken",
                text=f'a render "{render.name}" is online from {render.peer}',
                # Its old link, if that is the one, is dropped after a zombie time of silence.
                retry_after=min(5.0, state.settings.zombie_time / 4),
            )
        # Run ids are random, so only the render itself can list one: its old link is dead, and
        # the farm has not noticed that yet.
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
    state.changes.note_render(render.id, "change")
    return _answer(state, render, message, now)


def _answer(state: FarmState, render: RenderState, message: Register, now: float) -> Registered:
    """Decide on each listed run; runs of the render that are not listed are queued again."""
    resume: list[str] = []
    stop: list[str] = []
    listed: set[str] = set()
    for task in (*message.running, *message.undelivered):
        listed.add(task.run)
        run = state.runs.get(task.run)
        if run is None or run.render is not render:
            stop.append(task.run)
        elif run.over:
            # Its outcome has been applied; only the close was lost.
            render.outbox.closes[run.id] = run.ref()
            state.wake(render)
        elif run.lost and not resume_lost_run(state, run, now):
            stop.append(run.id)
        else:
            resume.append(run.id)
            _queue_requests_again(state, run)
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


def _queue_requests_again(state: FarmState, run: Run) -> None:
    """Queue the requests for a run once more: they may have been lost with the old link."""
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
    """Note that a message has arrived. While the farm is `busy` with it, the render does not
    count as silent."""
    if render.session == session:
        render.last_seen = now
        render.busy = busy


def close_runs(
    state: FarmState, render: RenderState, session: int, closes: tuple[RunRef, ...]
) -> None:
    """Have a render drop runs whose outcomes are stored."""
    if render.session == session and closes:
        render.outbox.closes.update((ref.run, ref) for ref in closes)
        state.wake(render)


def take_events(state: FarmState, render: RenderState, session: int) -> Events | None:
    """Take the next message for a render; None if there is none. Its tasks count as sent."""
    if render.session != session or not render.outbox:
        return None
    events = render.outbox.take()
    for task in events.tasks:
        state.runs[task.run].sent = True
    return events


def unlink(state: FarmState, render: RenderState, session: int, now: float) -> None:
    """Note that a link is lost. Tasks that were never sent over it are queued again at once, the
    others after `zombie_time`."""
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
    # `_queue_requests_again` fills it again when the render reconnects.
    render.outbox = RenderQueue()
    state.outgoing.changed = True
    state.changes.note_render(render.id, "change")


def deregister(
    state: FarmState, render: RenderState, session: int, reason: str, now: float
) -> None:
    """Take a render offline and its tasks back at once, without an error."""
    if render.session != session:
        return
    _end_session(state, render, now)
    _requeue_all(
        state, render, f'render "{render.name}" left' + (f": {reason}" if reason else ""), now
    )


def _requeue_all(state: FarmState, render: RenderState, text: str, now: float) -> None:
    render.lost_at = None
    # A copy, because `requeue` removes each run from the dictionary.
    for run in list(render.running.values()):
        requeue(state, run, "lost", text, now)


def tick(state: FarmState, now: float) -> None:
    """Apply what is due: lost renders, time limits of runs, ends of pauses, jobs that wait."""
    if now < state.due:
        return
    state.due = float("inf")  # each of the checks below lowers it again
    for render in state.renders.values():
        _tick_render(state, render, now)
    # A copy, because a stop of a run that was never sent detaches it.
    for run in list(state.limited.values()):
        if run.stop is not None:
            continue
        for when, text in time_limits(run):
            if when <= now:
                stop_for_limit(state, run, text, now)
                break
            state.check_by(when)
    release_held(state, now)


def _tick_render(state: FarmState, render: RenderState, now: float) -> None:
    zombie = state.settings.zombie_time
    if render.session is not None:
        # The same sum is compared here and given to `check_by`. The difference `now - last_seen`
        # may round to less than `zombie` at that very moment: `tick` would be due again at once,
        # and a virtual clock would never move on.
        deadline = render.last_seen + zombie
        if render.busy or now < deadline:
            state.check_by(now + zombie if render.busy else deadline)
        else:
            silent = now - render.last_seen
            state.outgoing.drop_sessions.append(render.session)
            _end_session(state, render, now)
            _requeue_all(state, render, f'render "{render.name}" silent for {silent:.0f} s', now)
    elif render.lost_at is not None:
        if now < render.lost_at:
            state.check_by(render.lost_at)
        else:
            _requeue_all(state, render, f'render "{render.name}" gone for {zombie:.0f} s', now)
            state.outgoing.changed = True
    if render.paused_until > now:
        state.check_by(render.paused_until)
    elif render.paused_until:
        render.paused_until = 0.0
        # `scheduler.assign` considers freed renders only.
        state.freed.add(render.name)

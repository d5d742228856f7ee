"""Sessions of renders: register, lose a link, reconnect, deregister, be silent for too long.

A render whose link is lost keeps its tasks for `zombie_time`. After that they are queued again and
its runs count as lost. When it reconnects it lists its runs, and it may continue those whose tasks
no other render has got meanwhile: a short network failure does not throw away an hour of work.
"""

from __future__ import annotations

from trio_afrender.farm.auto_nimby import AutoAction, LoadWatch, decide, next_check, observe
from trio_afrender.farm.model import RenderState, Run
from trio_afrender.farm.render_parameters import resolve
from trio_afrender.farm.render_queue import RenderQueue
from trio_afrender.farm.render_sleep import check_limits, note_awake, order_sleep, why_awake
from trio_afrender.farm.render_states import NimbyMode, Presence, RenderEvent, host_event
from trio_afrender.farm.state import FarmState, time_limits
from trio_afrender.farm.transitions import requeue, resume_lost_run
from trio_afrender.farm.user_requests import stop_for_limit, tick_jobs
from trio_afrender.protocol.messages import Events, Refused, Register, Registered, RunRef
from trio_afrender.text import MAX_NODE_NAME, is_node_name, printable

__all__ = (
    "close_runs",
    "deregister",
    "note_error",
    "note_success",
    "register",
    "seen",
    "take_events",
    "tick",
    "unlink",
    "watch_load",
)

_MAX_TEXT = 1000
"""Characters of a text of a render in its log."""
_PUNCTUAL = 0.05
"""Seconds after which a deadline is noticed late, so that this process has not run."""
_READ_TIME = 0.5
"""Seconds in which messages of renders are read then, before these are given up."""
_MAX_SICK_ERRORS = 100
"""Users whose errors are kept of a render."""


def register(
    state: FarmState, message: Register, session: int, peer: str, now: float
) -> Registered | Refused:
    """Register a render under its name; refused if another one is online under that name."""
    if not is_node_name(message.name):
        text = f"a name has 1 to {MAX_NODE_NAME} printable characters"
        return Refused(reason="bad-name", text=text)
    render = state.renders.get(message.name)
    if render is None:
        render = RenderState(id=state.next_render, name=message.name, register=message)
        state.next_render += 1
        state.renders[render.name] = render
        state.changes.note_render(render.id, "add")
        if state.pool.new_nimby:
            state.move_render(render, RenderEvent.NIMBY_ALL)
        if state.pool.new_paused:
            state.move_render(render, RenderEvent.PAUSE)
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
    render.effective = resolve(message, render.overrides, state.pool)
    render.session = session
    render.peer = peer
    render.resources = message.resources or render.resources
    render.last_seen = now
    render.time_register = render.time_update = state.wall()
    render.lost_at = None
    render.paused_until = 0.0
    render.given_back = 0
    render.watch = LoadWatch()
    state.check_by(now + state.settings.zombie_time)
    _note_register(state, render, message)
    answer = _answer(state, render, message, now)
    if render.running:
        # It brings back tasks that a farm which was started anew has kept for it.
        state.move_render(render, RenderEvent.TASKS)
    return answer


def _note_register(state: FarmState, render: RenderState, message: Register) -> None:
    reason = printable(message.sleep_failed, _MAX_TEXT)
    if render.states.presence is Presence.FALLING:
        note_awake(state, render, reason or "it has registered again")
    elif reason:
        state.log_render(render, f"Not asleep: {reason}", "wol sleep")
    if not render.states.presence.online:
        state.log_render(render, "Registered.")
    render.wol_deadline = None
    state.move_render(render, RenderEvent.REGISTER)
    # What it reports counts when it changes: a user may have freed it since.
    if message.state != render.reported:
        render.reported = message.state
        state.move_render(render, host_event(message.state))
    state.note_render(render)


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
            state.touch(run.task)
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
    elif run.resumed:
        box.resumes[run.id] = run.ref()
    if task.listeners:
        box.listens_add[run.id] = run.ref()
    elif run.listened_n >= 0:
        box.listens_rem[run.id] = run.ref()
    if task.asked:
        box.outputs[run.id] = run.ref()
    if box:
        state.wake(run.render)


def seen(state: FarmState, render: RenderState, session: int, now: float, *, busy: bool) -> None:
    """Note that a message has arrived. While the farm is `busy` with it, the render does not
    count as silent."""
    if render.session == session:
        render.last_seen = now
        render.time_update = state.wall()
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
    for run in render.running.values():
        state.touch(run.task)  # it waits for its render now
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
    reason = printable(reason, _MAX_TEXT)
    _leave(state, render, f"left: {reason}" if reason else "left", now)


def _leave(state: FarmState, render: RenderState, text: str, now: float) -> None:
    """Take a render offline, or note that it sleeps, and queue its tasks again."""
    render.lost_at = None
    # A copy, because `requeue` removes each run from the dictionary.
    for run in list(render.running.values()):
        requeue(state, run, "lost", f'render "{render.name}" {text}', now)
    if state.move_render(render, RenderEvent.LEAVE):
        render.wol_deadline = None
        asleep = render.states.presence is Presence.ASLEEP
        after = " after the order to sleep" if asleep else ""
        state.log_render(render, f"Offline{after}: {text}.")


def note_success(render: RenderState) -> None:
    """Note that a task has succeeded on a render: errors before count no more."""
    render.sick_errors.clear()


def note_error(state: FarmState, render: RenderState, run: Run) -> None:
    """Note that a task has failed on a render, which may make the render sick."""
    errors, limit = render.sick_errors, state.pool.sick_errors_count
    block = run.task.block
    errors.pop(block.job.spec.user_name, None)  # the last one comes last
    errors[block.job.spec.user_name] = (block.spec.service, state.wall())
    if len(errors) > _MAX_SICK_ERRORS:
        del errors[next(iter(errors))]
    if 0 < limit <= len(errors) and state.move_render(render, RenderEvent.FALL_ILL):
        lines = (f"{user} - {service}" for user, (service, _) in errors.items())
        state.log_render(
            render, f"Got sick after errors of {len(errors)} users:\n" + "\n".join(lines), "sick"
        )


def watch_load(state: FarmState, render: RenderState, now: float) -> None:
    """Apply the rules for busy and idle hosts after a measurement."""
    load, pool = render.resources, state.pool
    if load is None:
        return
    render.watch = observe(
        render.watch,
        load,
        now,
        idle=pool.limits("idle"),
        busy=pool.limits("busy"),
        reserved=render.states.nimby is not NimbyMode.FREE,
        has_tasks=bool(render.running),
    )
    _apply_load_rules(state, render, now)


def _apply_load_rules(state: FarmState, render: RenderState, now: float) -> None:
    times = state.pool.times
    if render.watch == LoadWatch() or render.session is None:
        return
    facts = {
        "reserved": render.states.nimby is not NimbyMode.FREE,
        "may_sleep": not why_awake(render),
    }
    action = decide(render.watch, times, now, **facts)
    if action is None:
        state.check_by(next_check(render.watch, times, **facts))
    elif action is AutoAction.SLEEP:
        order_sleep(state, render, now)
        state.log_render(render, f"Idle for {times.idle_sleep} s.", "auto wol sleep")
    elif action is AutoAction.FREE:
        state.move_render(render, RenderEvent.AUTO_FREE)
        state.log_render(render, f"Idle for {times.idle_free} s.", "auto nimby free")
    else:
        state.move_render(render, RenderEvent.AUTO_NIMBY)
        state.log_render(render, f"Busy for {times.busy_nimby} s.", "auto nimby")


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
                if _is_certain(state, run, when, now):
                    stop_for_limit(state, run, text, now)
                break
            state.check_by(when)
        else:
            run.late_since = None
    tick_jobs(state, now)
    if state.retry_at <= now:
        state.retry_at = float("inf")
        state.all_freed = True
    else:
        state.check_by(state.retry_at)


def _is_certain(state: FarmState, late: RenderState | Run, deadline: float, now: float) -> bool:
    """Whether a render, or a run, of which a message was due by `deadline` may be given up.

    After a stop of this process (Ctrl-Z) all of them look silent, until what they have sent
    meanwhile is read.
    """
    if now <= deadline + _PUNCTUAL:
        return True
    if late.late_since is None:
        late.late_since = now
    certain = late.late_since + _READ_TIME
    if now < certain:
        state.check_by(certain)
        return False
    late.late_since = None
    return True


def _tick_render(state: FarmState, render: RenderState, now: float) -> None:
    zombie = state.settings.zombie_time
    if render.session is not None:
        # The same sum is compared here and given to `check_by`. The difference `now - last_seen`
        # may round to less than `zombie` at that very moment: `tick` would be due again at once,
        # and a virtual clock would never move on.
        deadline = render.last_seen + zombie
        if render.busy or now < deadline:
            render.late_since = None
            state.check_by(now + zombie if render.busy else deadline)
        elif _is_certain(state, render, deadline, now):
            silent = now - render.last_seen
            state.outgoing.drop_sessions.append(render.session)
            _end_session(state, render, now)
            _leave(state, render, f"silent for {silent:.0f} s", now)
    elif render.lost_at is not None:
        if now < render.lost_at:
            render.late_since = None
            state.check_by(render.lost_at)
        elif _is_certain(state, render, render.lost_at, now):
            _leave(state, render, f"gone for {zombie:.0f} s", now)
            state.outgoing.changed = True
    check_limits(state, render, now)
    _apply_load_rules(state, render, now)
    if render.paused_until > now:
        state.check_by(render.paused_until)
    elif render.paused_until:
        render.paused_until = 0.0
        # `scheduler.assign` considers freed renders only.
        state.freed.add(render.name)

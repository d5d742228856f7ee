"""Parameters and operations of renders and of the pool that users ask for, in Afanasy's words.

Each request is checked as a whole before anything changes, takes effect at once, and is a line in
the log of its node. Another user's render and the pool are for administrators only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from trio_afrender.errors import EditRefused
from trio_afrender.farm.edit_values import (
    Reader,
    check_keys,
    flag,
    number,
    pattern,
    read_values,
    show_values,
    text,
    texts,
)
from trio_afrender.farm.model import RenderState
from trio_afrender.farm.node_log import Actor, NodeLog, describe_action
from trio_afrender.farm.render_parameters import PoolParameters, RenderOverrides, resolve
from trio_afrender.farm.render_sleep import order_sleep, wake
from trio_afrender.farm.render_states import Presence, RenderEvent, RenderStates
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.user_requests import change_settings, instruct, return_task
from trio_afrender.protocol.messages import Register
from trio_afrender.text import compile_mask, count_text, show_json, suggest

__all__ = (
    "RenderOverrides",
    "StoredRender",
    "edit_pool",
    "edit_render",
    "operate_render",
    "restore_pool",
    "restore_render",
    "store_render",
)

_LIMIT = number(-1)
_PERCENT = number(-1, 100)
_SECONDS = number(-1)
_MAX_SERVICES = 1000
"""Services of a list."""
_EVENTS = {
    ("nimby", True): RenderEvent.NIMBY,
    ("NIMBY", True): RenderEvent.NIMBY_ALL,
    ("nimby", False): RenderEvent.FREE,
    ("NIMBY", False): RenderEvent.FREE,
    ("paused", True): RenderEvent.PAUSE,
    ("paused", False): RenderEvent.START,
}
"""Parameters of a render that are states."""


def _names(key: str, value: object) -> tuple[str, ...]:
    """A list of services, each once."""
    found = tuple(dict.fromkeys(texts(key, value)))
    if "" in found:
        raise EditRefused(f"{key}: a service has a name, found an empty one")
    if len(found) > _MAX_SERVICES:
        raise EditRefused(f"{key}: {len(found):,} services, more than {_MAX_SERVICES:,}")
    return found


def _zombie_time(key: str, value: object) -> int:
    """Seconds, but not none: each render would count as lost at once."""
    found: int = number(-1, 86_400)(key, value)
    if found == 0:
        raise EditRefused(f"{key}: 0 is not within 1 to 86400, nor is it -1, for the default")
    return found


_HOST_READERS: Mapping[str, Reader] = {
    "priority": number(0, 255),
    "annotation": text,
    "custom_data": text,
    "hidden": flag,
    "capacity_host": _LIMIT,
    "max_tasks_host": _LIMIT,
    "power_host": _LIMIT,
    "properties_host": text,
    "services": _names,
    "services_disabled": _names,
}
_RENDER_READERS: Mapping[str, Reader] = {
    **_HOST_READERS,
    "user_name": text,
    "nimby": flag,
    "NIMBY": flag,
    "paused": flag,
}
_POOL_READERS: Mapping[str, Reader] = {
    **_HOST_READERS,
    "paused": flag,
    "heartbeat_sec": number(-1, 86_400),
    "resources_update_period": number(-1, 86_400),
    "zombie_time": _zombie_time,
    "exit_no_task_time": number(-1, 86_400),
    "new_nimby": flag,
    "new_paused": flag,
    "sick_errors_count": _LIMIT,
    "idle_wolsleep_time": _SECONDS,
    "idle_free_time": _SECONDS,
    "busy_nimby_time": _SECONDS,
    **{f"{kind}_{name}": _PERCENT for kind in ("idle", "busy") for name in ("cpu", "mem", "swp")},
    **{f"{kind}_hddio": _PERCENT for kind in ("idle", "busy")},
    **{f"{kind}_{name}": _LIMIT for kind in ("idle", "busy") for name in ("hddgb", "netmbs")},
}
_NO_TICKETS = "this farm counts no tickets: they share licences between hosts, and it has one"
_UNSUPPORTED = {
    "tickets": _NO_TICKETS,
    "tickets_pool": _NO_TICKETS,
    "tickets_host": _NO_TICKETS,
    "set_pool": 'this farm has one pool, "/"',
    "reassign_pool": 'this farm has one pool, "/"',
    "pattern": 'a pattern chooses renders for a pool, and this farm has one pool, "/"',
    "no_task_event_time": "this farm has no jobs for events",
    "overload_event_time": "this farm has no jobs for events",
}
_OPERATIONS: Mapping[str, Mapping[str, Reader]] = {
    "exit": {},
    "reboot": {},
    "shutdown": {},
    "launch_cmd": {"cmd": text, "exit": flag},
    "eject_tasks": {},
    "eject_tasks_keep_my": {},
    "heal_sick": {},
    "delete": {},
    "wol_sleep": {},
    "wol_wake": {},
    "farm": {"mode": text, "name": text, "mask": pattern},
}
"""Name -> its keys."""
_SERVICE_MODES = (
    "service_add",
    "service_remove",
    "service_enable",
    "service_disable",
    "clear_services",
)
_SENT_DEFAULTS = {
    "heartbeat_sec": 1.0,
    "resources_update_period": 5,
    "zombie_time": 16.0,
    "exit_no_task_time": -1.0,
}
"""What -1 of the pool means for the settings that renders are sent."""


def edit_render(
    state: FarmState, render: RenderState, params: Mapping[str, object], actor: Actor, now: float
) -> None:
    """Set parameters of a render. Raises `EditRefused`."""
    _refuse_unsupported(params)
    values = read_values(_RENDER_READERS, params, "a render")
    _check_right(render, actor)
    if "user_name" in values and not actor.admin:
        raise EditRefused(f'user_name of render "{render.name}" is for administrators to set')
    events = [_EVENTS[key, values[key]] for key in values if (key, values[key]) in _EVENTS]
    own = {field.name for field in attrs.fields(RenderOverrides)} & values.keys()
    render.overrides = attrs.evolve(render.overrides, **{key: values[key] for key in own})
    limits = RenderEvent.SET_LIMITS if render.overrides.own_limits else RenderEvent.CLEAR_LIMITS
    for event in (*events, limits):
        state.move_render(render, event)
    render.effective = resolve(render.register, render.overrides, state.pool)
    state.note_render(render)
    _note(state, render, actor, "params", show_values(values))


def _refuse_unsupported(keys: Iterable[str]) -> None:
    for key in keys:
        if key in _UNSUPPORTED:
            raise EditRefused(f"{key}: {_UNSUPPORTED[key]}")


def _check_right(render: RenderState, actor: Actor) -> None:
    owner = render.effective.user_name
    if not (actor.admin or actor.user_name == owner):
        raise EditRefused(
            f'render "{render.name}" is for its user "{owner}" and administrators to change, not'
            f' for "{actor.user_name}"'
        )


def _note(state: FarmState, render: RenderState, actor: Actor, what: str, info: str) -> None:
    render.node_log.add(state.wall(), describe_action(actor, "renders", what, render.name, info))
    if render.name in state.renders:  # else it has just been deleted
        state.unstored.note_render(render)


def operate_render(
    state: FarmState,
    render: RenderState,
    operation: Mapping[str, object],
    actor: Actor,
    now: float,
) -> str:
    """Do an operation with a render; return a sentence about it. Raises `EditRefused`."""
    kind = text("type", operation.get("type", ""))
    _refuse_unsupported([kind])
    readers = _OPERATIONS.get(kind)
    if readers is None:
        raise EditRefused(
            f"a render has no operation {show_json(kind)}{suggest(kind, _OPERATIONS)}"
        )
    check_keys(("type", *readers), operation, f'the operation "{kind}"')
    values = {key: readers[key](key, operation[key]) for key in readers if key in operation}
    _check_right(render, actor)
    match kind:
        case "exit" | "reboot" | "shutdown":
            sentence = _send(state, render, kind)
        case "launch_cmd":
            command = _need(values, "cmd", "the command to launch")
            instruction = "launch_exit" if values.get("exit") else "launch"
            sentence = _send(state, render, instruction, command)
        case "eject_tasks" | "eject_tasks_keep_my":
            kept = actor.user_name if kind == "eject_tasks_keep_my" else None
            # A list, because a run that was never sent ends at once.
            tasks = [
                run.task
                for run in render.running.values()
                if run.task.block.job.spec.user_name != kept
            ]
            reason = f'ejected from render "{render.name}" by {actor}'
            for task in tasks:
                return_task(state, task, reason, now)
            sentence = f"{count_text(len(tasks), 'task')} ejected."
        case "heal_sick":
            render.sick_errors.clear()
            recovered = state.move_render(render, RenderEvent.RECOVER)
            sentence = "Not sick any more." if recovered else "It was not sick."
        case "delete":
            if render.states.presence.online:
                raise EditRefused(
                    f'render "{render.name}" is online: only an offline one can be deleted'
                )
            del state.renders[render.name]
            state.asleep.discard(render.name)
            state.freed.discard(render.name)
            state.outgoing.changed = True
            state.unstored.drop_render(render)
            state.changes.note_render(render.id, "del")
            sentence = "Deleted."
        case "wol_sleep":
            order_sleep(state, render, now)
            sentence = "Ordered to sleep."
        case "wol_wake":
            wake(state, render, now)
            sentence = "Packets to wake it are sent."
        case _:  # "farm"
            sentence = _change_services(state, render, values)
    _note(state, render, actor, kind, sentence)
    return sentence


def _need(values: Mapping[str, Any], key: str, why: str) -> str:
    """A value that the operation cannot do without."""
    value: str = values.get(key, "")
    if not value.strip():
        raise EditRefused(f"{key} is missing: {why}")
    return value


def _send(state: FarmState, render: RenderState, instruction: str, command: str = "") -> str:
    if not render.online:
        raise EditRefused(f'render "{render.name}" is offline: nothing can be sent to it')
    if waiting := render.outbox.instruction[0]:
        raise EditRefused(
            f'render "{render.name}" has not read its last instruction, "{waiting}": try again'
        )
    instruct(state, render.name, instruction, command)
    return f'Instruction "{instruction}" sent.'


def _change_services(state: FarmState, render: RenderState, values: Mapping[str, Any]) -> str:
    old, services = render.overrides, render.effective.services
    mode = values.get("mode", "")
    match mode:
        case "service_add":
            name = _need(values, "name", "the service to add")
            if name in services:
                raise EditRefused(f'the service "{name}" is already there')
            new = attrs.evolve(old, services=_names("services", (*services, name)))
            sentence = f'Service "{name}" added.'
        case "service_remove":
            found = _find_services(values, services)
            new = attrs.evolve(old, services=_without(services, found))
            sentence = f"{_quote(found)} removed."
        case "service_enable":
            found = _find_services(values, old.services_disabled)
            new = attrs.evolve(old, services_disabled=_without(old.services_disabled, found))
            sentence = f"{_quote(found)} enabled."
        case "service_disable":
            mask = values.get("mask", "")
            # A render that lists nothing offers everything: then the mask is a name.
            plain = bool(re.fullmatch(r"[\w-]+", mask))
            found = [mask] if plain and mask not in services else _find_services(values, services)
            listed = _names("services_disabled", (*old.services_disabled, *found))
            new = attrs.evolve(old, services_disabled=listed)
            sentence = f"{_quote(found)} disabled."
        case "clear_services":
            if old.services is None and not old.services_disabled:
                raise EditRefused("no services were set here: there is nothing to clear")
            new = attrs.evolve(old, services=None, services_disabled=())
            sentence = "Services cleared."
        case _:
            known = ", ".join(f'"{name}"' for name in _SERVICE_MODES)
            raise EditRefused(f"mode: expected one of {known}, found {show_json(mode)}")
    render.overrides = new
    render.effective = resolve(render.register, new, state.pool)
    state.note_render(render)
    return sentence


def _find_services(values: Mapping[str, Any], among: Sequence[str]) -> list[str]:
    mask = _need(values, "mask", "a regular expression for names of services")
    found = list(filter(compile_mask(mask).fullmatch, among))
    if not found:
        listed = ", ".join(f'"{name}"' for name in among) or "none"
        raise EditRefused(f'mask: "{mask}" matches none of these services: {listed}')
    return found


def _without(names: tuple[str, ...], found: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in found)


def _quote(names: Sequence[str]) -> str:
    return "Service " + ", ".join(f'"{name}"' for name in names)


def edit_pool(state: FarmState, params: Mapping[str, object], actor: Actor, now: float) -> None:
    """Set parameters of the pool "/". Raises `EditRefused`."""
    _refuse_unsupported(params)
    values = read_values(_POOL_READERS, params, "the pool")
    if not actor.admin:
        raise EditRefused('the pool "/" is for administrators to change')
    restore_pool(state, attrs.evolve(state.pool, **values))
    state.changes.note_pool()
    info = show_values(values)
    state.pool_log.add(state.wall(), describe_action(actor, "pools", "params", "/", info))
    state.unstored.note_pool()


def restore_pool(state: FarmState, pool: PoolParameters) -> None:
    """Use these parameters of the pool from now on. Renders are sent those that concern them."""
    old, state.pool = state.pool, pool
    changed: dict[str, Any] = {
        key: getattr(pool, key) if getattr(pool, key) >= 0 else default
        for key, default in _SENT_DEFAULTS.items()
        if getattr(pool, key) != getattr(old, key)
    }
    if changed:
        change_settings(state, attrs.evolve(state.settings, **changed))
    for render in state.renders.values():
        render.effective = resolve(render.register, render.overrides, pool)
        state.note_render(render)
    # Rules for the load may be due earlier now.
    state.check_by(0.0)


@attrs.frozen(slots=True, kw_only=True)
class StoredRender:
    """What is kept of a render over a restart of the farm."""

    id: int
    register: Register
    """What it last reported; without its load and its tasks."""
    overrides: RenderOverrides
    states: int
    """Afanasy's bits; see `RenderStates.restore`."""
    reported: int
    sick_errors: dict[str, tuple[str, float]]
    time_register: float
    time_update: float
    wol_operation_time: float
    log: tuple[tuple[float, str], ...]


def store_render(render: RenderState) -> StoredRender:
    """What is to be kept of a render."""
    return StoredRender(
        id=render.id,
        register=attrs.evolve(
            render.register, resources=None, running=(), undelivered=(), sleep_failed=""
        ),
        overrides=render.overrides,
        states=int(render.states.kept),
        reported=render.reported,
        sick_errors=dict(render.sick_errors),
        time_register=render.time_register,
        time_update=render.time_update,
        wol_operation_time=render.wol_operation_time,
        log=render.node_log.entries,
    )


def restore_render(state: FarmState, stored: StoredRender) -> None:
    """Add a render as it was kept. It is offline, or asleep, until it registers."""
    register = stored.register
    render = RenderState(
        id=stored.id,
        name=register.name,
        register=register,
        overrides=stored.overrides,
        effective=resolve(register, stored.overrides, state.pool),
        states=RenderStates.restore(stored.states),
        reported=stored.reported,
        sick_errors=dict(stored.sick_errors),
        time_register=stored.time_register,
        time_update=stored.time_update,
        wol_operation_time=stored.wol_operation_time,
        node_log=NodeLog(stored.log),
    )
    state.renders[render.name] = render
    state.next_render = max(state.next_render, render.id + 1)
    if render.states.presence is Presence.ASLEEP:
        state.asleep.add(render.name)

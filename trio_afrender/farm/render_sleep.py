"""Sleep and wake of renders: orders, their time limits, and which to wake for waiting tasks. No I/O.

A render is ordered to sleep by an instruction; it is asleep when it leaves after that. One that
reports that it stays awake, or is still there after `FarmSettings.sleep_limit`, counts as awake
again. It is woken by packets to its network interfaces and is waking until it registers, or until
`FarmSettings.wake_limit` has passed.
"""

from __future__ import annotations

import json

from trio_afrender.errors import EditRefused
from trio_afrender.farm.model import RenderState, TaskState
from trio_afrender.farm.placement import (
    why_avoided_by_block,
    why_barred,
    why_job_rests,
    why_not_for_block,
    why_not_for_job,
)
from trio_afrender.farm.render_states import Presence, RenderEvent
from trio_afrender.farm.state import FarmState, WakePackets
from trio_afrender.farm.wake_on_lan import is_mac
from trio_afrender.text import count_text

__all__ = (
    "check_limits",
    "note_awake",
    "order_sleep",
    "wake",
    "wake_failed",
    "wake_for_tasks",
    "why_awake",
)


_WAKE_CHECK = 1.0
"""Seconds between two searches for a render to wake."""


def order_sleep(state: FarmState, render: RenderState, now: float) -> None:
    """Send a render to sleep. Raises `EditRefused` if it is offline, has tasks or cannot be woken."""
    if reason := why_awake(render):
        raise EditRefused(f'render "{render.name}" is not sent to sleep: {reason}')
    # The service for sleep makes its command from this. It refuses interfaces without a MAC address.
    netifs = [
        {"name": netif.name, "mac": netif.mac}
        for netif in render.register.netifs
        if is_mac(netif.mac)
    ]
    ip = render.register.address or render.peer or "0.0.0.0"  # noqa: S104 - nothing listens there
    described = json.dumps({"name": render.name, "address": {"ip": ip}, "netifs": netifs})
    render.outbox.instruction = ("sleep", described)
    state.wake(render)
    state.move_render(render, RenderEvent.SLEEP)
    _set_deadline(state, render, now + state.settings.sleep_limit)


def why_awake(render: RenderState) -> str:
    """Why a render cannot be sent to sleep; empty if it can."""
    presence = render.states.presence
    if presence is Presence.RUNNING:
        return f"it has {count_text(len(render.running), 'task')}"
    if presence is not Presence.ONLINE:
        return f"it is {presence.value}"
    if render.session is None:
        return "its link is lost"
    if render.outbox.instruction[0]:
        return f'the instruction "{render.outbox.instruction[0]}" waits to be sent'
    return "" if _macs(render) else "it has no network interface with a MAC address to wake it by"


def _macs(render: RenderState) -> tuple[str, ...]:
    return tuple(netif.mac for netif in render.register.netifs if is_mac(netif.mac))


def wake(state: FarmState, render: RenderState, now: float) -> None:
    """Have packets sent to wake a render, also again. Raises `EditRefused` if it is not asleep."""
    if render.states.presence not in (Presence.ASLEEP, Presence.WAKING):
        raise EditRefused(
            f'render "{render.name}" is {render.states.presence.value}: only one that is asleep'
            " can be woken"
        )
    macs = _macs(render)
    if not macs:
        raise EditRefused(f'render "{render.name}" has no network interface with a MAC address')
    state.outgoing.packets.append(WakePackets(render.name, macs))
    state.move_render(render, RenderEvent.WAKE)
    _set_deadline(state, render, now + state.settings.wake_limit)


def wake_failed(state: FarmState, render: RenderState, reason: str) -> None:
    """Note that a render does not wake."""
    if state.move_render(render, RenderEvent.WAKE_FAILED):
        render.wol_deadline = None
        state.log_render(render, f"Not woken: {reason}", "wol wake")


def note_awake(state: FarmState, render: RenderState, reason: str) -> None:
    """Note that a render that was ordered to sleep does not."""
    if state.move_render(render, RenderEvent.SLEEP_FAILED):
        render.wol_deadline = None
        state.log_render(render, f"Not asleep: {reason}", "wol sleep")


def _set_deadline(state: FarmState, render: RenderState, when: float) -> None:
    render.wol_deadline = when
    state.check_by(when)


def check_limits(state: FarmState, render: RenderState, now: float) -> None:
    """End a sleep or a wake that has taken too long."""
    if render.wol_deadline is None:
        return
    if now < render.wol_deadline:
        state.check_by(render.wol_deadline)
    elif render.states.presence is Presence.FALLING:
        limit = state.settings.sleep_limit
        note_awake(state, render, f"it is still there {limit:g} s after the order")
    else:
        limit = state.settings.wake_limit
        wake_failed(state, render, f"it has not registered in {limit:g} s")


def wake_for_tasks(state: FarmState, now: float) -> None:
    """Wake one render that could run a ready task. Called when no render has taken it."""
    if not state.asleep or not state.ready:
        return
    if now < state.next_wake:
        state.check_by(state.next_wake)
        return
    for name in sorted(state.asleep):
        render = state.renders[name]
        if not _macs(render) or render.effective.max_tasks < 1 or why_barred(state, render):
            continue
        # Whether it could run a task; its load is that before it slept.
        if any(
            block.counts[TaskState.READY]
            and not why_not_for_block(render, block)
            and not why_avoided_by_block(state, render, block, now)
            for job in state.order
            if job.counts[TaskState.READY]
            and not why_job_rests(job, now)
            and not why_not_for_job(render, job)
            for block in job.blocks
        ):
            wake(state, render, now)
            state.log_render(render, "Woken for a task that waits.", "auto wol wake")
            state.next_wake = now + state.settings.wake_interval
            break
    else:
        # Not again for each message of a render: many renders may have to be asked.
        state.next_wake = now + _WAKE_CHECK
    state.check_by(state.next_wake)

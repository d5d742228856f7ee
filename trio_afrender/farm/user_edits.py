"""What is changed of the users of the farm: parameters, the order of their jobs, deletion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from trio_afrender.errors import EditRefused, JobError
from trio_afrender.farm.edit_values import check_keys, read_values, show_values
from trio_afrender.farm.job_edits import check_owner
from trio_afrender.farm.job_parameters import USER_PARAMETERS, split_needs
from trio_afrender.farm.model import Job, User
from trio_afrender.farm.node_log import Actor, describe_action
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.transitions import order_key, sort_jobs
from trio_afrender.jobs.host_masks import compile_masks
from trio_afrender.text import count_text, show_json, suggest

__all__ = ("edit_user", "jobs_in_order", "operate_user")

_OPERATIONS: dict[str, tuple[str, ...]] = {
    "move_jobs_up": ("jids",),
    "move_jobs_down": ("jids",),
    "move_jobs_top": ("jids",),
    "move_jobs_bottom": ("jids",),
    "delete": (),
}


def edit_user(
    state: FarmState, user: User, params: Mapping[str, object], actor: Actor, now: float
) -> None:
    """Set parameters of a user, at once for all its jobs."""
    check_owner(actor, user.name, f'user {user.id} "{user.name}"')
    values = read_values(USER_PARAMETERS, params, "a user")
    own, changed = split_needs(values)
    needs = attrs.evolve(user.needs, **changed)
    try:
        masks = compile_masks(needs, own.get("hosts_mask_type", user.hosts_mask_type))
    except JobError as error:
        raise EditRefused(str(error)) from None
    # Nothing below raises.
    user.needs = needs
    user.masks = masks
    for name, value in own.items():
        setattr(user, name, value)
    sort_jobs(state)
    if "jobs_life_time" in own:
        for job in user.jobs.values():
            if state.life_over(job, now):
                state.check_by(now)  # the tick deletes it
    _log(state, user, actor, "params", show_values(params))


def operate_user(
    state: FarmState, user: User, operation: Mapping[str, object], actor: Actor, now: float
) -> None:
    """Apply an operation to a user."""
    check_owner(actor, user.name, f'user {user.id} "{user.name}"')
    kind = operation.get("type")
    if not isinstance(kind, str) or kind not in _OPERATIONS:
        near = suggest(kind, _OPERATIONS) if isinstance(kind, str) else ""
        raise EditRefused(f"a user has no operation {show_json(kind)}{near}")
    check_keys(("type", *_OPERATIONS[kind]), operation, f"the operation {kind}")
    if kind == "delete":
        if user.jobs:
            raise EditRefused(
                f'the user "{user.name}" has {count_text(len(user.jobs), "job")}: delete these first'
            )
        del state.users[user.name]
        state.unstored.drop_user(user)
        state.changes.note_user(user.id, "del")
        return
    numbers = operation.get("jids")
    if not isinstance(numbers, list | tuple) or not all(type(each) is int for each in numbers):
        raise EditRefused(f"jids: expected a list of integers, found {show_json(numbers)}")
    for number in numbers:
        if number not in user.jobs:
            raise EditRefused(f'jids: the user "{user.name}" has no job {number}')
    _move(jobs_in_order(user), set(numbers), kind.removeprefix("move_jobs_"))
    sort_jobs(state)
    state.changes.note_jobs_order(user.id)
    for job in user.jobs.values():
        state.mark_job(job)
    _log(state, user, actor, kind, f"jobs {', '.join(map(str, numbers))}")


def jobs_in_order(user: User) -> list[Job]:
    """The jobs of a user as they are served: by priority, then in the order that the user gives."""
    return sorted(user.jobs.values(), key=order_key)


def _move(jobs: Sequence[Job], chosen: set[int], where: str) -> None:
    """Move jobs among those of equal priority, by giving the positions that they have anew."""
    by_priority: dict[int, list[Job]] = {}
    for job in jobs:
        by_priority.setdefault(job.spec.priority, []).append(job)
    for equal in by_priority.values():
        positions = [job.position for job in equal]
        ordered = list(equal)
        if where == "top":
            ordered.sort(key=lambda job: job.id not in chosen)
        elif where == "bottom":
            ordered.sort(key=lambda job: job.id in chosen)
        else:
            # One step each; jobs that are moved do not pass each other.
            if where == "down":
                ordered.reverse()
            for at in range(1, len(ordered)):
                if ordered[at].id in chosen and ordered[at - 1].id not in chosen:
                    ordered[at - 1], ordered[at] = ordered[at], ordered[at - 1]
            if where == "down":
                ordered.reverse()
        for job, position in zip(ordered, positions, strict=True):
            job.position = position


def _log(state: FarmState, user: User, actor: Actor, what: str, info: str) -> None:
    state.log_user(user, describe_action(actor, "users", what, user.name, info))

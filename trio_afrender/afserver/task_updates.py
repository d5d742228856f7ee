"""Translate the session's messages into the server's: one `TaskUp` a task and message. No I/O."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Collection, Iterable

import attrs

from trio_afrender.afserver.link_state import LinkState
from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.protocol.afanasy import (
    Interface,
    IpAddress,
    OutputText,
    RenderRegister,
    RenderUpdate,
    TaskUp,
)
from trio_afrender.protocol.afanasy.clamp import strip_json_breakers
from trio_afrender.protocol.messages import (
    HostResources,
    Register,
    TaskExec,
    TaskFile,
    TaskKey,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.text import base_name

__all__ = ("give_back", "make_heartbeat", "make_register", "make_update")

_MAC = re.compile(r"([0-9a-f]{2}[:-]?){5}[0-9a-f]{2}", re.IGNORECASE)
_MAX_INTERFACES = 127
"""The count on the wire is one signed byte."""
_NULL_MAC = bytes(6)
_GIVE_BACK = (TaskStatus.RenderDeregister, TaskStatus.RenderZombie)
"""Statuses that the server means for itself. They give a task back as `GiveBack` (15) does."""


@attrs.define
class _Part:
    """All that one update contains about one run."""

    update: TaskUpdate | None = None
    log: list[str] = attrs.field(factory=list)
    listened: list[str] = attrs.field(factory=list)
    files: list[TaskFile] = attrs.field(factory=list)


def make_update(number: int, update: Update, runs: RunIds, state: LinkState) -> RenderUpdate:
    """Return an update as the server's message, from the render with id `number`.

    Stores its progress in `state`. Runs that the server has closed are left out.
    """
    # Everything about one task goes into one TaskUp. The server writes the log of a TaskUp without
    # output into the task's output file, so a log that follows the outcome in a TaskUp of its own
    # would overwrite the stored output (test_trap_13_a_log_comes_with_its_output).
    parts: defaultdict[str, _Part] = defaultdict(_Part)
    for asked in update.outputs:
        key = TaskKey(asked.job, asked.block, asked.task, asked.number)
        # The server takes an empty text for no answer.
        state.asked_outputs[key] = asked.output or "\n"
    for task in update.tasks:
        parts[task.run].update = task
        if not task.status.terminal:
            state.latest[task.run] = task
            if task.progress_changed:
                state.unsent_progress.add(task.run)
    for log in update.log:
        parts[log.run].log.append(log.text)
    for listened in update.listened:
        parts[listened.run].listened.append(listened.text)
    for entry in update.files:
        parts[entry.run].files.extend(entry.files)
    ups = []
    for run, part in parts.items():
        found = runs.key_of(run)
        if found is not None:
            ups.append(_make_task_up(number, found, run, part, state))
    return RenderUpdate(
        id=number,
        taskups=tuple(ups),
        outputs=_outputs(state),
        resources=None if update.resources is None else _clean_resources(update.resources),
    )


def make_heartbeat(
    number: int,
    runs: RunIds,
    state: LinkState,
    outcomes: Iterable[TaskUp],
    ended: Collection[TaskKey],
) -> RenderUpdate:
    """Return the update that is sent without any change: every running task with its progress, and
    `outcomes` that were sent and not closed. `ended` are the tasks of all such outcomes."""
    # The id may be another one than when the outcome was first sent, after a register in between.
    # The server ignores a TaskUp with a wrong id but closes it all the same.
    ups = [attrs.evolve(up, client_id=number) for up in outcomes]
    # Running tasks are repeated although nothing changed: the server closes a task that it does not
    # run here, and that is how a lost task is found.
    for task in runs.tasks:
        if task.key not in ended:
            up = _make_task_up(number, task.key, task.run, _Part(), state)
            # Plain progress even after a warning, because for a job that is gone the server closes
            # status 3 alone (test_a_warning_is_sent_once).
            up = attrs.evolve(up, status=TaskStatus.Percent)
            if task.run not in state.latest:
                # No progress yet: -1 is the server's own value at a start.
                up = attrs.evolve(up, percent=-1, frame=-1, percentframe=-1)
            ups.append(up)
    return RenderUpdate(id=number, taskups=tuple(ups), outputs=_outputs(state))


def _outputs(state: LinkState) -> tuple[OutputText, ...]:
    return tuple(OutputText(key=key, text=text) for key, text in state.asked_outputs.items())


def give_back(number: int, keys: dict[TaskKey, TaskStatus]) -> tuple[TaskUp, ...]:
    """Return outcomes of tasks that the server lists on this render and whose exec was lost."""
    return tuple(
        TaskUp(client_id=number, **key._asdict(), status=status) for key, status in keys.items()
    )


def _make_task_up(number: int, key: TaskKey, run: str, part: _Part, state: LinkState) -> TaskUp:
    # The server stores a file under the name that it gets, ".." included.
    named = ((base_name(file.name.replace("\0", "")), file.data) for file in part.files)
    up = TaskUp(
        client_id=number,
        **key._asdict(),
        status=TaskStatus.Started,
        log="".join(part.log),
        listened="".join(part.listened),
        files=tuple(TaskFile(name=name, data=data) for name, data in named if name),
    )
    # A log or files without progress carry the latest progress, because a TaskUp has no field for
    # "unchanged".
    task = part.update or state.latest.get(run)
    if task is None:
        return up
    return attrs.evolve(
        up,
        status=TaskStatus.GiveBack if task.status in _GIVE_BACK else task.status,
        percent=min(max(task.percent, 0), 100),
        frame=task.frame,
        percentframe=min(max(task.percentframe, 0), 100),
        # It restarts the server's timer of tasks without progress, so it is sent once a change, not
        # with each heartbeat (test_progress_restarts_the_no_progress_timer_once).
        progress_changed=run in state.unsent_progress
        or (task.progress_changed and part.update is not None),
        # The server puts these two into its JSON without escapes.
        activity=strip_json_breakers(task.activity),
        resources=strip_json_breakers(task.resources),
        report=task.report,
        parsed_files=task.parsed_files,
        data=task.output.encode("utf-8", "surrogateescape") if task.output else b"",
    )


# -- a register ----------------------------------------------------------------------------------


def make_register(register: Register, tasks: tuple[TaskExec, ...]) -> RenderRegister:
    """Return the register of a render; its `tasks` run, or have ended and are not closed yet."""
    # The server uses interfaces for Wake-on-LAN alone, and loopback cannot wake a host.
    netifs = []
    for netif in register.netifs:
        if not _MAC.fullmatch(netif.mac):
            continue
        mac = bytes.fromhex(re.sub("[:-]", "", netif.mac))
        if mac == _NULL_MAC:
            continue
        addresses = []
        for text in netif.addresses:
            try:
                address = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:
                continue
            family = 0 if address.version == 4 else 1
            addresses.append(IpAddress(family=family, packed=address.packed.ljust(16, b"\0")))
        name = strip_json_breakers(netif.name)
        netifs.append(Interface(name=name, mac=mac, addresses=tuple(addresses)))
    return RenderRegister(
        tasks=tasks,
        # The server puts these four into its JSON without escapes.
        os=strip_json_breakers(register.os),
        engine=strip_json_breakers(register.engine),
        name=strip_json_breakers(register.name),
        user_name=strip_json_breakers(register.user_name),
        state=register.state,
        flags=register.flags,
        priority=register.priority,
        time_launch=register.time_launch,
        tasks_percents=(-1,) * len(tasks),
        resources=_clean_resources(register.resources or HostResources()),
        # For a name that is new to the server an id is a request: the server refuses one that is in
        # use, and a negative or huge one is an index outside of its table
        # (test_trap_11_a_register_asks_for_no_id).
        id=0,
        netifs=tuple(netifs[:_MAX_INTERFACES]),
    )


def _clean_resources(resources: HostResources) -> HostResources:
    return attrs.evolve(
        resources,
        gpu_string=strip_json_breakers(resources.gpu_string),
        hw_info=strip_json_breakers(resources.hw_info),
        logged_in_users=tuple(strip_json_breakers(user) for user in resources.logged_in_users),
    )

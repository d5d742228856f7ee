"""From the session's messages to the server's: one `TaskUp` for all that is said of a task. Pure."""

from __future__ import annotations

import ipaddress
import re
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
    NetIF,
    Register,
    TaskFile,
    TaskKey,
    TaskStatus,
    TaskUpdate,
    Update,
)

__all__ = ("give_back", "make_heartbeat", "make_register", "make_update")

_MAC = re.compile(r"([0-9a-f]{2}[:-]?){5}[0-9a-f]{2}", re.IGNORECASE)
_MAX_INTERFACES = 127
_NULL_MAC = bytes(6)
_PATH = re.compile(r"[/\\]")
_GIVE_BACK = (TaskStatus.RenderDeregister, TaskStatus.RenderZombie)


@attrs.define
class _Part:
    update: TaskUpdate | None = None
    log: list[str] = attrs.field(factory=list)
    listened: list[str] = attrs.field(factory=list)
    files: list[TaskFile] = attrs.field(factory=list)


def make_update(number: int, update: Update, runs: RunIds, memory: LinkState) -> RenderUpdate:
    """What the server is told, as the render with id `number`. Notes progress in `memory`.

    Whatever is said of one task goes into one `TaskUp`: a log beside an outcome that came alone
    would overwrite the output that the server has stored.
    """
    parts: dict[str, _Part] = {}
    for asked in update.outputs:
        key = TaskKey(asked.job, asked.block, asked.task, asked.number)
        memory.asked[key] = asked.output or "\n"  # an empty one would be no answer
    for task in update.tasks:
        _part(parts, task.run).update = task
        if not task.status.terminal:
            memory.latest[task.run] = task
            if task.progress_changed:
                memory.moved.add(task.run)
    for log in update.log:
        _part(parts, log.run).log.append(log.text)
    for listened in update.listened:
        _part(parts, listened.run).listened.append(listened.text)
    for entry in update.files:
        _part(parts, entry.run).files.extend(entry.files)
    ups = []
    for run, part in parts.items():
        found = runs.key_of(run)
        if found is not None:  # else the server has closed it meanwhile
            ups.append(_make_up(number, found, run, part, memory))
    return RenderUpdate(
        id=number,
        taskups=tuple(ups),
        outputs=_outputs(memory),
        resources=None if update.resources is None else _clean_resources(update.resources),
    )


def make_heartbeat(
    number: int, runs: RunIds, memory: LinkState, finals: Iterable[TaskUp]
) -> RenderUpdate:
    """The sign of life: how every running task stands, and outcomes that were not closed.

    Saying again what runs is how a server that lost a task finds out: it closes what it does not
    know.
    """
    told = {up.key for up in finals}
    ups = [attrs.evolve(up, client_id=number) for up in finals]
    for task in runs.tasks:
        if task.key not in told:
            up = _make_up(number, task.key, task.run, _Part(), memory)
            ups.append(_as_percent(up, known=task.run in memory.latest))
    return RenderUpdate(id=number, taskups=tuple(ups), outputs=_outputs(memory))


def _as_percent(up: TaskUp, *, known: bool) -> TaskUp:
    """The same as plain progress: of a job that is gone the server closes nothing else. What is
    not known yet is -1, as the server has it at a start."""
    if known:
        return attrs.evolve(up, status=TaskStatus.Percent)
    return attrs.evolve(up, status=TaskStatus.Percent, percent=-1, frame=-1, percentframe=-1)


def _outputs(memory: LinkState) -> tuple[OutputText, ...]:
    return tuple(OutputText(key=key, text=text) for key, text in memory.asked.items())


def give_back(number: int, keys: dict[TaskKey, TaskStatus]) -> tuple[TaskUp, ...]:
    """Outcomes of tasks that the server believes here and that we never had."""
    return tuple(
        TaskUp(client_id=number, **key._asdict(), status=status) for key, status in keys.items()
    )


def _part(parts: dict[str, _Part], run: str) -> _Part:
    return parts.setdefault(run, _Part())


def _make_up(number: int, key: TaskKey, run: str, part: _Part, memory: LinkState) -> TaskUp:
    up = TaskUp(
        client_id=number,
        **key._asdict(),
        status=TaskStatus.Started,
        log="".join(part.log),
        listened="".join(part.listened),
        files=tuple(_base_named(part.files)),
    )
    said = part.update or memory.latest.get(run)
    if said is None:
        return up
    return attrs.evolve(
        up,
        status=TaskStatus.GiveBack if said.status in _GIVE_BACK else said.status,
        percent=min(max(said.percent, 0), 100),
        frame=said.frame,
        percentframe=min(max(said.percentframe, 0), 100),
        progress_changed=run in memory.moved or (said.progress_changed and part.update is not None),
        activity=strip_json_breakers(said.activity),
        resources=strip_json_breakers(said.resources),
        report=said.report,
        parsed_files=said.parsed_files,
        data=said.output.encode("utf-8", "surrogateescape") if said.output else b"",
    )


def _base_named(files: Iterable[TaskFile]) -> Iterable[TaskFile]:
    """The files with base names: the server stores under whatever name it gets."""
    for file in files:
        name = _PATH.split(file.name)[-1].replace("\0", "")
        if name not in ("", ".", ".."):
            yield TaskFile(name=name, data=file.data)


# -- a register ----------------------------------------------------------------------------------


def make_register(register: Register, runs: RunIds) -> RenderRegister:
    """The whole render, with the tasks of `runs`. It asks for no id: the server would grant it."""
    tasks = runs.tasks
    return RenderRegister(
        tasks=tasks,
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
        id=0,
        netifs=tuple(_interfaces(register.netifs)),
    )


def _clean_resources(resources: HostResources) -> HostResources:
    return attrs.evolve(
        resources,
        gpu_string=strip_json_breakers(resources.gpu_string),
        hw_info=strip_json_breakers(resources.hw_info),
        logged_in_users=tuple(strip_json_breakers(user) for user in resources.logged_in_users),
    )


def _interfaces(netifs: Collection[NetIF]) -> Iterable[Interface]:
    """Those that can wake a host: loopback has no MAC and is left out."""
    found = []
    for netif in netifs:
        mac = _read_mac(netif.mac)
        if mac != _NULL_MAC:
            addresses = tuple(filter(None, map(_read_address, netif.addresses)))
            found.append(
                Interface(name=strip_json_breakers(netif.name), mac=mac, addresses=addresses)
            )
    return found[:_MAX_INTERFACES]


def _read_mac(text: str) -> bytes:
    return bytes.fromhex(re.sub("[:-]", "", text)) if _MAC.fullmatch(text) else _NULL_MAC


def _read_address(text: str) -> IpAddress | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return IpAddress(
        family=0 if address.version == 4 else 1, packed=address.packed.ljust(16, b"\0")
    )

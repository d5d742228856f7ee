"""A task and a render of the fake Afanasy server."""

from __future__ import annotations

import enum
from typing import Any, Literal, TypeAlias

import attrs

from trio_afrender.protocol.afanasy import RenderEvents, RenderId, RenderRegister
from trio_afrender.protocol.messages import TaskExec, TaskKey

__all__ = (
    "NIMBY",
    "NIMBY_OWNER",
    "ONLINE",
    "PAUSED",
    "NativeRender",
    "NativeState",
    "NativeTask",
)

ONLINE, NIMBY_OWNER, NIMBY, PAUSED = 1, 2, 4, 2**8
RequestKind: TypeAlias = Literal["closes", "stops", "outputs", "listens_add", "listens_rem"]


class NativeState(enum.Enum):
    """The state of a task. Only an outcome that counts ends RUNNING."""

    READY = "RDY"
    RUNNING = "RUN"
    RECONNECT = "WRC"
    DONE = "DON"
    ERROR = "ERR"
    SKIPPED = "SKP"


@attrs.define(eq=False, kw_only=True)
class NativeTask:
    """One task, and what the server has stored of it."""

    exec: TaskExec
    state: NativeState = NativeState.READY
    render: int = 0
    """The id of the render that runs it, 0 if none does."""
    stopping: NativeState | None = None
    """The state after its end, if it was asked to stop."""
    sessions: int = 0
    """How often it was handed out or resumed."""
    waits_since: float = 0.0
    """When it began to wait for its render after a restart of the server."""
    errors: int = 0
    retries: int = 0
    percent: int = 0
    activity: str = ""
    resources: str = ""
    report: str = ""
    log: list[str] = attrs.field(factory=list)
    output: bytes = b""
    listened: str = ""
    listening: bool = False
    parsed_files: tuple[str, ...] = ()
    files: dict[str, bytes] = attrs.field(factory=dict)
    statuses: list[int] = attrs.field(factory=list)
    """Every status that was reported, counted or not."""

    @property
    def key(self) -> TaskKey:
        return self.exec.key


@attrs.define(eq=False, kw_only=True)
class NativeRender:
    """One render, identified by its name."""

    id: int
    name: str
    state: int
    register: RenderRegister
    updated: float
    tasks: list[TaskKey] = attrs.field(factory=list)
    events: RenderEvents = attrs.field(init=False)
    max_tasks: int = 4

    def __attrs_post_init__(self) -> None:
        self.events = RenderEvents(id=self.id)

    @property
    def online(self) -> bool:
        return bool(self.state & ONLINE)

    @property
    def time_launch(self) -> int:
        return self.register.time_launch if self.online else 0

    def add(self, kind: RequestKind, *keys: TaskKey) -> None:
        """Put keys into the next answer, each once."""
        queued: tuple[TaskKey, ...] = getattr(self.events, kind)
        changed: Any = {kind: (*queued, *(key for key in keys if key not in queued))}
        self.events = attrs.evolve(self.events, **changed)

    def add_exec(self, task: TaskExec) -> None:
        """Put a task to run into the next answer."""
        self.events = attrs.evolve(self.events, tasks=(*self.events.tasks, task))

    def add_instruction(self, instruction: str, command: str = "") -> None:
        """Put an instruction into the next answer. A newer one replaces an older one."""
        self.events = attrs.evolve(self.events, instruction=instruction, command=command)

    def take_events(self) -> RenderEvents | RenderId:
        """Return the next answer; only the id if there are no events."""
        events, self.events = self.events, RenderEvents(id=self.id)
        return RenderId(id=self.id) if events == self.events else events

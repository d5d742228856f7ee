"""One task and one render of the double of an Afanasy server."""

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
    """Where a task stands. There is no way out of RUNNING but an outcome that counts."""

    READY = "RDY"
    RUNNING = "RUN"
    RECONNECT = "WRC"
    DONE = "DON"
    ERROR = "ERR"
    SKIPPED = "SKP"


@attrs.define(eq=False, kw_only=True)
class NativeTask:
    """One task and what is stored of it."""

    exec: TaskExec
    state: NativeState = NativeState.READY
    render: int = 0
    """The id of the render that runs it."""
    stopping: NativeState | None = None
    """What it becomes once it has ended, if it was asked to stop."""
    sessions: int = 0
    waits_since: float = 0.0
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
    """One render. Its name is who it is."""

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
        there: tuple[TaskKey, ...] = getattr(self.events, kind)
        found: Any = {kind: (*there, *(key for key in keys if key not in there))}
        self.events = attrs.evolve(self.events, **found)

    def add_exec(self, task: TaskExec) -> None:
        """Put a task to run into the next answer."""
        self.events = attrs.evolve(self.events, tasks=(*self.events.tasks, task))

    def add_instruction(self, instruction: str, command: str = "") -> None:
        """Say what to do besides tasks; there is room for one, the newer replaces the older."""
        self.events = attrs.evolve(self.events, instruction=instruction, command=command)

    def take_events(self) -> RenderEvents | RenderId:
        events, self.events = self.events, RenderEvents(id=self.id)
        return RenderId(id=self.id) if events == self.events else events

"""The grip that a program has on its agent, and what it sees of its runs."""

from __future__ import annotations

from typing import Protocol

import attrs
import trio

from trio_afrender.config import Config
from trio_afrender.protocol.messages import TaskKey

__all__ = ("Agent", "AgentHandle", "RunView")


@attrs.frozen(kw_only=True)
class RunView:
    """What an agent says of one run, for the program that embeds it."""

    run: str
    key: TaskKey
    name: str
    pid: int | None
    percent: int
    activity: str
    suspended: str = ""
    """Why it stands still; empty: it does not."""


class Agent(Protocol):
    """What a handle asks of its agent (`agent.run`)."""

    config: Config
    over: trio.Event

    @property
    def state(self) -> str: ...

    def views(self) -> tuple[RunView, ...]: ...
    def drain(self, reason: str, budget: float | None) -> None: ...
    def stop_now(self, reason: str) -> None: ...
    def leave(self, reason: str) -> None: ...
    def stop_task(self, which: TaskKey | str, reason: str) -> bool: ...
    def suspend_task(self, which: TaskKey | str, reason: str) -> bool: ...
    def check(self) -> tuple[str, ...]: ...


class AgentHandle:
    """The grip of the embedding program on its agent. Methods return at once unless awaited."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    @property
    def name(self) -> str:
        return self._agent.config.name

    @property
    def state(self) -> str:
        """``connecting``, ``online``, ``draining`` or ``closed``."""
        return self._agent.state

    @property
    def running(self) -> tuple[RunView, ...]:
        return self._agent.views()

    def drain(self, reason: str, budget: float | None = None) -> None:
        """Take no new task, let the running ones finish or stop them (`Config.drain`), deliver,
        say goodbye: all within `budget` seconds (default `Timing.shutdown`)."""
        self._agent.drain(reason, budget)

    def stop_now(self, reason: str) -> None:
        """Drain without patience: tasks are stopped with a short grace and given back."""
        self._agent.stop_now(reason)

    def leave(self, reason: str) -> None:
        """End without a word to the server, and leave running tasks to the supervisor: the next agent
        of this name takes them up where they are. Without a supervisor they are ended."""
        self._agent.leave(reason)

    def stop_task(self, which: TaskKey | str, reason: str) -> bool:
        """Stop one run by key or run id and give it back; False if it does not run here."""
        return self._agent.stop_task(which, reason)

    def suspend_task(self, which: TaskKey | str, reason: str) -> bool:
        """Let one run stand still, all its processes; False if it does not run here. It keeps its
        memory and its place; limits do not count meanwhile; a stop ends it as ever."""
        return self._agent.suspend_task(which, reason or "no reason given")

    def resume_task(self, which: TaskKey | str) -> bool:
        """Let it go on; False if it does not run here."""
        return self._agent.suspend_task(which, "")

    def check(self) -> tuple[str, ...]:
        """Name the loops of the agent that hang, () when all is well; for a watchdog.

        An answer that has to be waited for is judged by the next call, seconds later. A server
        that is away is no complaint.
        """
        return self._agent.check()

    async def finished(self) -> None:
        """Wait until the agent has said goodbye."""
        await self._agent.over.wait()

"""The interface of an agent for the program that embeds it: control the agent, list its runs."""

from __future__ import annotations

from typing import Protocol

import attrs
import trio

from trio_afrender.agent.run_events import AgentEvents
from trio_afrender.config import Config
from trio_afrender.metrics.families import MetricFamily
from trio_afrender.protocol.messages import TaskKey

__all__ = ("Agent", "AgentHandle", "RunView")


@attrs.frozen(kw_only=True)
class RunView:
    """One run of an agent, as a snapshot."""

    run: str
    key: TaskKey
    name: str
    pid: int | None
    percent: int
    activity: str
    suspended: str = ""
    """Why the run is suspended; empty if it is not."""


class Agent(Protocol):
    """The methods that an `AgentHandle` calls; `agent.agent` implements them."""

    config: Config
    over: trio.Event

    @property
    def state(self) -> str: ...

    def views(self) -> tuple[RunView, ...]: ...
    def open_events(self) -> AgentEvents: ...
    def drain(self, reason: str, budget: float | None) -> None: ...
    def stop_now(self, reason: str) -> None: ...
    def leave(self, reason: str) -> None: ...
    def stop_task(self, which: TaskKey | str, reason: str) -> bool: ...
    def suspend_task(self, which: TaskKey | str, reason: str) -> bool: ...
    def check(self) -> tuple[str, ...]: ...
    def metrics(self) -> tuple[MetricFamily, ...]: ...


class AgentHandle:
    """Controls a running agent. Methods return at once; only `finished` waits."""

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
        """The runs of this agent."""
        return self._agent.views()

    def events(self) -> AgentEvents:
        """Return what happens to the runs from now on: an async iterator, one for each reader.

        It begins with a `RunStarted` for each run that is there already. Close it, or use it as a
        context; one that is open and not read makes the agent refuse tasks after `MAX_OUTCOMES`.
        """
        return self._agent.open_events()

    def drain(self, reason: str, budget: float | None = None) -> None:
        """Drain the agent and end it within `budget` seconds (default `Timing.shutdown`).

        It takes no new task, lets running tasks finish or stops them (`Config.drain`), delivers
        their outcomes and deregisters.
        """
        self._agent.drain(reason, budget)

    def stop_now(self, reason: str) -> None:
        """End the agent within a few seconds: stop its tasks with a short grace, give them back."""
        self._agent.stop_now(reason)

    def leave(self, reason: str) -> None:
        """End the agent without a message to the server, and leave its tasks to the supervisor.

        The next agent of this name continues them. Without a supervisor they are ended.
        """
        self._agent.leave(reason)

    def stop_task(self, which: TaskKey | str, reason: str) -> bool:
        """Stop a run and give it back, by task key or run id; return False if it does not run."""
        return self._agent.stop_task(which, reason)

    def suspend_task(self, which: TaskKey | str, reason: str) -> bool:
        """Suspend all processes of a run; return False if it does not run here.

        It keeps its memory and its slot. Time limits do not count while it is suspended, and it can
        be stopped.
        """
        return self._agent.suspend_task(which, reason or "no reason given")

    def resume_task(self, which: TaskKey | str) -> bool:
        """Resume a suspended run; return False if it does not run here."""
        return self._agent.suspend_task(which, "")

    def check(self) -> tuple[str, ...]:
        """Return a sentence for each loop of the agent that hangs, for a watchdog.

        A loop that has to be probed is probed by one call and reported by a later one, so call it
        every few seconds. A server that does not answer is no fault of a loop.
        """
        return self._agent.check()

    def metrics(self) -> tuple[MetricFamily, ...]:
        """Return figures for Prometheus; `trio_afrender.metrics` formats and serves them."""
        return self._agent.metrics()

    async def finished(self) -> None:
        """Wait until the agent has ended."""
        await self._agent.over.wait()

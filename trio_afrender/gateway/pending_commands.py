"""What the server wants of a render's runs that the agent may not have heard. Pure.

A server says a thing once. What it said while no agent was there, or on a websocket that was cut
before it arrived, is said again to the agent when it comes back: each of these may be said twice
without harm. Closes are not among them: an outcome that was closed and is listed again shows in
what the server believes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import attrs

from trio_afrender.protocol.messages import Events, Register, Registered, RunRef, TaskExec

__all__ = ("PendingCommands", "undelivered")

_SETTINGS = ("heartbeat_sec", "resources_update_period", "zombie_time", "exit_no_task_time")


def undelivered(
    before: Register | None, now: Register, tasks: Iterable[TaskExec]
) -> tuple[TaskExec, ...]:
    """Those of `tasks`, handed out to the agent that was there `before`, that it never got.

    Only for the very same process: one that was started anew may have run and lost them, so for
    that one they are given back to the server.
    """
    same = before is not None and before.time_launch and before.time_launch == now.time_launch
    if before is None or not same or before.host_name != now.host_name:
        return ()
    listed = {task.run for task in (*now.running, *now.undelivered)}
    return tuple(task for task in tasks if task.run not in listed)


@attrs.define(eq=False)
class PendingCommands:
    """What stands between the server and one agent."""

    _stops: dict[str, RunRef] = attrs.field(factory=dict)
    _listens: dict[str, tuple[RunRef, bool]] = attrs.field(factory=dict)
    """The last word on each run that somebody listens to, or no longer."""
    _outputs: dict[str, RunRef] = attrs.field(factory=dict)
    _instruction: tuple[str, str] = ("", "")
    _settings: dict[str, float] = attrs.field(factory=dict)

    def heard(self, events: Events, runs: Collection[str], *, there: bool) -> None:
        """Note what the server said, of which `runs` are left; `there`: an agent was."""
        self._stops.update((ref.run, ref) for ref in events.stops)
        self._listens.update((ref.run, (ref, True)) for ref in events.listens_add)
        self._listens.update((ref.run, (ref, False)) for ref in events.listens_rem)
        self._note_settings(events)
        if not there:
            self._outputs.update((ref.run, ref) for ref in events.outputs)
            if events.instruction:
                self._instruction = events.instruction, events.command
        for about in (self._stops, self._listens, self._outputs):
            for run in about.keys() - set(runs):
                del about[run]

    def answer(self, said: Registered, listed: Collection[str]) -> Registered:
        """The answer to a register with the settings that stand, and no run that it did not list."""
        self._note_settings(said)
        kept: dict[str, Any] = {
            name: getattr(said, name) or self._settings.get(name, 0) for name in _SETTINGS
        }
        return attrs.evolve(
            said,
            **kept,
            resume=tuple(run for run in said.resume if run in listed),
            stop=tuple(run for run in said.stop if run in listed),
        )

    def again(self, resumed: Collection[str], tasks: Iterable[TaskExec]) -> Events | None:
        """What to say to an agent that came back and goes on with the runs `resumed`.

        `tasks` are those it never got.
        """
        instruction, command = self._instruction
        listens = [each for run, each in self._listens.items() if run in resumed]
        events = Events(
            tasks=tuple(task for task in tasks if task.run in resumed),
            stops=tuple(ref for run, ref in self._stops.items() if run in resumed),
            outputs=tuple(ref for run, ref in self._outputs.items() if run in resumed),
            listens_add=tuple(ref for ref, on in listens if on),
            listens_rem=tuple(ref for ref, on in listens if not on),
            instruction=instruction,
            command=command,
        )
        self._instruction = ("", "")
        self._outputs.clear()
        return None if events == Events() else events

    def _note_settings(self, said: Events | Registered) -> None:
        self._settings.update({name: value for name in _SETTINGS if (value := getattr(said, name))})

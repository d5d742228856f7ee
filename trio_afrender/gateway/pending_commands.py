"""Commands of the server that an agent may have missed, sent again when it reconnects. No I/O.

The server sends each command once. Commands that came while no agent was connected are sent to the
agent when it is back. So are tasks, stops and listening that may have been lost with a websocket:
each may be received twice without harm. An instruction may not. Closes are not among them: a run that
was closed and is listed again shows when the register is compared with the server's view.
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
    """Those of `tasks` that were assigned to the agent which registered `before`, but not received.

    Empty unless both registers are of the same process: a restarted agent may have run and lost
    the tasks, so they are given back to the server instead.
    """
    same = before is not None and before.time_launch and before.time_launch == now.time_launch
    if before is None or not same or before.host_name != now.host_name:
        return ()
    listed = {task.run for task in (*now.running, *now.undelivered)}
    return tuple(task for task in tasks if task.run not in listed)


@attrs.define(eq=False)
class PendingCommands:
    """The commands of the server for one agent that may not have arrived."""

    _stops: dict[str, RunRef] = attrs.field(factory=dict)
    _listens: dict[str, tuple[RunRef, bool]] = attrs.field(factory=dict)
    """By run: the last command on listening, and whether it starts or ends it."""
    _outputs: dict[str, RunRef] = attrs.field(factory=dict)
    _instruction: tuple[str, str] = ("", "")
    _settings: dict[str, float] = attrs.field(factory=dict)

    def note(self, events: Events, runs: Collection[str], *, connected: bool) -> None:
        """Note events of the server. `runs` are those that the render still has.

        `connected`: whether an agent was there to receive them.
        """
        self._stops.update((ref.run, ref) for ref in events.stops)
        self._listens.update((ref.run, (ref, True)) for ref in events.listens_add)
        self._listens.update((ref.run, (ref, False)) for ref in events.listens_rem)
        self._note_settings(events)
        if not connected:
            self._outputs.update((ref.run, ref) for ref in events.outputs)
            if events.instruction:
                self._instruction = events.instruction, events.command
        for commands in (self._stops, self._listens, self._outputs):
            for run in commands.keys() - set(runs):
                del commands[run]

    def complete_answer(self, answer: Registered, listed: Collection[str]) -> Registered:
        """Complete the server's answer to a register with the settings that are in force.

        Runs that the agent did not list are left out.
        """
        self._note_settings(answer)
        settings: dict[str, Any] = {
            name: getattr(answer, name) or self._settings.get(name, 0) for name in _SETTINGS
        }
        return attrs.evolve(
            answer,
            **settings,
            resume=tuple(run for run in answer.resume if run in listed),
            stop=tuple(run for run in answer.stop if run in listed),
        )

    def repeat(self, resumed: Collection[str], tasks: Iterable[TaskExec]) -> Events | None:
        """The events to send to an agent that has reconnected; None if there are none.

        `resumed` are the runs that it continues, `tasks` those it did not receive.
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

    def _note_settings(self, message: Events | Registered) -> None:
        changed = {name: value for name in _SETTINGS if (value := getattr(message, name))}
        self._settings.update(changed)

"""Decide on a server's instructions: exit, drain, launch, launch_exit, reboot, shutdown, sleep.

Most of them run commands on this host, and Afanasy's protocol has no authentication. So all but
`exit` and `drain` are refused unless the host's owner allows them by name (`Config.instructions`).
No I/O.
"""

from __future__ import annotations

import attrs

from trio_afrender.config import Config
from trio_afrender.config.settings import INSTRUCTIONS

__all__ = ("ALLOWED_ALWAYS", "Plan", "make_plan")

ALLOWED_ALWAYS = ("exit", "drain")


@attrs.frozen(slots=True, kw_only=True)
class Plan:
    """The actions for an instruction, to be taken in the order of the fields."""

    refusal: str = ""
    """Why the instruction is refused; all other fields are empty then."""
    launch: str = ""
    """A shell command to start now, detached."""
    sleep: str = ""
    """The render as JSON, from which the service of ``af_sysjob_wol_service`` makes a command."""
    leave: str = ""
    """The reason for draining and leaving the farm; empty to stay."""
    finish: bool = False
    """Whether running tasks may finish first, within the drain's budget and policy."""
    final_command: str = ""
    """A shell command to start after the render has left the farm."""


def make_plan(instruction: str, command: str, config: Config) -> Plan:
    """Return the plan for `instruction` with the server's `command`."""
    if instruction not in INSTRUCTIONS:
        return Plan(refusal=f'the instruction "{instruction}" is unknown to this version')
    if instruction not in (*ALLOWED_ALWAYS, *config.instructions):
        return Plan(
            refusal=f'the instruction "{instruction}" is not allowed on this host; its owner can'
            f' allow it: "trio_afrender": {{"instructions": ["{instruction}"]}} in a config file'
        )
    if instruction in ("launch", "launch_exit", "sleep") and not command.strip():
        return Plan(refusal=f'the instruction "{instruction}" came without a command')
    reason = f'instruction "{instruction}" of the server'
    match instruction:
        case "launch":
            return Plan(launch=command)
        case "launch_exit":
            return Plan(launch=command, leave=reason)
        case "sleep":
            return Plan(sleep=command)
        case "reboot":
            return _plan_final(reason, config.reboot_command, "af_render_cmd_reboot")
        case "shutdown":
            return _plan_final(reason, config.shutdown_command, "af_render_cmd_shutdown")
    return Plan(leave=reason, finish=instruction == "drain")


def _plan_final(reason: str, command: str, key: str) -> Plan:
    # The command comes last: a host that goes down at once would lose outcomes.
    if not command.strip():
        return Plan(refusal=f"{reason}, but {key} is empty")
    return Plan(leave=reason, final_command=command)

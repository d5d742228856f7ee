"""What a server may make of this host: exit, drain, launch, launch_exit, reboot, shutdown, sleep.

They are commands from afar, and the native protocol has no authentication: all but `exit` and
`drain` are refused unless the host's owner allows them by name (`Config.instructions`). Pure.
"""

from __future__ import annotations

import attrs

from trio_afrender.config import Config
from trio_afrender.config.settings import INSTRUCTIONS

__all__ = ("ALLOWED_ALWAYS", "Plan", "make_plan")

ALLOWED_ALWAYS = ("exit", "drain")


@attrs.frozen(slots=True, kw_only=True)
class Plan:
    """What to do about an instruction: each part in the order of the fields."""

    refusal: str = ""
    """Why nothing is done; then all else is empty."""
    launch: str = ""
    """A shell command to start now, on its own."""
    sleep: str = ""
    """The render as JSON, from which the service of ``af_sysjob_wol_service`` makes a command."""
    leave: str = ""
    """Leave the farm; the reason."""
    finish: bool = False
    """Let running tasks finish first, as far as a drain's budget and policy go."""
    final_command: str = ""
    """A shell command to start once the farm is left."""


def make_plan(instruction: str, command: str, config: Config) -> Plan:
    """Decide what `instruction` with the server's `command` means on a host with `config`."""
    if instruction not in INSTRUCTIONS:
        return Plan(refusal=f'the instruction "{instruction}" is unknown to this version')
    if instruction not in (*ALLOWED_ALWAYS, *config.instructions):
        return Plan(
            refusal=f'the instruction "{instruction}" is not allowed on this host; its owner can'
            f' allow it: "trio_afrender": {{"instructions": ["{instruction}"]}} in a config file'
        )
    if instruction in ("launch", "launch_exit", "sleep") and not command.strip():
        return Plan(refusal=f'the instruction "{instruction}" came without a command')
    reason = f'the server said "{instruction}"'
    match instruction:
        case "launch":
            return Plan(launch=command)
        case "launch_exit":
            return Plan(launch=command, leave=reason)
        case "sleep":
            return Plan(sleep=command)
        case "reboot":
            return _last(reason, config.reboot_command, "af_render_cmd_reboot")
        case "shutdown":
            return _last(reason, config.shutdown_command, "af_render_cmd_shutdown")
    return Plan(leave=reason, finish=instruction == "drain")


def _last(reason: str, command: str, key: str) -> Plan:
    if not command.strip():
        return Plan(refusal=f"{reason}, but {key} is empty")
    return Plan(leave=reason, final_command=command)

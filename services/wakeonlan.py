"""Puts a render to sleep or wakes it up, as a task of the server's own job.

The command of such a task is a render as JSON, its working folder is ``SLEEP`` or ``WAKE``.
"""

from __future__ import annotations

import json
from typing import Any

from services import service

__all__ = ("wakeonlan",)


class wakeonlan(service.service):
    """Builds the command from ``af_render_cmd_wolsleep`` or ``af_render_cmd_wolwake``."""

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        sleep = taskInfo["wdir"] == "SLEEP"
        taskInfo["wdir"] = ""  # SLEEP and WAKE are no folders
        taskInfo["command"] = ""
        try:
            # Not `command`, to which the paths map was applied: it may break the JSON.
            words = _words(json.loads(self.processCommandPattern()))
        except (TypeError, ValueError, RecursionError) as error:
            self.addLog(f"The command has no usable render: {error}")
            return
        key = "af_render_cmd_wolsleep" if sleep else "af_render_cmd_wolwake"
        program = self.settings.variables[key]
        taskInfo["command"] = f"{program} {self._quote(['--sleep' if sleep else '--wake', *words])}"


def _words(render: object) -> list[str]:
    """The options for a render's address and name, and the MAC addresses of its network interfaces.

    Raises TypeError and ValueError if one is missing.
    """
    if not isinstance(render, dict):
        raise TypeError("the command is no JSON object")
    address = render.get("address")
    ip = address.get("ip") if isinstance(address, dict) else None
    if not isinstance(ip, str) or not ip:
        raise ValueError("it has no address.ip")
    interfaces = render.get("netifs")
    if not isinstance(interfaces, list) or not interfaces:
        raise ValueError("it has no netifs")
    macs = [each.get("mac") if isinstance(each, dict) else None for each in interfaces]
    if not all(isinstance(mac, str) and mac for mac in macs):
        raise ValueError("a network interface has no mac")
    name = render.get("name", "")
    return [
        *("--ip", ip, "--hostname", name if isinstance(name, str) else ""),
        *(str(mac).replace(":", "") for mac in macs),
    ]

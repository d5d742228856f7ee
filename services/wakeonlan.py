"""Puts a render to sleep, or wakes it up, by the server's own job.

The command of such a task is a render as JSON, its working folder says ``SLEEP`` or ``WAKE``.
"""

from __future__ import annotations

import json
from typing import Any

from services import service

__all__ = ("wakeonlan",)


class wakeonlan(service.service):
    """Makes the command of ``af_render_cmd_wolsleep`` or ``af_render_cmd_wolwake``."""

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        sleep = taskInfo["wdir"] == "SLEEP"
        taskInfo["wdir"] = ""  # it is no folder
        taskInfo["command"] = ""
        try:
            # As it came: a paths map has no business in JSON.
            words = _words(json.loads(self.processCommandPattern()))
        except (TypeError, ValueError, RecursionError) as error:
            self.addLog(f"Cannot tell which render is meant: {error}")
            return
        key = "af_render_cmd_wolsleep" if sleep else "af_render_cmd_wolwake"
        program = self.settings.variables[key]
        taskInfo["command"] = f"{program} {self._quote(['--sleep' if sleep else '--wake', *words])}"


def _words(render: object) -> list[str]:
    """The address, the name and the cards of a render.

    Raises TypeError and ValueError for what is none.
    """
    if not isinstance(render, dict):
        raise TypeError("the command is no JSON object")
    address = render.get("address")
    ip = address.get("ip") if isinstance(address, dict) else None
    if not isinstance(ip, str) or not ip:
        raise ValueError("it has no address.ip")
    cards = render.get("netifs")
    if not isinstance(cards, list) or not cards:
        raise ValueError("it has no netifs")
    macs = [card.get("mac") if isinstance(card, dict) else None for card in cards]
    if not all(isinstance(mac, str) and mac for mac in macs):
        raise ValueError("a network interface has no mac")
    name = render.get("name", "")
    return [
        *("--ip", ip, "--hostname", name if isinstance(name, str) else ""),
        *(str(mac).replace(":", "") for mac in macs),
    ]

"""V-Ray Standalone; on several hosts when the command says ``@AF_HOSTS@``."""

from __future__ import annotations

import socket
from collections.abc import Callable

from services import _host_addresses, service

__all__ = ("vray",)

parser = "vray"


class vray(service.service):
    """Passes hosts as ``-renderhost="10.0.0.1;10.0.0.2"``."""

    look_up: Callable[[str], str] = staticmethod(socket.gethostbyname)
    """Resolves a host name; raises OSError."""
    look_up_limit = 4.0
    """Seconds for all hosts of a task together."""

    def applyCmdHosts(self, command: str) -> str:
        names = self.taskInfo["hosts"]
        if not names or self.str_hosts not in command:
            return command
        found = _host_addresses.resolve_all(names, self.look_up, self.look_up_limit)
        for name in names:
            if name not in found:
                self.addLog(f"The address of {name} was not found: its name is passed instead.")
        hosts = ";".join(found.get(name, name) for name in names)
        return command.replace(self.str_hosts, f'-renderhost="{hosts}"')

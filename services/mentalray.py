"""mental ray standalone; on several hosts when the command says ``@AF_HOSTS@``."""

from __future__ import annotations

from services import service

__all__ = ("mentalray",)

parser = "mentalray"


class mentalray(service.service):
    """Passes hosts as ``-hosts a b --``."""

    def applyCmdHosts(self, command: str) -> str:
        hosts = self.taskInfo["hosts"]
        if not hosts:
            return command
        return command.replace(self.str_hosts, f"-hosts {' '.join(hosts)} --")

"""The command is None."""
# ruff: noqa: ANN401 - wrong types are its purpose

from typing import Any

from services import service


class bad_command(service.service):
    def getCommand(self) -> Any:
        return None

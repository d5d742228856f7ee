"""Has no command to give."""
# ruff: noqa: ANN401 - wrong types are the point

from typing import Any

from services import service


class bad_command(service.service):
    def getCommand(self) -> Any:
        return None

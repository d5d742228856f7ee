"""Methods return wrong types, raise, or exit."""
# ruff: noqa: ANN401 - wrong types are its purpose

import sys
from typing import Any

from services import service


class bad_answers(service.service):
    grace: Any = "soon"

    def skipTask(self) -> Any:
        return 1

    def getFiles(self) -> Any:
        return {"no": "list"}

    def checkExitStatus(self, i_status: int) -> Any:
        return "yes"

    def checkRenderedFiles(self) -> Any:
        sys.exit(1)

    def doPost(self) -> Any:
        return [b"echo 1", None, "echo 2"]

    def doPostLimitSec(self) -> Any:
        return "long"

    def getParsedFiles(self) -> Any:
        raise OSError("disk")

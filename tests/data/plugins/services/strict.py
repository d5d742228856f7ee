"""A service for which only exit code 7 means success."""

from services import service


class strict(service.service):
    grace = 3
    secrets = ("token-of-a-service",)

    def checkExitStatus(self, i_status: int) -> bool:
        return i_status == 7

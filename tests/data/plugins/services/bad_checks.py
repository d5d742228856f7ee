"""The constructor is fine; the check of the exit code never returns."""

from services import service


class bad_checks(service.service):
    def checkExitStatus(self, i_status: int) -> bool:
        while True:
            pass

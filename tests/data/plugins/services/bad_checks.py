"""Good at first; its checks never come back."""

from services import service


class bad_checks(service.service):
    def checkExitStatus(self, i_status: int) -> bool:
        while True:
            pass

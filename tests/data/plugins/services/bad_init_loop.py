"""The constructor never returns."""

from services import service


class bad_init_loop(service.service):
    def __init__(self, taskInfo: dict[str, object], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        while True:
            pass

"""The constructor ends the process."""

import os

from services import service


class bad_init_exit(service.service):
    def __init__(self, taskInfo: dict[str, object], i_verbose: bool = False) -> None:
        os._exit(5)

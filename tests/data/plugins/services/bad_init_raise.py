"""The constructor raises."""

from services import service


class bad_init_raise(service.service):
    def __init__(self, taskInfo: dict[str, object], i_verbose: bool = False) -> None:
        print("before it breaks")  # noqa: T201 - plugins print
        raise LookupError("nothing there")

"""Raises in each update, and prints."""

from resmeters import resbase


class meter_raise(resbase.resbase):
    def __init__(self) -> None:
        resbase.resbase.__init__(self)
        self.valid = True

    def update(self) -> None:
        print("about to look")  # noqa: T201 - plugins print
        raise LookupError("no sensor")

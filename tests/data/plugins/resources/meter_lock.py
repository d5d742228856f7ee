"""Holds the interpreter lock without end."""

import re

from resmeters import resbase


class meter_lock(resbase.resbase):
    def __init__(self) -> None:
        resbase.resbase.__init__(self)
        self.valid = True

    def update(self) -> None:
        re.match("(a+)+$", "a" * 64 + "b")

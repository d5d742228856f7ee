"""Hangs in its second update, without using the processor."""

import time

from resmeters import resbase


class meter_hang(resbase.resbase):
    def __init__(self) -> None:
        resbase.resbase.__init__(self)
        self.valid = True

    def update(self) -> None:
        self.value += 1
        self.label = "soon"
        if self.value == 2:
            time.sleep(3600)

"""Counts its updates: a meter without faults beside others."""

from resmeters import resbase


class meter_counts(resbase.resbase):
    def __init__(self) -> None:
        resbase.resbase.__init__(self)
        self.graphb = 9
        self.bgcolorg = 7
        self.valid = True

    def update(self) -> None:
        self.value += 1
        self.label = "count"

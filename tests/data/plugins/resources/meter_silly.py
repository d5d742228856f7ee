"""Sets values that cannot be shown."""

from typing import Any

from resmeters import resbase


class meter_silly(resbase.resbase):
    def __init__(self) -> None:
        resbase.resbase.__init__(self)
        self.valid = True

    def update(self) -> None:
        me: Any = self
        me.value = 10**30
        me.valuemax = 99.7
        me.width = -5
        me.height = float("nan")
        me.graphr = 300
        me.graphb = "blue"
        me.labelr = None
        me.bgcolorg = True
        me.label = "\x1b[31m\ud800" + "x" * 100_000
        me.tooltip = b"bytes"

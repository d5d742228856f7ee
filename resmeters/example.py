"""A meter that measures nothing: its value rises and starts again, to show all properties."""

from __future__ import annotations

from resmeters import resbase

__all__ = ("example",)

STEP = 3


class example(resbase.resbase):
    """Rises from 0 to 100 in steps of three."""

    def __init__(self) -> None:
        super().__init__()
        self.value = -STEP
        self.valid = True

    def update(self) -> None:
        self.value = self.value + STEP if self.value + STEP <= self.valuemax else 0
        share = self.value / self.valuemax
        self.label = f"Example\n{self.value}"
        self.labelsize = 8 + round(6 * share)
        self.height = 40 + round(40 * share)
        self.graphr, self.graphg = round(255 * share), round(255 * (1 - share))
        self.bgcolorb = round(60 * share)
        self.tooltip = f"An example: {self.value} of {self.valuemax}."

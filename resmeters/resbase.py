"""The base class of all meters: one number of a host, with a label and colours for a graph."""

from __future__ import annotations

import traceback

from trio_afrender.config.settings import PluginSettings

__all__ = ("resbase",)


class resbase:
    """A plugin sets `valid` in its constructor and overrides `update`, which sets the rest.

    One object is made when the agent starts and asked every few seconds. What `update` may take
    is bounded by the setting ``timing.plugin``; one that takes longer is ended and left alone for a
    while.
    """

    settings: PluginSettings = PluginSettings()
    """What a plugin may know of the agent's settings; put here before the constructor runs."""

    def __init__(self) -> None:
        self.valid = False
        """Whether there is anything to measure here; a meter that leaves it is not asked."""
        self.value = 0
        self.valuemax = 100
        """The graph's height in values."""
        self.width = 0
        self.height = 50
        self.graphr, self.graphg, self.graphb = 0, 255, 0
        self.label = "Custom\nMeter"
        self.labelsize = 10
        self.labelr, self.labelg, self.labelb = 255, 255, 0
        self.bgcolorr, self.bgcolorg, self.bgcolorb = 10, 20, 5
        self.tooltip = "Custom resources meter."
        self.problem = ""
        """What the last `update` raised, with its traceback; empty when it went well."""

    def update(self) -> None:
        """Measure: to be overridden. What it raises becomes the label ``Error``."""
        raise NotImplementedError(f"the meter {type(self).__name__} has no update()")

    def do(self) -> resbase | None:
        """Measure once and return the meter itself; None from a meter that is not valid."""
        if not self.valid:
            return None
        self.problem = ""
        try:
            self.update()
        except Exception as error:  # noqa: BLE001 - plugin code may raise anything
            self.problem = traceback.format_exc()
            self.label = "Error"
            self.tooltip = f"{type(self).__name__}: {type(error).__name__}: {error}"
        return self

    def output(self) -> str:
        """All that a graph shows, as text for a person."""
        return "\n".join(f"{name} = {value!r}" for name, value in sorted(vars(self).items()))

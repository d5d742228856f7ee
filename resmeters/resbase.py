"""The base class of all meters: one number of a host, with a label and colours for a graph."""

from __future__ import annotations

import traceback

from trio_afrender.config.settings import PluginSettings

__all__ = ("resbase",)


class resbase:
    """A meter. A subclass sets `valid` in its constructor, everything else in `update`.

    One object is created when the agent starts; its `update` is called at each measurement of the
    host. An `update` that takes longer than the setting ``timing.plugin`` is ended by killing its
    process; the meter is created and called again after a delay.
    """

    settings: PluginSettings = PluginSettings()
    """The agent's settings that plugins may read; set before the constructor runs."""

    def __init__(self) -> None:
        self.valid = False
        """Whether there is anything to measure; `update` of an invalid meter is not called."""
        self.value = 0
        self.valuemax = 100
        """The `value` at which the graph is full."""
        self.width = 0
        self.height = 50
        self.graphr, self.graphg, self.graphb = 0, 255, 0
        self.label = "Custom\nMeter"
        self.labelsize = 10
        self.labelr, self.labelg, self.labelb = 255, 255, 0
        self.bgcolorr, self.bgcolorg, self.bgcolorb = 10, 20, 5
        self.tooltip = "Custom resources meter."
        self.problem = ""
        """The traceback of what the last `update` raised; empty if it raised nothing."""

    def update(self) -> None:
        """Measure; subclasses override this. If it raises, the label is ``Error``."""
        raise NotImplementedError(f"the meter {type(self).__name__} has no update()")

    def do(self) -> resbase | None:
        """Measure once and return the meter itself; None if it is not valid."""
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
        """All attributes as text, one per line."""
        return "\n".join(f"{name} = {value!r}" for name, value in sorted(vars(self).items()))

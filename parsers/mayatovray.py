"""Export of V-Ray scenes from Maya: all frames of one render layer, then of the next."""

from __future__ import annotations

from parsers._vray import VRAY
from parsers.maya import MAYA
from parsers.parser import Found, RuleParser, frame_percent, rule

__all__ = ("mayatovray",)


class mayatovray(RuleParser):
    """``Appending`` begins a frame, ``Render complete`` ends a layer.

    The number of layers is unknown, so `frame` is that of the layer with the most frames done; the
    activity names the current layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = 1
        self.begun = 0
        """Frames of the current layer that have begun."""

    def append_frame(self, found: Found) -> None:
        """Begin a frame of the current layer: the frame before is done."""
        self.activity = f"Layer {self.layer}:"
        if self.begun > self.frame:
            self.next_frame()
        self.begun += 1

    def end_layer(self, found: Found) -> None:
        """Count the last frame of the current layer, and begin the next layer."""
        if self.begun > self.frame:
            self.next_frame()
        self.layer += 1
        self.begun = 0

    rules = (
        rule("Appending ", r"\bAppending ", append_frame),
        rule("Render complete", r"\bRender complete", end_layer),
        rule("PROGRESS: ", r"PROGRESS: +(\d+(?:\.\d*)?) *%", frame_percent),
    )
    messages = (MAYA, VRAY)

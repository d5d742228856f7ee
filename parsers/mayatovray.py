"""Export of V-Ray scenes from Maya: all frames of one render layer, then of the next."""

from __future__ import annotations

from parsers.parser import Found, RuleParser, frame_percent, rule

__all__ = ("mayatovray",)


class mayatovray(RuleParser):
    """``Appending`` begins a frame, ``Render complete`` ends a layer.

    How many layers there are is not told: so frames are those of the layer that came furthest,
    and the activity tells which layer it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = 1
        self.begun = 0
        """Frames of this layer that have begun."""

    def begin_frame(self, found: Found) -> None:
        """A frame of this layer begins: the one before is done."""
        self.activity = f"Layer {self.layer}:"
        if self.begun > self.frame:
            self.next_frame()
        self.begun += 1

    def end_layer(self, found: Found) -> None:
        """All frames of this layer are done."""
        if self.begun > self.frame:
            self.next_frame()
        self.layer += 1
        self.begun = 0

    rules = (
        rule("Appending ", r"\bAppending ", begin_frame),
        rule("Render complete", r"\bRender complete", end_layer),
        rule("PROGRESS: ", r"PROGRESS: +(\d+(?:\.\d*)?) *%", frame_percent),
    )

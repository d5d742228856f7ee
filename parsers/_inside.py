"""Renderers that run inside another program: frames count once, whichever of the two names them."""

from __future__ import annotations

from parsers._passes import PassParser
from parsers.parser import progress_only

__all__ = ("InsideParser",)


class InsideParser(PassParser):
    """A table with the rules of a renderer, alone or inside a program.

    While lines name the frames (`new_frame`), a renderer's percents and its ends of frames count
    none: a frame may be rendered in several passes, layers, cameras or eyes.
    """

    @progress_only
    def begin_pass(self) -> None:
        if self.frame_name is None:
            super().begin_pass()

    @progress_only
    def finish_render(self) -> None:
        """The renderer is done with a frame, or has skipped it because its file exists."""
        if self.frame_name is not None:
            self.grow_frame(100)
            return
        self.next_frame()
        if self.numframes == 1:
            self.grow_frame(100)

    @progress_only
    def finish_task(self) -> None:
        """The renderer is done with all frames; inside a program that names frames, with one."""
        if self.frame_name is None and not self.aborted:
            self.frame = max(self.frame, self.numframes - 1)
        self.finish_render()

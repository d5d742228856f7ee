r"""Blender 2.7 to 5: Cycles, Eevee, Workbench and any engine that prints ``Fra:``.

Up to 4.x a line of progress is ``Fra:12 Mem:... | ... | Sample 16/64`` (Cycles), ``... | Rendered
3/16 Tiles`` (large images), ``... | Rendering 26 / 64 samples`` (Eevee), and ``Time: 00:01.60
(Saving: ...)`` ends a frame; since 5.0 it is a log line, ``00:01.250  render           | Fra: 12 |
...``, printed only on request: by default the line of a saved file is the only sign that a frame is
done.

Each view layer and each view of a frame is rendered from 0 to 100 %, and nothing says how many
there are: the first frame stays at 99 % until its file is saved, the others are divided by what the
frame before had. So are the files of a frame, of which output nodes and views make several.
"""

from __future__ import annotations

import re

from parsers._blender_messages import BLENDER_MESSAGES
from parsers._frames_from_files import FileParser, frame_number
from parsers._messages import Messages
from parsers._text import text_of
from parsers.parser import (
    Found,
    Progress,
    Rule,
    fraction,
    frame_share,
    image,
    new_frame,
    progress_only,
    rule,
)

__all__ = ("blender", "in_passes")

_MOST = 99.0
"""Percents of a frame of which no file is saved."""
_FIRST = 32 * 1024
"""Characters of a batch that are searched for the engine first."""
_RENDERS = re.compile(r"\s(?:-a|-f|--render-\w+)(?:\s|$)")
_RUNS_PYTHON = re.compile(r"blender\S*\s(?:.*\s)?(?:-P|--python\S*)\s")


class _Passes:
    """The passes of the current frame, each from 0 to 100 %."""

    __slots__ = ("done", "frame", "per_frame", "percent")

    def __init__(self) -> None:
        self.frame: str | None = None
        self.done = 0
        self.percent = 0.0
        self.per_frame = 0

    def share(self, frame: str | None, percent: float) -> float:
        """Compute percents of the frame from those of its current pass."""
        if frame != self.frame:
            self.per_frame = max(self.per_frame, self.done + 1 if self.percent else 0)
            self.frame, self.done, self.percent = frame, 0, 0.0
        if percent < self.percent:
            self.done += 1
        self.percent = percent
        return min((100 * self.done + percent) / max(self.per_frame, self.done + 1), _MOST)


def in_passes(parser: blender, kind: str, percent: float) -> float:
    """Compute percents of a frame from those of one kind of progress lines."""
    passes = parser.passes.get(kind)
    if passes is None:
        passes = parser.passes[kind] = _Passes()
    return passes.share(parser.frame_name, percent)


def _pass_share(kind: str, *, own: bool = True) -> Progress:
    """Percents of a pass: the first group, or first of second. `own`: of Blender's own engines."""

    def share(parser: blender, groups: tuple[str, ...]) -> float | None:
        if parser.has_own_engine and not own:
            return None
        percent = fraction(parser, groups)
        if percent is None:
            return None
        parser.has_own_engine = own
        return in_passes(parser, kind, percent)

    return frame_share(share, follows_fraction=True)


def _tiles(parser: blender, groups: tuple[str, ...]) -> float | None:
    """Percents by the tiles that are done and the samples of the current tile."""
    done, tiles, sample, samples = (float(group or 0) for group in groups)
    # "All samples" is printed of the tile before too, which is counted already.
    share = sample / samples if sample < samples else 0
    parser.has_own_engine = True
    return in_passes(parser, "tiles", 100 * (done + share) / tiles) if tiles > 0 else None


@progress_only
def _over(parser: blender, found: Found) -> None:
    """All files of a frame are saved."""
    if parser.frame_name is not None:
        parser.grow_frame(100)


def _written(parser: blender, found: Found) -> None:
    """A file was saved."""
    quoted, double, bare = found.groups()
    # Without quotes the time may follow in the line. A pattern that excludes it takes quadratic time.
    name = quoted or double or bare.partition(" Time: ")[0].rstrip()
    parser.appendFile(name)
    parser.saved(name)


def _appended(parser: blender, found: Found) -> None:
    """A frame was added to a movie."""
    parser.saved(found.group(1))


def _skipped(parser: blender, found: Found) -> None:
    """A frame is not rendered because its file exists."""
    parser.skipped(found.group(1))


_SAVED = r"""Saved: (?:'(.+)'|"(.+)"|([^'"\s].*))"""


_ENGINES = (
    rule("% done", r"\| +(\d+(?:\.\d+)?) *% done", _pass_share("arnold", own=False)),
    rule(
        "rendered by ",
        r"Block +(\d+)/(\d+).*rendered by [GC]PU",
        _pass_share("redshift", own=False),
    ),
    rule(
        "Rendering image",
        r"Rendering image.{0,80}?: *(\d+(?:\.\d+)?) ?%",
        _pass_share("vray", own=False),
    ),
    rule(
        "R90000",
        r"R90000 +(?:\{?PROGRESS\}?:? +)?(\d+(?:\.\d+)?) *%",
        _pass_share("renderman", own=False),
    ),
)
"""Percents of engines that are programs of their own: their lines are those of `parsers._arnold` etc."""


class blender(FileParser):
    """Frames by their numbers or files, percents by samples or tiles, files as they are saved."""

    messages: tuple[Messages, ...] = BLENDER_MESSAGES
    tells_frames = True
    rules: tuple[Rule, ...] = (
        rule("Fra:", r"Fra: ?(-?\d+)", new_frame),
        rule("Sample ", r"\| Sample (\d+)/(\d+)", _pass_share("samples")),
        rule(
            " Tiles", r"\| Rendered (\d+)/(\d+) Tiles(?:, Sample (\d+)/(\d+))?", frame_share(_tiles)
        ),
        rule("Path Tracing Tile ", r"Path Tracing Tile (\d+)/(\d+)", _pass_share("path tiles")),
        rule(" samples", r"\bRendering (\d+) / (\d+) samples", _pass_share("eevee")),
        *_ENGINES,
        rule("Saved: ", _SAVED, _written),
        rule("(Saving: ", r"\bTime: [\d:.]+ \(Saving: ", _over),
        rule("ppend frame ", r"[Aa]ppend frame (-?\d+)", _appended),
        rule("Output #", r"^(?:[\d:.]+ +\w+ +\| )?Output #\d+, .*?, to '(.+)':", image),
        rule("kipping existing frame ", r'kipping existing frame "([^"\n]+)"', _skipped),
    )

    def __init__(self) -> None:
        super().__init__()
        self.passes: dict[str, _Passes] = {}
        self.has_own_engine = False
        """Whether one of Blender's own engines has reported percents: then no other one renders."""
        self._saved_frame: str | None = None
        self._saved_files = 0
        """Files of the frame `_saved_frame`."""
        self._skipped_number: str | None = None
        self._is_settled = False
        """Whether the rules of other engines are left out."""

    def _apply_rules(self, text: str) -> None:
        if not self._is_settled:
            # The first lines tell which engine renders: then the text is not searched for others.
            first = text.find("\n", _FIRST) + 1 or len(text)
            super()._apply_rules(text[:first])
            text = text[first:]
            if self.has_own_engine:
                self._is_settled = True
                self._rules = tuple(pair for pair in self._rules if pair[0] not in _ENGINES)
        super()._apply_rules(text)

    def saved(self, name: str) -> None:
        """Count a file. Where lines have the frame's number, the file can only complete that frame."""
        if self.frame_name is None:
            self.count_file(name)
            return
        if self.frame_name != self._saved_frame:
            self.files_per_frame = max(self.files_per_frame, self._saved_files)
            self._saved_frame, self._saved_files = self.frame_name, 0
        self._saved_files += 1
        if self.numframes > 1 and self._saved_files >= self.files_per_frame:
            self.grow_frame(100)

    def skipped(self, name: str) -> None:
        """Count a frame that exists; each of its views is reported."""
        number = frame_number(name)
        if self.frame_name is not None:
            self.begin_frame()  # the frame before is done
            self.frame_name = None
            self.forget_repeated()
        if number is None or number != self._skipped_number:
            self._skipped_number = number
            self.complete_frame()

    def finish(self, mode: str) -> None:
        """At the end of good work no further pass or file of the last frame is expected."""
        super().finish(mode)
        if mode != "0:0" or self.is_bad() or self.frame_name is None:
            return
        if self._saved_frame == self.frame_name or self.percentframe >= _MOST:
            self.grow_frame(100)

    def expects_frames(self) -> bool:
        """A command that runs a script without an option for rendering may render nothing."""
        command = text_of(self.taskInfo.get("command"))
        return not _RUNS_PYTHON.search(command) or bool(_RENDERS.search(command))

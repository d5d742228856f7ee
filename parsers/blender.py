r"""Blender 2.7 to 5: Cycles, Eevee, Workbench and any engine that prints ``Fra:``.

Up to 4.x a line of progress is ``Fra:12 Mem:... | ... | Sample 16/64`` (Cycles), ``... | Rendered
3/16 Tiles`` (large images), ``... | Rendering 26 / 64 samples`` (Eevee); since 5.0 it is a log
line, ``00:01.250  render           | Fra: 12 | ...``, printed only on request: by default the line
of a saved file is the only sign that a frame is done.
"""

from __future__ import annotations

from parsers.parser import (
    Found,
    Rule,
    RuleParser,
    frame_percent,
    frame_share,
    mark,
    new_frame,
    rule,
)

__all__ = ("blender",)


def _tiles(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
    """Percents by the tiles that are done and the samples of the current tile."""
    done, tiles, sample, samples = (float(group or 0) for group in groups)
    # "All samples" is printed of the tile before too, which is counted already.
    share = sample / samples if sample < samples else 0
    return 100 * (done + share) / tiles if tiles > 0 else None


def _written(parser: RuleParser, found: Found) -> None:
    """A frame was saved. If no line has its number, the file counts the frame."""
    if parser.frame_name is None and parser.numframes > 1:
        parser.next_frame()
    else:
        parser.grow_frame(100)
    if found.re.groups:
        quoted, double, bare = found.groups()
        # Without quotes the time may follow in the line. A pattern that excludes it takes quadratic
        # time.
        parser.appendFile(quoted or double or bare.partition(" Time: ")[0].rstrip())


_SAVED = r"""Saved: (?:'(.+)'|"(.+)"|([^'"\s].*))"""


class blender(RuleParser):
    """Frames by their numbers, percents by samples or tiles, files as they are saved."""

    rules: tuple[Rule, ...] = (
        rule("Fra:", r"Fra: ?(-?\d+)", new_frame),
        rule("Sample ", r"\| Sample (\d+)/(\d+)", frame_percent),
        rule(
            " Tiles", r"\| Rendered (\d+)/(\d+) Tiles(?:, Sample (\d+)/(\d+))?", frame_share(_tiles)
        ),
        rule("Path Tracing Tile ", r"Path Tracing Tile (\d+)/(\d+)", frame_percent),
        rule(" samples", r"\bRendering (\d+) / (\d+) samples", frame_percent),
        rule("Saved: ", _SAVED, _written),
        rule("ppend frame ", r"[Aa]ppend frame -?\d+", _written),
        rule("cannot save", r"Render error\b.*\bcannot save", mark("error")),
    )
    errors = (
        "Warning: Unable to open",
        "Error: CUDA error",
        "Error: Cannot read file",
        "Cannot render, no camera",
        "No camera found in scene",
    )

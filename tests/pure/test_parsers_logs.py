"""What each parser makes of recorded logs, and that it does not matter how they were cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.blender import blender
from parsers.blender_cycles import blender_cycles
from parsers.ffmpeg import ffmpeg
from parsers.generic import generic
from parsers.mitsuba import mitsuba
from parsers.parser import parser
from trio_afrender.output.lines import LineBatcher

LOGS = Path(__file__).parents[1] / "data" / "logs"
NAMES = tuple(sorted(path.stem for path in LOGS.glob("*.log")))
PARSERS: dict[str, type[parser]] = {
    made.__name__: made for made in (parser, blender, blender_cycles, ffmpeg, generic, mitsuba)
}
FLAGS = ("warning", "error", "badresult", "fatalerror", "finishedsuccess")


@attrs.frozen(kw_only=True)
class Outcome:
    """What a host knows in the end: flags it has seen once, texts as long as none is newer."""

    percent: int = 0
    frame: int = 0
    percentframe: int = 0
    flags: frozenset[str] = frozenset()
    activity: str = ""
    report: str = ""
    files: tuple[str, ...] = ()
    on_the_fly: tuple[str, ...] = ()


def _read(name: str) -> bytes:
    return (LOGS / f"{name}.log").read_bytes()


def _follow(
    made: parser, chunks: Iterable[bytes], frames: int = 1, folder: str = ""
) -> tuple[Outcome, list[int]]:
    """Give a parser the chunks as the agent would; return the outcome and all percents seen."""
    made.setTaskInfo({"frames_num": frames, "wdir": folder})
    batcher = LineBatcher()
    outcome, percents, flying = Outcome(), [], []

    def take(data: str, mode: str) -> None:
        nonlocal outcome
        made.parse({"data": data, "mode": mode, "pid": 1, "resources": ""})
        assert made.problem == ""
        flying.extend(made.getFilesOnTheFly())
        percents.append(made.percent)
        outcome = attrs.evolve(
            outcome,
            flags=outcome.flags | {flag for flag in FLAGS if getattr(made, flag)},
            activity=made.activity or outcome.activity,
            report=made.report or outcome.report,
        )

    for chunk in chunks:
        for batch in batcher.feed(chunk):
            take(batch, "RUN")
    rest = batcher.finish()
    take(rest[0] if rest else "", "0:0")
    outcome = attrs.evolve(
        outcome,
        percent=made.percent,
        frame=made.frame,
        percentframe=made.percentframe,
        files=tuple(made.getFiles()),
        on_the_fly=tuple(flying),
    )
    return outcome, percents


def _cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


EXPECTED = [
    (
        "blender",
        "blender42_cycles",
        3,
        Outcome(
            percent=100,
            frame=2,
            percentframe=100,
            files=tuple(f"out_4.2.23/f.{frame:04d}.png" for frame in (1, 2, 3)),
        ),
    ),
    (
        "blender",
        "blender42_eevee",
        2,
        Outcome(
            percent=100,
            frame=1,
            percentframe=100,
            files=("out_e/f.0001.png", "out_e/f.0002.png"),
        ),
    ),
    (
        "blender",
        "blender42_tiles",
        1,
        Outcome(
            percent=100, percentframe=100, flags=frozenset({"error"}), files=("out_t/t.0005.png",)
        ),
    ),
    (
        "blender",
        "blender50_quiet",
        4,
        Outcome(
            percent=75,
            frame=3,
            files=tuple(f"out_5.0.1/f.{frame:04d}.png" for frame in (1, 2, 3)),
        ),
    ),
    (
        "blender",
        "blender50_info",
        2,
        Outcome(
            percent=87,
            frame=1,
            percentframe=75,
            flags=frozenset({"error"}),
            files=("50/f.0101.exr",),
        ),
    ),
    (
        "blender_cycles",
        "blender27_cycles",
        2,
        Outcome(
            percent=87,
            frame=1,
            percentframe=75,
            flags=frozenset({"error"}),
            files=("27/f_0010.png",),
        ),
    ),
    ("ffmpeg", "ffmpeg_encode", 1, Outcome(files=("movie.mp4",))),  # its length is not known
    (
        "ffmpeg",
        "ffmpeg_transcode",
        1,
        Outcome(percent=100, percentframe=100, files=("out2.mov",)),
    ),
    ("ffmpeg", "ffmpeg_progress", 1, Outcome(percent=99, percentframe=99, files=("out3.mov",))),
    ("ffmpeg", "ffmpeg_missing", 1, Outcome(flags=frozenset({"error"}))),
    ("ffmpeg", "ffmpeg_empty", 1, Outcome(flags=frozenset({"badresult"}), files=("y.mov",))),
    ("mitsuba", "mitsuba_cli", 1, Outcome(percent=100, percentframe=100, files=("out.exr",))),
    (
        "mitsuba",
        "mitsuba_verbose",
        1,
        Outcome(percent=100, percentframe=100, files=("out.exr",)),
    ),
    ("mitsuba", "mitsuba_script", 2, Outcome(percent=100, frame=1, percentframe=100)),
    ("mitsuba", "mitsuba_script", 4, Outcome(percent=50, frame=1, percentframe=100)),
    ("mitsuba", "mitsuba_missing", 1, Outcome(flags=frozenset({"error"}))),
    (
        "mitsuba",
        "mitsuba_debug",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=frozenset({"warning"}),
            files=("w.png", "w.jpg", "w.exr"),
        ),
    ),
    *(
        (
            "generic",
            name,
            3,
            Outcome(
                percent=100,
                frame=2,
                percentframe=100,
                flags=frozenset({"warning", "badresult"}),
                activity="the last one",
                report="12 moths",
                files=("gen/a.0001.png", "gen/a.0002.png"),
                on_the_fly=("gen/fly.png",),
            ),
        )
        for name in ("generic", "generic_crlf")
    ),
]


@pytest.mark.parametrize(("name", "log", "frames", "expected"), EXPECTED)
def test_what_a_parser_sees(
    tmp_path: Path, name: str, log: str, frames: int, expected: Outcome
) -> None:
    for file in (*expected.files, *expected.on_the_fly):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"x")
    data = _read(log)
    wanted = attrs.evolve(
        expected,
        files=tuple(str(tmp_path / file) for file in expected.files),
        on_the_fly=tuple(str(tmp_path / file) for file in expected.on_the_fly),
    )
    for chunks in ([data], [bytes([byte]) for byte in data], data.splitlines(keepends=True)):
        outcome, percents = _follow(PARSERS[name](), chunks, frames, str(tmp_path))
        assert outcome == wanted
        assert percents == sorted(percents)  # progress never jumps back


def test_every_log_is_expected_by_somebody() -> None:
    assert {log for _, log, _, _ in EXPECTED} == set(NAMES)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None)
@given(
    log=st.sampled_from(NAMES),
    places=st.lists(st.integers(0, 1 << 20), max_size=30),
    frames=st.sampled_from([1, 2, 3, 100]),
)
def test_cuts_make_no_difference(name: str, log: str, places: list[int], frames: int) -> None:
    data = _read(log)
    whole, _ = _follow(PARSERS[name](), [data], frames)
    cut, percents = _follow(PARSERS[name](), _cut(data, places), frames)
    assert cut == whole
    assert percents == sorted(percents)


PARTS = st.sampled_from(
    [
        "Fra:1 ", "Fra:2 Mem:1M ", "| Sample 3/8", "| Rendered 2/4 Tiles, Sample 8/8", "Saved: 'a.png'",
        "Rendering 9 / 64 samples", "Path Tracing Tile 7/9,", "Append frame 3", " samples", "Saved: ",
        "FRAME: 1", "FRAME: ", "PROGRESS: 30%", "PROGRESS: 9e9%", "PROGRESS: 200%", "ACTIVITY: a", "ACTIVITY: ",
        "REPORT: b", "REPORT: é", "@IMAGE@x.png", "@IMAGE!@y.png", "Image: z.png",
        "Duration: 00:00:10.00", "time=00:00:04.00", "time=N/A", "frame=  12 ", "Frames: 24", "Duration: N/A",
        "Output #0, mp4, to 'm.mp4':", "invalid", "No such file or directory",
        "Starting render job", "Rendering [===   ]", "Rendering []", "Rendering finished.", 'Developing "o.exr" ..',
        "1 WARN  [x]", "1 ERROR [x]", "[ PARSER ERROR ]", "[ PARSER FINISHED SUCCESS ]", "1" * 5000 + "%", " ", "0/0",
        "| Sample 5/0", "Rendered 1/0 Tiles", "\n", "\n", "\r", "\r\n", "\r\n",
    ]
)  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(PARTS, max_size=40),
    places=st.lists(st.integers(0, 1 << 20), max_size=20),
    frames=st.sampled_from([1, 2, 50]),
)
def test_cuts_make_no_difference_to_any_text(
    name: str, parts: list[str], places: list[int], frames: int
) -> None:
    data = "".join(parts).encode()
    whole, percents = _follow(PARSERS[name](), [data], frames)
    cut, more = _follow(PARSERS[name](), _cut(data, places), frames)
    assert cut == whole
    assert percents == sorted(percents)
    assert more == sorted(more)

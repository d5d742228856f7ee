"""Results of parsers for recorded logs, and the property that cuts make no difference.

The properties cover all parsers, with all tables of the other parser tests.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.parsers import (
    NAMES,
    PARSERS,
    Case,
    Outcome,
    all_cases,
    check,
    cut,
    follow,
    ids,
    load,
    read,
)

CASES = (
    Case(
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
    Case(
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
    Case(
        "blender",
        "blender42_tiles",
        1,
        Outcome(
            percent=100, percentframe=100, flags=frozenset({"error"}), files=("out_t/t.0005.png",)
        ),
    ),
    Case(
        "blender",
        "blender50_quiet",
        4,
        Outcome(
            percent=75,
            frame=3,
            files=tuple(f"out_5.0.1/f.{frame:04d}.png" for frame in (1, 2, 3)),
        ),
    ),
    Case(
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
    Case(
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
    Case(  # the length is unknown
        "ffmpeg", "ffmpeg_encode", 1, Outcome(percent=100, percentframe=100, files=("movie.mp4",))
    ),
    Case(
        "ffmpeg",
        "ffmpeg_transcode",
        1,
        Outcome(percent=100, percentframe=100, files=("out2.mov",)),
    ),
    Case(
        "ffmpeg", "ffmpeg_progress", 1, Outcome(percent=100, percentframe=100, files=("out3.mov",))
    ),
    Case("ffmpeg", "ffmpeg_missing", 1, Outcome(flags=frozenset({"error"}))),
    Case("ffmpeg", "ffmpeg_empty", 1, Outcome(flags=frozenset({"badresult"}), files=("y.mov",))),
    Case("mitsuba", "mitsuba_cli", 1, Outcome(percent=100, percentframe=100, files=("out.exr",))),
    Case(
        "mitsuba",
        "mitsuba_verbose",
        1,
        Outcome(percent=100, percentframe=100, files=("out.exr",)),
    ),
    Case("mitsuba", "mitsuba_script", 2, Outcome(percent=100, frame=1, percentframe=100)),
    Case("mitsuba", "mitsuba_script", 4, Outcome(percent=50, frame=1, percentframe=100)),
    Case("mitsuba", "mitsuba_missing", 1, Outcome(flags=frozenset({"error"}))),
    Case(
        "mitsuba",
        "mitsuba_debug",
        1,
        Outcome(
            percent=100,
            percentframe=100,
            flags=frozenset({"warning"}),
            report="RuntimeError: [w.py:7] <module>: boom",
            files=("w.png", "w.jpg", "w.exr"),
        ),
    ),
    *(
        Case(
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
)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_result_for_a_recorded_log(tmp_path: Path, case: Case) -> None:
    check(case, tmp_path)


def test_every_log_has_a_case() -> None:
    assert {case.log for case in all_cases()} == set(NAMES)


def test_every_parser_has_a_case() -> None:
    assert {case.parser for case in all_cases()} | {"parser"} == set(PARSERS)


@pytest.fixture(autouse=True, scope="module")
def _tables() -> None:
    """Import all tables first: an import inside @given would nest another @given."""
    all_cases()


@cache
def _own_logs(name: str) -> tuple[str, ...]:
    """The logs of a parser's cases; all logs for a parser without cases."""
    return tuple(sorted({case.log for case in all_cases() if case.parser == name})) or NAMES


@cache
def _fragments(name: str) -> tuple[str, ...]:
    """Lines of a parser's logs and pieces of them, to be combined into other output."""
    lines = {line for log in _own_logs(name) for line in read(log).decode().splitlines()}
    pieces = {piece for line in lines for piece in re.split(r"(?<=[ :|%])", line)}
    return (*sorted(lines), *sorted(pieces))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40)
@given(data=st.data())
def test_cuts_make_no_difference(name: str, data: st.DataObject) -> None:
    log = read(data.draw(st.sampled_from(_own_logs(name)) | st.sampled_from(NAMES)))
    positions = data.draw(st.lists(st.integers(0, 1 << 20), max_size=30))
    frames = data.draw(st.sampled_from([1, 2, 3, 100]))
    whole, _ = follow(load(name)(), [log], frames)
    pieces, percents = follow(load(name)(), cut(log, positions), frames)
    assert pieces == whole
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
@settings(max_examples=80)
@given(data=st.data())
def test_cuts_make_no_difference_to_any_text(name: str, data: st.DataObject) -> None:
    some = st.sampled_from(_fragments(name)) | PARTS | st.sampled_from(["\n", "\r\n"])
    text = "".join(data.draw(st.lists(some, max_size=40))).encode()
    positions = data.draw(st.lists(st.integers(0, 1 << 20), max_size=20))
    frames = data.draw(st.sampled_from([1, 2, 50]))
    whole, percents = follow(load(name)(), [text], frames)
    pieces, more = follow(load(name)(), cut(text, positions), frames)
    assert pieces == whole
    assert percents == sorted(percents)
    assert more == sorted(more)

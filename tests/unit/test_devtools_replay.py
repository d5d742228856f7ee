"""Replays of logs: the effect of each line, differences between chunks, the status of the task."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parsers import Case, all_cases, ids, read
from support.plugins import PLUGINS

from trio_afrender.devtools.chunk_variants import cut_log, spell_chunk
from trio_afrender.devtools.html_report import make_page
from trio_afrender.errors import ConfigError, PluginError, PluginNotFound
from trio_afrender.protocol.messages import TaskStatus
from trio_afrender.testing import replay_parser

LOG = (
    b"hello\n"
    b"\x1b[31mPROGRESS: 20%\n"
    b"FRAME: 2\n"
    b"PROGRESS: 30%\rPROGRESS: 60%\r\n"
    b"[ PARSER WARNING ] dusty <b>\n"
    b"[ PARSER WARNING ] again\n"
    b"[ PARSER ERROR ] bad\n"
    b"@IMAGE@a b.png"
)
CHUNKS = ("speed:30", "speed:0.7", "line", "1", "7", "random:3", "whole")
COUNTER = """
from parsers import parser

class calls(parser.parser):
    def do(self, args):
        self.percent = min(100, self.percent + 10)
"""
UNSTEADY = """
from parsers import parser

class unsteady(parser.parser):
    def do(self, args):
        if args["data"].strip().isdigit():
            self.percent = int(args["data"])
        return args["data"].upper()
"""


def studio(folder: Path, **files: str) -> list[Path]:
    (folder / "parsers").mkdir()
    for name, text in files.items():
        (folder / "parsers" / f"{name}.py").write_text(text)
    return [folder]


def test_each_event_names_its_line() -> None:
    replay = replay_parser("generic", LOG, frames=4)
    events = [(event.line, event.name, event.value, event.text) for event in replay.events]
    assert events == [
        (2, "percent", 5, "\x1b[31mPROGRESS: 20%"),
        (2, "percentframe", 20, "\x1b[31mPROGRESS: 20%"),
        (4, "percent", 7, "PROGRESS: 30%"),
        (4, "percentframe", 30, "PROGRESS: 30%"),
        (4, "percent", 15, "PROGRESS: 60%"),
        (4, "percentframe", 60, "PROGRESS: 60%"),
        (5, "warning", True, "[ PARSER WARNING ] dusty <b>"),
        (6, "warning", True, "[ PARSER WARNING ] again"),
        (7, "report", "[ PARSER ERROR ] bad", "[ PARSER ERROR ] bad"),
        (7, "error", True, "[ PARSER ERROR ] bad"),
        (8, "file", "a b.png", "@IMAGE@a b.png"),
    ]
    assert replay.stopped is not None
    assert replay.stopped.line == 7
    assert replay.status is TaskStatus.FinishedParserError
    assert replay.good


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_change_neither_the_result_nor_the_lines(chunk: str) -> None:
    by_lines = replay_parser("generic", LOG, frames=4)
    replay = replay_parser("generic", LOG, frames=4, chunk=chunk)
    assert replay.differences == ()
    assert replay.files == ("a b.png",)
    assert (replay.state.percent, replay.status) == (15, TaskStatus.FinishedParserError)
    assert set(replay.events) <= set(by_lines.events)
    assert replay.output == LOG.decode()


@pytest.mark.parametrize("case", all_cases(), ids=ids)
def test_recorded_logs_have_the_expected_outcome(case: Case) -> None:
    replay = replay_parser(case.parser, read(case.log), frames=case.frames, chunk="random:1")
    wanted = case.outcome
    state = replay.state
    assert replay.good
    assert (state.percent, state.frame, state.percentframe) == (
        wanted.percent,
        wanted.frame,
        wanted.percentframe,
    )
    assert {*wanted.files, *wanted.on_the_fly} <= set(replay.files)
    assert replay.backwards == ()


def test_a_parser_that_counts_its_calls_has_differences(tmp_path: Path) -> None:
    folders = studio(tmp_path, calls=COUNTER)
    replay = replay_parser("calls", "a\nb\nc\n", folders=folders)
    assert replay.differences == ("percent is 40 in these chunks, 20 in one",)
    assert not replay.good
    assert replay_parser("calls", "a\nb\nc\n", folders=folders, chunk="whole").good


def test_decreases_and_replacements_are_events(tmp_path: Path) -> None:
    replay = replay_parser("unsteady", "50\n20\nend\n", folders=studio(tmp_path, unsteady=UNSTEADY))
    assert [(event.line, event.value) for event in replay.backwards] == [(2, 20)]
    assert [(e.line, e.value) for e in replay.events if e.name == "output"] == [(3, "END\n")]
    assert replay.output == "50\n20\nEND\n"


def test_the_state_has_existing_files_only(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(b"x")
    replay = replay_parser("generic", LOG, working_directory=str(tmp_path))
    assert replay.files == ("a b.png",)
    assert replay.state.files == (str(tmp_path / "a b.png"),)


def test_an_exception_of_a_parser_is_a_problem_with_its_line() -> None:
    replay = replay_parser("bad_raise", "fine\nRAISE\n", folders=[PLUGINS])
    problems = [event for event in replay.events if event.name == "problem"]
    assert [(event.line, event.value) for event in problems] == [(2, "ValueError: no such thing")]
    assert len(replay.problems) == 1
    assert "Traceback" in replay.problems[0]
    assert not replay.good


def test_a_missing_or_broken_parser_is_an_error() -> None:
    with pytest.raises(PluginNotFound, match='did you mean "generic"'):
        replay_parser("generik", "")
    with pytest.raises(PluginError, match="a_module_that_is_nowhere"):
        replay_parser("bad_import", "", folders=[PLUGINS])


def test_a_parser_whose_constructor_raises_is_an_error(tmp_path: Path) -> None:
    text = (
        "from parsers import parser\nclass raises(parser.parser):\n def __init__(self): {}['x']\n"
    )
    with pytest.raises(PluginError, match="raises") as caught:
        replay_parser("raises", "", folders=studio(tmp_path, raises=text))
    assert "KeyError" in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize("data", [b"", b"\x00\xff\xfe\r\r\n\r", bytes(range(256)) * 300])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_any_bytes_are_a_log(data: bytes, chunk: str) -> None:
    replay = replay_parser("generic", data, chunk=chunk)
    assert replay.good
    assert replay.output == data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("speed", "ends"),
    [
        ("1000", [2, 8]),  # a call gets the output of a tenth of a second
        ("10", [2, 4, 6, 8]),
        ("0.5", [2, 2, 4, 4, 6, 6, 8]),  # a call without output after each second
    ],
)
def test_speed_decides_when_the_parser_is_called_and_with_how_much(
    speed: str, ends: list[int]
) -> None:
    assert list(cut_log(b"a\nb\nc\nd\n", spell_chunk(f"speed:{speed}"))) == ends


def test_calls_of_a_slow_program_are_made_one_at_a_time() -> None:
    # All of them are a billion: no time limit interrupts a list of that size while it is made.
    ends = cut_log(b"a\n" * 1_000_000, spell_chunk("speed:0.001"))
    assert list(islice(ends, 4)) == [2, 2, 2, 2]


TICKING = """
from parsers import parser


class ticking(parser.parser):
    def do(self, args):
        self.frame += not args["data"]
"""


def test_speed_shows_a_parser_that_depends_on_time(tmp_path: Path) -> None:
    (tmp_path / "parsers").mkdir()
    (tmp_path / "parsers" / "ticking.py").write_text(TICKING)
    replay = replay_parser("ticking", "a\nb\nc\n", chunk="speed:0.25", folders=[tmp_path])
    assert any("frame is" in text for text in replay.differences)
    assert replay_parser("ticking", "a\nb\nc\n", chunk="speed:50", folders=[tmp_path]).good


@pytest.mark.parametrize("speed", ["", "0", "-1", "fast", "nan", "inf", "1e-9"])
def test_an_invalid_speed_is_an_error(speed: str) -> None:
    with pytest.raises(ConfigError, match="lines per second"):
        spell_chunk(f"speed:{speed}")


@pytest.mark.parametrize("chunk", ["", "0", "-1", "lines", "random:", "1.5", "²", "1" * 5000])
def test_an_invalid_chunk_is_an_error(chunk: str) -> None:
    with pytest.raises(ConfigError, match="expected a number of bytes"):
        spell_chunk(chunk)


def test_a_random_chunk_gets_a_seed() -> None:
    spelled = spell_chunk("random")
    assert spelled.startswith("random:")
    assert list(cut_log(LOG, spelled)) == list(cut_log(LOG, spelled))


@given(st.binary(max_size=300), st.sampled_from(["line", "whole", "1", "3", "random:1"]))
def test_chunks_cover_the_log(data: bytes, chunk: str) -> None:
    ends = list(cut_log(data, chunk))
    assert ends == sorted(ends)
    assert (ends[-1] if ends else 0) == len(data)


def test_a_page_has_the_parsers_colours_and_no_markup_of_the_log() -> None:
    page = make_page(replay_parser("generic", LOG, html=True), "<x>.log")
    assert '<span style="background-color:#FF0000"><b>[ PARSER ERROR ] bad</b></span>' in page
    assert "dusty &lt;b&gt;" in page
    assert "generic: &lt;x&gt;.log" in page
    assert "\x1b" not in page
    assert "\u241b[31m" in page


def test_a_parser_whose_to_html_fails_gives_plain_text() -> None:
    replay = replay_parser("bad_types", "<b>\n", folders=[PLUGINS], html=True)
    assert replay.html == "&lt;b&gt;"
    assert any("toHTML() raised" in problem for problem in replay.problems)

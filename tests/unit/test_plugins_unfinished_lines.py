"""What parsers get of a line without an end: whole lines, or pieces of it at ticks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plugins import PLUGINS, make_spec, make_worker

from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.tasklog.line_splitter import MAX_LINE
from trio_afrender.testing import replay_parser

TEXTS = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b".3", "é€😀".encode(), b"\xff", b"\xe2\x82", b"\xf0"]
)
LOGS = st.lists(st.one_of(TEXTS, st.binary(max_size=4)), max_size=30).map(b"".join)
CALLS = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12)
"""Offsets up to which the log is fed, and whether a tick follows."""


def read_log(log: str) -> tuple[list[str], int]:
    """The batches that the parser `tenths` has got, and how often it got none."""
    fed, ticks = json.loads(log.partition("Parser: ")[2] or "[[], 0]")
    return fed, ticks


def batches(worker: TaskWorker) -> tuple[list[str], int]:
    return read_log(worker.log())


@given(LOGS, CALLS)
def test_pieces_are_the_decoded_output_and_the_same_in_a_replay(
    data: bytes, calls: list[tuple[int, bool]]
) -> None:
    calls = sorted((min(upto, len(data)), tick) for upto, tick in calls)
    worker, store = make_worker(make_spec("tenths"))
    for upto, tick in calls:
        store.append(data[store.size() : upto])
        fed, whole = len(batches(worker)[0]), upto > worker.position
        worker.parse(upto)
        assert not whole or all(text[-1] in "\r\n" for text in batches(worker)[0][fed:])
        if tick:
            worker.parse(upto)
    store.append(data[store.size() :])
    last = worker.parse(len(data), mode="0:0")
    # A character cut in two would be decoded as two U+FFFD at least.
    assert "".join(batches(worker)[0]) == data.decode("utf-8", "replace")
    assert last.consumed == len(data)

    again, _ = make_worker(make_spec("tenths"), data)
    for upto, tick in calls:
        for _ in range(1 + tick):
            again.parse(upto)
    again.parse(len(data), mode="0:0")
    assert batches(again) == batches(worker)


def test_only_a_tick_feeds_a_piece() -> None:
    worker, store = make_worker(make_spec("tenths"), b"to /a.1 .1.2")
    assert worker.parse(12).consumed == 0
    assert worker.parse(12, more=True).consumed == 0
    state = worker.parse(12)
    assert (state.consumed, state.percentframe, state.progress_changed) == (12, 20, True)
    store.append(b".3\r\nto /a.2 .1")
    state = worker.parse(26)
    assert (state.consumed, state.percentframe) == (16, 20)
    state = worker.parse(26)
    assert (state.frame, state.percentframe) == (1, 10)
    assert batches(worker) == (["to /a.1 .1.2", ".3\r\n", "to /a.2 .1"], 0)
    worker.parse(26)
    assert batches(worker)[1] == 1
    worker.parse(26, mode="0:0")
    assert batches(worker)[1] == 2


def test_replacements_of_pieces_have_their_offsets() -> None:
    worker, store = make_worker(make_spec("replaces"), "é#\xe9".encode()[:-1])
    worker.parse(4)
    (part,) = worker.parse(4).replaced
    assert (part.start, part.end, part.text) == (0, 3, "é<hash>")
    store.append(b"\xa9#\n")
    (part,) = worker.parse(7).replaced
    assert (part.start, part.end, part.text) == (3, 7, "é<hash>\n")


def test_a_long_line_is_counted_from_the_last_piece() -> None:
    worker, store = make_worker(make_spec("tenths"), b"z" * 10)
    worker.parse(10)
    worker.parse(10)
    store.append(b"z" * (MAX_LINE + 5))
    assert worker.parse(store.size()).consumed == 10 + MAX_LINE
    assert [len(text) for text in batches(worker)[0]] == [10, MAX_LINE]


@pytest.mark.parametrize(
    ("lines", "wants_ticks", "consumed"),
    [
        ("tail = None", True, 3),
        ("ticks = True", True, 3),
        ("tail = False", True, 0),
        ("tail = True", True, 0),
        ("ticks = False", False, 0),
    ],
)
def test_a_class_decides_by_its_attributes(
    lines: str, wants_ticks: bool, consumed: int, tmp_path: Path
) -> None:
    (tmp_path / "parsers").mkdir()
    text = f"from parsers import parser\n\n\nclass own(parser.parser):\n    {lines}\n"
    (tmp_path / "parsers" / "own.py").write_text(text)
    worker, _ = make_worker(make_spec("own"), b"abc", tmp_path)
    assert worker.facts.wants_ticks == wants_ticks
    worker.parse(3)
    assert worker.parse(3).consumed == consumed
    assert worker.parse(3, mode="0:0").consumed == 3


@pytest.mark.parametrize("name", ["generic", "nuke", "yafray", "arnold"])
def test_our_own_parsers_and_their_subclasses_get_whole_lines(name: str, tmp_path: Path) -> None:
    (tmp_path / "parsers").mkdir()
    text = f"from parsers import {name}\n\n\nclass mine({name}.{name}):\n    pass\n"
    (tmp_path / "parsers" / "mine.py").write_text(text)
    for parser in (name, "mine"):
        worker, _ = make_worker(make_spec(parser), b"abc", tmp_path)
        worker.parse(3)
        assert worker.parse(3).consumed == 0


@pytest.mark.parametrize("name", ["arnold", "mantra", "karma", "redshift", "maya_arnold", "maketx"])
def test_parsers_that_report_host_figures_do_so_during_silence(name: str) -> None:
    worker, _ = make_worker(make_spec(name))
    assert worker.facts.wants_ticks
    for free in (900, 300, 500):
        resources = {"host_resources": {"mem_total_mb": 1000, "mem_free_mb": free, "cpu_user": 40}}
        state = worker.parse(0, resources=json.dumps(resources))
    assert state.resources == "mem_peak_mb:700 cpu_avg:40"
    assert not state.progress_changed


@pytest.mark.parametrize("name", ["generic", "blender", "nuke", "vray"])
def test_a_parser_without_host_figures_is_not_called_during_silence(name: str) -> None:
    worker, _ = make_worker(make_spec(name))
    assert not worker.facts.wants_ticks


LOG = b"to /a.1 .1.2.3\nto /a.2 .1.2.3\n"


def test_a_replay_at_a_speed_has_the_ticks_of_the_agent() -> None:
    """The first of three ticks feeds the line that ``\\r`` alone does not complete."""
    redrawn = LOG.replace(b"3\n", b"3\r")
    replay = replay_parser("tenths", redrawn, frames=2, chunk="speed:0.25", folders=[PLUGINS])
    fed, ticks = read_log(replay.log)
    assert fed == ["to /a.1 .1.2.3\r", "to /a.2 .1.2.3\r"]
    assert ticks == 2


def test_random_chunks_include_pauses_within_lines() -> None:
    pieces: set[str] = set()
    for seed in range(20):
        replay = replay_parser("tenths", LOG, frames=2, chunk=f"random:{seed}", folders=[PLUGINS])
        fed, _ = read_log(replay.log)
        assert "".join(fed).encode() == LOG
        pieces.update(text for text in fed if not text.endswith("\n"))
    assert len(pieces) > 5

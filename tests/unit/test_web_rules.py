"""The rules of the page: topics and positions, bars, figures, curves, pieces of outputs."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.afserver.remote_nodes import read_job
from trio_afrender.web.action_log import ActionLog
from trio_afrender.web.job_outlook import JobPace
from trio_afrender.web.job_tasks import JobTasks
from trio_afrender.web.load_history import LoadHistory, PercentCurves
from trio_afrender.web.node_rows import draw_bar, job_row, load_figures, meter_objects, settle_load
from trio_afrender.web.output_buffer import OutputBuffer
from trio_afrender.web.page_steering import PageChange
from trio_afrender.web.sessions import RequestRates, SessionTable, TokenRefused, ViewerSeats
from trio_afrender.web.static_files import find_image_type
from trio_afrender.web.task_rows import (
    compact_row,
    find_reasons,
    read_attempts,
    read_usage,
    tail_lines,
)
from trio_afrender.web.topic import TableTopic, Topic


def read_events(data: bytes) -> list[tuple[str, Any]]:
    found = []
    for each in data.decode().split("\n\n"):
        if each:
            event, text = each.split("\n")
            found.append((event.removeprefix("event: "), json.loads(text.removeprefix("data: "))))
    return found


def ignore() -> None:
    pass


# Topics


def test_a_viewer_gets_a_snapshot_then_changes() -> None:
    topic = TableTopic("jobs", ignore)
    assert topic.since(None) == (b"", -1)  # nothing is known yet
    topic.update([{"id": 1, "name": "a", "n": 1}])
    topic.show()
    data, position = topic.since(-1)
    assert read_events(data) == [
        ("snapshot", {"topic": "jobs", "rows": [{"id": 1, "name": "a", "n": 1}]})
    ]
    assert topic.since(position) == (b"", position)
    topic.update([{"id": 1, "name": "a", "n": 2}, {"id": 2, "name": "b", "n": 0}])
    topic.update([{"id": 1, "name": "a", "n": 2}], [2, 77])
    data, position = topic.since(position)
    assert [each for _, each in read_events(data)] == [
        {"topic": "jobs", "rows": [{"id": 1, "n": 2}, {"id": 2, "name": "b", "n": 0}]},
        {"topic": "jobs", "rows": [], "gone": [2]},
    ]
    assert topic.since(position) == (b"", position)


def test_a_late_viewer_gets_the_present_however_the_snapshot_is_made() -> None:
    topic = TableTopic("t", ignore)
    topic.show()
    for number in range(1000):
        topic.update([{"id": 1, "n": number}])
        if number % 100 == 7:
            topic.since(None)
        rows: dict[int, Any] = {}
        for _, data in read_events(topic.since(None)[0]):
            for row in data["rows"]:
                rows.setdefault(row["id"], {}).update(row)
        assert rows == {1: {"id": 1, "n": number}}


def test_a_viewer_that_is_far_behind_gets_a_snapshot() -> None:
    topic = TableTopic("t", ignore)
    topic.show()
    _, position = topic.since(None)
    for number in range(10_000):
        topic.update([{"id": 1, "n": number}])
    data, _ = topic.since(position)
    assert read_events(data)[0][0] == "snapshot"
    assert len(data) < 20_000


def test_changes_that_are_kept_are_few_bytes() -> None:
    topic = Topic("t", ignore, lambda: "{}")
    for _ in range(100):
        topic.publish({"text": "x" * 100_000})
    assert topic.size <= 512 * 1024
    assert topic.since(0)[0].startswith(b"event: snapshot")


def test_what_is_replaced_reaches_every_viewer() -> None:
    topic = Topic("t", ignore, lambda: "{}")
    _, position = topic.since(None)
    topic.replace()
    assert topic.since(position)[0].startswith(b"event: snapshot")
    topic.end("it is gone")
    for seen in (None, position):
        assert read_events(topic.since(seen)[0]) == [
            ("gone", {"topic": "t", "error": "it is gone"})
        ]


@given(st.text())
def test_an_event_is_one_line_whatever_its_text_has(text: str) -> None:
    topic = TableTopic("t", ignore)
    topic.update([{"id": 1, "text": text}])
    topic.show()
    ((_, data),) = read_events(topic.since(None)[0])
    assert data["rows"][0]["text"] == text.encode("utf-8", "replace").decode()


# Rows


@pytest.mark.parametrize(
    ("parts", "bar"),
    [
        ([], ""),
        ([(4, "DDRr")], "DDDDRRrr"),
        ([(3, "DDDD"), (1, "rrrr")], "DDDDDDrr"),
        ([(0, ""), (8, "DDDDrrrr")], "DDDDrrrr"),
        ([(1, "")], "        "),
    ],
)
def test_a_bar_of_several_blocks(parts: list[tuple[int, str]], bar: str) -> None:
    assert draw_bar(parts, 8) == bar


@given(st.lists(st.tuples(st.integers(0, 10_000), st.text("DRr", max_size=128)), max_size=20))
def test_a_bar_has_its_length(parts: list[tuple[int, str]]) -> None:
    assert len(draw_bar(parts)) in (0, 64)


def make_job(**fields: object) -> Any:  # noqa: ANN401 - fields of blocks are few
    block = {"tasks_num": 10, "st": 1, "flags": 1, "frames_per_task": 5, **fields}
    return read_job({"id": 2, "name": "j", "st": 2, "time_started": 1000, "blocks": [block]})


def test_the_pace_of_a_job() -> None:
    pace = JobPace()
    pace.add(make_job(), 1000.0)
    assert (pace.ends, pace.frames_per_minute) == (None, None)
    running = {"running_tasks_counter": 2, "p_percentage": 0}
    pace.add(make_job(**running), 1001.0)
    for done in range(1, 5):
        fields = {"p_tasks_done": done, "p_tasks_run_time_sum": 20 * done, **running}
        pace.add(make_job(**{**fields, "p_percentage": 10 * done}), 1000.0 + 20 * done)
    assert pace.frames_per_minute == 15.0  # 20 frames in 80 s
    assert pace.ends == 1080 + 6 * 20 // 2
    pace.add(make_job(p_tasks_done=10, st=16), 1100.0)
    assert attrs.asdict(pace)["ends"] is None


def test_an_end_that_hardly_moves_is_not_sent() -> None:
    pace = JobPace()
    fields = {"running_tasks_counter": 1, "p_tasks_done": 5, "p_tasks_run_time_sum": 500}
    pace.add(make_job(**fields, p_percentage=50), 2000.0)
    before = pace.ends
    pace.add(make_job(**fields, p_percentage=50), 2010.0)
    assert pace.ends == before


def test_an_end_does_not_move_on_while_nothing_is_done() -> None:
    pace = JobPace()
    fields = {"running_tasks_counter": 1, "p_tasks_done": 9, "p_tasks_run_time_sum": 180}
    for now in (2000.0, 2010.0, 2019.0):
        pace.add(make_job(**fields, p_percentage=90), now)
        assert pace.ends == 2020
    pace.add(make_job(**fields, p_percentage=90), 2021.0)
    assert pace.ends is None, "the last task takes longer than any before"
    pace.add(make_job(**fields, p_percentage=95), 2030.0)
    assert pace.ends == 2040


def test_a_thumbnail_by_its_path() -> None:
    job = read_job(
        {
            "id": 12,
            "thumb_path": "/srv/farm/12/0.5/files/a.0005.png",
            "blocks": [{"tasks_num": 9}],
        }
    )
    assert job_row(job, JobPace())["thumbnail"] == "12.0.5"
    other = read_job({"id": 12, "thumb_path": "/srv/farm/12/0.99/files/a.png", "blocks": [{}]})
    assert job_row(other, JobPace())["thumbnail"] == ""


def test_a_wait_that_no_browser_has_a_date_for() -> None:
    """A user has given microseconds: the list of all jobs must not fail with it."""
    job = read_job({"id": 2, "st": 8, "time_wait": 2**53, "blocks": [{}]})
    assert job_row(job, JobPace())["waits"] * 1000 == 8.64e15


def test_unknown_figures_are_none() -> None:
    assert load_figures({}) == (0, None, None, None, None, 0, None, None, None)


@pytest.mark.parametrize(
    ("old", "new", "shown"), [(10, 11, 10), (10, 13, 13), (100, 105, 100), (1, 0, 0), (None, 3, 3)]
)
def test_small_changes_of_a_load_are_not_shown(old: float | None, new: float, shown: float) -> None:
    assert settle_load((old,), (new,)) == (shown,)


def test_meters_have_bounds() -> None:
    wild = {"value": "x", "width": 10**9, "graph_clr": [999, -1, "x"], "label": "l" * 20_000}
    (meter,) = meter_objects({"custom": [wild, *[]]})
    assert meter["width"] == 1000
    assert meter["graph_colour"] == "#ff0000"
    assert len(meter["label"]) == 10_000
    assert len(meter_objects({"custom": [wild] * 1000})) == 32


def test_a_row_of_a_task_ends_with_its_last_figure() -> None:
    assert compact_row(0, 3, {"st": 1}, 0, waits=False) == [0, 3, 1]
    assert compact_row(0, 3, {"st": 1}, 0, waits=True) == [0, 3, 4]
    item = {"st": 2, "per": 40, "str": 1, "tst": 100, "tdn": 150}
    assert compact_row(0, 3, item, 2, waits=False) == [0, 3, 2, 40, 1, 0, 100, 0, 2]


def test_bits_that_a_browser_would_lose() -> None:
    """An afserver marks tasks with bit 62; numbers of JavaScript have 53 bits."""
    assert compact_row(0, 0, {"st": 2**62 + 16}, 0, waits=False)[2] == 16


def test_usage_of_a_task() -> None:
    text = "task_mem_mb:7 odd x:y nan:nan inf:inf :3 task_cpu:1.5"
    assert read_usage(text) == {"task_mem_mb": 7.0, "task_cpu": 1.5}


def test_the_end_of_a_log() -> None:
    assert tail_lines("a\nb") == ["a", "b"]
    shown = tail_lines([f"{n}" for n in range(1000)], 10)
    assert len(shown) == 10
    assert shown[0] == "[991 earlier lines are not shown]"
    assert len(tail_lines(["x" * 50_000])[0]) < 10_100


LOG = [
    '2026-11-30 03:11:48Z attempt 1: handed to render "vm-2", run 7a87',
    "Why:",
    "  cause: exit code 1",
    "  +0.00s exit: the process ended with exit code 1 [pids 28191]",
    "2026-11-30 03:11:54Z FinishedError (6) from 'vm-2'",
    '2026-11-30 03:12:00Z attempt 2: handed to render "vm-1", run 9b',
]


def test_attempts_and_reasons_of_a_log() -> None:
    first, second = read_attempts(LOG)
    assert (first["attempt"], first["render"], first["state"]) == (1, "vm-2", "FinishedError")
    assert first["finished"] - first["started"] == 6
    assert (second["render"], second["finished"]) == ("vm-1", 0)
    assert find_reasons(LOG[:5])[0] == "cause: exit code 1"
    assert find_reasons(LOG) == []  # the second attempt has none yet
    # That of an afserver, which does not mark attempts.
    assert find_reasons(LOG[1:5])[0] == "cause: exit code 1"
    assert find_reasons(LOG[1:5], done=True) == []
    assert find_reasons(["nothing"]) == []


# Plots


def test_the_past_of_a_host_has_a_limit() -> None:
    history = LoadHistory(2)
    for second in range(20_000):
        history.add(1, float(second), (second % 100, None))
    points = history.points(1)
    assert len(points) == 360
    assert points[-1] == [19_990.0, 90.0, None]
    assert points[-1][0] - points[0][0] == 3590  # type: ignore[operator]  # times are known
    history.keep_only([2])
    assert history.points(1) == []


def test_the_past_of_a_host_when_the_clock_is_set_back() -> None:
    history = LoadHistory(1)
    for second in range(0, 60, 10):
        history.add(1, 10_000.0 + second, (second,))
    history.add(1, 5_000.0, (60,))
    history.add(1, 5_010.0, (70,))
    times = [5_000.0 + second for second in range(-50, 20, 10)]
    assert history.points(1) == [
        [when, each] for when, each in zip(times, (0, 10, 20, 30, 40, 50, 70), strict=True)
    ]
    # A time that was rounded up is none that was set back.
    history.add(1, 5_009.6, (80,))
    assert len(history.points(1)) == 7


def test_curves_of_tasks_have_a_limit() -> None:
    curves = PercentCurves()
    for second in range(10_000):
        curves.add((1, 0, 0), 100, second % 101, 100.0 + second)
    assert len(curves.curve((1, 0, 0))) <= 102
    for task in range(5000):
        curves.add((1, 0, task), 100, 5, 101.0)
    assert curves.curve((1, 0, 3)) == []
    assert curves.curve((1, 0, 4999)) == [(1, 5)]
    curves.add((1, 0, 4999), 100, 5, 102.0)
    assert curves.curve((1, 0, 4999)) == [(1, 5)]
    curves.add((1, 0, 4999), 200, 1, 201.0)
    assert curves.curve((1, 0, 4999)) == [(1, 1)]


# Outputs


@given(st.lists(st.text(max_size=40)), st.integers(0, 2000), st.integers(1, 50))
def test_pieces_of_an_output(texts: list[str], offset: int, limit: int) -> None:
    buffer = OutputBuffer()
    whole = "".join(texts)
    for text in texts:
        buffer.add(text)
    data = whole.encode("utf-8", "replace")
    for piece in (buffer.before(offset, limit), buffer.after(offset, limit)):
        assert piece.text == data[piece.start : piece.end].decode("utf-8", "replace")
        assert piece.text.encode("utf-8", "replace") == data[piece.start : piece.end]
        assert 0 <= piece.start <= piece.end <= len(data)


def test_an_output_of_a_gigabyte() -> None:
    """Its end is kept, offsets grow, and each piece is bounded."""
    buffer = OutputBuffer()
    chunk = "0123456789abcdef" * 65_536
    for _ in range(1024):
        buffer.add(chunk)
    assert buffer.end == 1024**3
    assert 4 * 1024**2 <= buffer.end - buffer.start <= 6 * 1024**2
    piece = buffer.before(buffer.end, 65_536)
    assert (piece.end, len(piece.text)) == (1024**3, 65_536)
    # What is not kept any more: the first piece that is.
    assert buffer.after(1000, 16).start == buffer.start
    assert buffer.before(1000, 16).text == ""


async def test_a_task_that_was_added_after_the_names_were_read() -> None:
    tasks = JobTasks(2, PercentCurves())
    await tasks.load(make_job(tasks_num=2), [["t0"]], [[{"st": 1}, {"st": 1}]], tasks.marks)
    found = [tasks.find(0, number) for number in range(3)]
    assert [each and each[0].name for each in found] == ["t0", "task 1", None]


# Rights


def test_tokens_and_sessions() -> None:
    now = 0.0
    table = SessionTable(lambda: now)
    token = table.make_token(steer=False)
    secret, session = table.redeem(token, "192.0.2.1")
    assert not session.steer
    assert table.find(secret) is session
    assert table.find(token) is None
    with pytest.raises(TokenRefused, match="used already"):
        table.redeem(token, "192.0.2.1")
    with pytest.raises(TokenRefused, match="not one of this page"):
        table.redeem("other", "192.0.2.1")
    now = 86_400.0
    assert table.find(secret) is None


def test_sessions_have_a_limit() -> None:
    table = SessionTable(lambda: 0.0)
    secrets = [table.redeem(table.make_token(steer=True), "h")[0] for _ in range(1001)]
    assert table.find(secrets[0]) is None
    assert table.find(secrets[-1]) is not None


def test_places() -> None:
    seats = ViewerSeats(3, 1)
    with seats.take("192.0.2.1"):
        assert "192.0.2.1" in seats.refuse("192.0.2.1", local=False)
        assert seats.refuse("192.0.2.2", local=False) == ""
        assert seats.refuse("192.0.2.1", local=True) == ""
        with seats.take("::1"), seats.take("::1"):
            assert "3 viewers" in seats.refuse("192.0.2.9", local=True)
    assert seats.taken == 0


def test_rates() -> None:
    now = 0.0
    rates = RequestRates(2.0, 4.0, lambda: now)
    assert [rates.wait_time("a") for _ in range(4)] == [0.0] * 4
    assert rates.wait_time("a") == 0.5
    assert rates.wait_time("b") == 0.0
    now = 0.5
    assert rates.wait_time("a") == 0.0


def test_an_action_is_undone_once() -> None:
    log = ActionLog(ignore)
    step = PageChange(kind="job", verb="start", nodes=[("2", 1)])
    more: Any = {"now": 1.0, "who": "ann", "address": "h", "problems": []}
    number = log.add(text="paused", undo="start it", steps=[step], **more)
    other = log.add(text="deleted", undo="start it", steps=[], **more)
    assert log.take_undo(other) == ()
    assert log.take_undo(number) == [step]
    assert log.take_undo(number) == ()
    for _ in range(300):
        log.add(text="x" * 10_000, undo="", steps=[], **more)
    assert len(log.topic.rows) == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nx", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"<svg onload=alert(1)>", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_images_are_known_by_their_bytes(body: bytes, kind: str) -> None:
    assert find_image_type(body) == kind

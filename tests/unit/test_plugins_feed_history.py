"""The calls that a parser was fed by: bounded in number, and the same batches when they are repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.plugins import make_spec, make_worker

from trio_afrender.plugins.host import plugin_run
from trio_afrender.plugins.host.host import PluginHost
from trio_afrender.plugins.host.plugin_run import MAX_FEEDS, Feed, FeedHistory, PluginRun
from trio_afrender.plugins.task_worker import TaskWorker


def repeat(worker: TaskWorker, history: FeedHistory) -> None:
    """Make the calls of a history as a plugin host does."""
    for feed in history:
        for upto in feed.earlier:
            worker.parse(upto, pid=feed.pid, resources=feed.resources)
        worker.parse(feed.upto, mode=feed.mode, more=feed.more)


def read_log(worker: TaskWorker) -> object:
    return json.loads(worker.log().partition("Parser: ")[2])


def feed_lines(history: FeedHistory, lines: int, *, exact: bool) -> tuple[TaskWorker, bytes]:
    """A parser that was fed lines with a pause in each, and what they are."""
    worker, store = make_worker(make_spec("tenths", frames_num=lines))
    printed = b""
    for number in range(lines):
        for text in (b"to /a.%d .1" % number, b"", b".2\n"):
            printed += text
            store.append(text)
            feed = Feed(len(printed))
            worker.parse(feed.upto)
            history.add(feed, exact=exact)
    return worker, printed


def test_joined_calls_are_repeated_with_the_same_batches() -> None:
    history = FeedHistory()
    worker, printed = feed_lines(history, 3000, exact=True)
    assert len(list(history)) < 2 * MAX_FEEDS
    again, _ = make_worker(make_spec("tenths", frames_num=3000), printed)
    repeat(again, history)
    assert read_log(again) == read_log(worker)
    assert again.parse(len(printed)).frame == worker.parse(len(printed)).frame == 2999


def test_batches_of_our_own_parsers_are_joined() -> None:
    history = FeedHistory()
    _, printed = feed_lines(history, 1000, exact=False)
    feeds = list(history)
    assert not any(feed.earlier for feed in feeds)
    assert feeds[-1].upto == len(printed)


def test_the_oldest_batches_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_run, "MAX_EARLIER", 2000)
    history = FeedHistory()
    _, printed = feed_lines(history, 3000, exact=True)
    feeds = list(history)
    assert 500 < sum(len(feed.earlier) for feed in feeds) <= 2000
    assert not feeds[0].earlier
    again, _ = make_worker(make_spec("tenths"), printed)
    repeat(again, history)
    assert again.parse(len(printed)).consumed == len(printed)


def test_last_calls_are_not_joined_with_later_ones() -> None:
    history = FeedHistory()
    for process in range(3):
        for number in range(MAX_FEEDS):
            mode = "0:0" if number == MAX_FEEDS - 1 else "RUN"
            history.add(Feed(process * MAX_FEEDS + number, mode), exact=True)
    assert [feed.mode for feed in history].count("0:0") == 3
    assert [feed.upto for feed in history] == sorted(feed.upto for feed in history)


def test_a_run_reports_that_its_plugins_are_disabled_whatever_it_reported_before() -> None:
    async def get_host(run: PluginRun) -> PluginHost:
        raise AssertionError

    run = PluginRun(1, make_spec("generic"), Path("/"), get_host)
    for number in range(30):
        run.report(f"ValueError: frame {number}")
    run.take_problems()
    run.disable("the call parse does not come back")
    (problem,) = run.take_problems()
    assert problem.endswith("not parsed any more: the call parse does not come back")

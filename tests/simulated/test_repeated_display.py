"""`--watch`: the same again and again, whatever happens to the farm."""

from __future__ import annotations

import json
import signal

import pytest
from trio.testing import MockClock

from trio_afrender.cli import repeated_display
from trio_afrender.cli.repeated_display import Shown, _watch, _write, _write_json, display
from trio_afrender.cli.text_table import Line
from trio_afrender.errors import ConfigError, JobGone, LinkLost


async def test_an_unreachable_farm_is_shown_and_tried_again(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Shown | Exception] = [
        Shown([["first"]], [1]),
        LinkLost("af://farm:1: no server listens there"),
        JobGone(7),
        Shown([["second"]], [2]),
    ]

    async def fetch(_width: int) -> Shown:
        if not answers:
            signal.raise_signal(signal.SIGINT)  # the regular end
            return Shown([["last"]], [3])
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    drawn: list[Line] = []
    await _watch(fetch, 2.0, lambda shown: _write(shown.lines), drawn.extend)
    out = capsys.readouterr().out
    assert out.splitlines() == ["first", "second", "last"]
    assert drawn == [
        [("af://farm:1: no server listens there", "red")],
        [("job 7 is not on the server any more: it was deleted", "red")],
    ]


async def test_with_json_each_time_is_a_line_and_problems_go_to_stderr(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Shown | Exception] = [
        Shown([], [{"id": 1}]),
        LinkLost("gone"),
        Shown([], []),
        ConfigError("a wrong word"),
    ]

    async def fetch(_width: int) -> Shown:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    # What cannot become better ends it.
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match="a wrong word")):
        await _watch(fetch, 2.0, _write_json, None)
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [[{"id": 1}], []]
    assert err == "gone\n"


def test_once_a_lost_farm_is_an_error_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail(_width: int) -> Shown:
        raise LinkLost("af://farm:1: no server listens there")

    with pytest.raises(LinkLost, match=r"listens there; open a farm with `trio_afrender farm`"):
        display(fail, as_json=False, watch=None)

    async def fetch(_width: int) -> Shown:
        return Shown([["a ", ("b", "red")]], [1])

    display(fetch, as_json=False, watch=None)
    display(fetch, as_json=True, watch=None)
    assert capsys.readouterr().out == "a b\n[\n  1\n]\n"


def test_a_drawing_has_no_more_lines_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "6")
    with repeated_display._open_live() as draw:
        draw([[f"line {number}"] for number in range(20)])
    out = capsys.readouterr().out
    assert "line 3" in out
    assert "line 4" not in out
    assert "... and 16 more lines" in out

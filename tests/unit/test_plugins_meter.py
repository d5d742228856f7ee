"""Meters: what they may show, when they are asked again, the worker that asks them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plugins import PLUGINS

from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound, ProtocolError
from trio_afrender.plugins.meters.meter_worker import MeterWorker
from trio_afrender.plugins.meters.schedule import (
    FIRST_QUARANTINE,
    MAX_INTERVAL,
    MAX_QUARANTINE,
    MeterHealth,
)
from trio_afrender.plugins.meters.values import meter_from, read_meter
from trio_afrender.protocol.messages import CustomMeter


def make(name: str, folder: Path = PLUGINS) -> MeterWorker:
    return MeterWorker(name, PluginSettings(), (folder,))


def shown(worker: MeterWorker) -> CustomMeter:
    measured = worker.measure().shown
    assert measured is not None
    return measured


# -- values ---------------------------------------------------------------------------------------


def test_every_property_is_delivered() -> None:
    defaults = attrs.asdict(CustomMeter())
    values: dict[str, Any] = {
        name: f"text of {name}" if isinstance(default, str) else number
        for number, (name, default) in enumerate(defaults.items(), 40)
    }
    read, problems = read_meter(SimpleNamespace(**values), CustomMeter())
    assert (attrs.asdict(read), problems) == (values, ())
    assert (read.graphb, read.bgcolorg, read.bgcolorb) == (
        values["graphb"], values["bgcolorg"], values["bgcolorb"],
    )  # fmt: skip


def test_defaults_are_the_base_class_own() -> None:
    worker = make("meter_counts")
    expected = CustomMeter(
        value=1, graphb=9, bgcolorg=7, label="count", tooltip="Custom resources meter."
    )
    assert shown(worker) == expected


def test_silly_values_keep_what_was_there() -> None:
    worker = make("meter_silly")
    read = shown(worker)
    assert (read.value, read.valuemax, read.width, read.height) == (2**31 - 1, 99, 0, 50)
    assert (read.graphr, read.graphb, read.labelr, read.bgcolorg) == (255, 0, 255, 20)
    assert read.label == "?[31m?" + "x" * 994
    assert read.tooltip == ""
    problems = "\n".join(worker.problems())
    assert "graphb is 'blue', not of type int" in problems
    assert "graphr is 300: 255 is used" in problems
    assert "tooltip is b'bytes', not of type str" in problems
    assert "valuemax" not in problems  # a division's result is fine
    worker.measure()
    assert worker.problems() == ()  # told once


@given(
    st.lists(
        st.none() | st.floats() | st.integers() | st.text() | st.booleans() | st.binary(),
        min_size=16,
        max_size=16,
    )
)
def test_whatever_a_meter_holds_can_be_sent(values: list[object]) -> None:
    names = [field.name for field in attrs.fields(CustomMeter)]
    meter = SimpleNamespace(**dict(zip(names, values, strict=True)))
    read, _ = read_meter(meter, CustomMeter())
    assert meter_from(attrs.asdict(read)) == read


@pytest.mark.parametrize("value", [3, [], {}, {**attrs.asdict(CustomMeter()), "value": True}])
def test_a_measurement_that_is_none(value: object) -> None:
    with pytest.raises(ProtocolError):
        meter_from(value)
    assert meter_from(None) is None


# -- the worker -----------------------------------------------------------------------------------


def test_what_a_meter_raises_is_shown_and_told_with_what_it_printed() -> None:
    worker = make("meter_raise")
    measured = worker.measure()
    assert measured.raised
    assert measured.shown is not None
    assert measured.shown.label == "Error"
    assert measured.shown.tooltip == "meter_raise: LookupError: no sensor"
    (problem,) = worker.problems()
    assert "LookupError: no sensor" in problem
    assert "It printed: about to look" in problem


def test_a_meter_without_anything_to_measure() -> None:
    worker = make("meter_invalid")
    assert worker.measure().shown is None
    assert worker.problems() == ("it has nothing to measure on this host",)


def test_there_must_be_such_a_meter() -> None:
    with pytest.raises(PluginNotFound, match='did you mean "meter_hang"'):
        make("meter_hung")


def test_one_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from resources import resbase\n"
        "class broken(resbase.resbase):\n def __init__(self): raise SystemExit('no')\n"
    )
    with pytest.raises(PluginError, match='meter "broken" could not be made: SystemExit: no'):
        make("broken", tmp_path)


METER = """from resources import resbase
class m(resbase.resbase):
    def __init__(self):
        resbase.resbase.__init__(self)
        self.valid = True
    def update(self):
        {update}
"""


def test_a_changed_file_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(METER.format(update="self.value = 1"))
    worker = make("m", tmp_path)
    assert shown(worker).value == 1
    file.write_text(METER.format(update="self.value = 22"))
    assert shown(worker).value == 22
    file.write_text("nonsense(")
    with pytest.raises(PluginError, match="SyntaxError"):
        worker.measure()


def test_a_meter_of_its_own_making(tmp_path: Path) -> None:
    """One without our base class, whose `do` raises: CGRU's file of that name may stand in between."""
    (tmp_path / "own.py").write_text(
        "class own:\n valid = True\n label = 'L'\n def do(self): raise KeyError('k')\n"
    )
    measured = make("own", tmp_path).measure()
    assert measured.raised
    assert measured.shown == CustomMeter(label="Error", tooltip="own: KeyError: 'k'")


# -- when it is asked again -----------------------------------------------------------------------


def test_failures_slow_a_meter_down_and_one_good_answer_mends_it() -> None:
    health = MeterHealth()
    delays = []
    for _ in range(12):
        health.note_raised()
        delays.append(health.delay(5.0))
    assert delays[:5] == [5.0, 5.0, 5.0, 10.0, 20.0]
    assert delays[-1] == MAX_INTERVAL
    health.note_good(5.0)
    assert health.delay(5.0) == 5.0


def test_quarantine_grows_with_each_hang_and_is_forgiven_in_time() -> None:
    health = MeterHealth()
    delays = []
    for _ in range(5):
        health.note_hung()
        delays.append(health.delay(5.0))
    assert delays == [FIRST_QUARANTINE, 240.0, 960.0, MAX_QUARANTINE, MAX_QUARANTINE]
    health.note_good(5.0)
    assert health.delay(5.0) == 5.0
    health.note_hung()
    assert health.delay(5.0) == MAX_QUARANTINE  # one good answer is not enough
    for _ in range(round(MAX_QUARANTINE / 5.0)):
        health.note_good(5.0)
    health.note_hung()
    assert health.delay(5.0) == FIRST_QUARANTINE


def test_one_that_is_absent_is_looked_for_seldom() -> None:
    health = MeterHealth()
    health.note_absent()
    assert health.delay(5.0) == MAX_INTERVAL
    assert health.delay(10_000.0) == 10_000.0
    health.note_good(5.0)
    assert health.delay(5.0) == 5.0

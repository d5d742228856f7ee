"""Meters: checks of their properties, intervals of their measurements, the worker that calls them."""

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
from trio_afrender.plugins.meters.service import _Meter
from trio_afrender.plugins.meters.values import load_measurement, read_meter
from trio_afrender.protocol.messages import CustomMeter


def make(name: str, folder: Path = PLUGINS) -> MeterWorker:
    return MeterWorker(name, PluginSettings(), (folder,))


def shown(worker: MeterWorker) -> CustomMeter:
    measured = worker.measure().shown
    assert measured is not None
    return measured


# -- values ---------------------------------------------------------------------------------------


def test_every_property_is_read() -> None:
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


def test_defaults_are_those_of_the_base_class() -> None:
    worker = make("meter_counts")
    expected = CustomMeter(
        value=1, graphb=9, bgcolorg=7, label="count", tooltip="Custom resources meter."
    )
    assert shown(worker) == expected


def test_wrong_values_keep_the_last_one() -> None:
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
    assert "valuemax" not in problems  # the result of a division is allowed
    worker.measure()
    assert worker.problems() == ()  # reported once


@given(
    st.lists(
        st.none() | st.floats() | st.integers() | st.text() | st.booleans() | st.binary(),
        min_size=16,
        max_size=16,
    )
)
def test_any_property_values_can_be_sent(values: list[object]) -> None:
    names = [field.name for field in attrs.fields(CustomMeter)]
    meter = SimpleNamespace(**dict(zip(names, values, strict=True)))
    read, _ = read_meter(meter, CustomMeter())
    sent = {"shown": attrs.asdict(read), "raised": True}
    assert load_measurement(sent) == (read, True)


@pytest.mark.parametrize("shown", [3, [], {}, {**attrs.asdict(CustomMeter()), "value": True}])
def test_an_invalid_measurement_is_refused(shown: object) -> None:
    with pytest.raises(ProtocolError):
        load_measurement({"shown": shown, "raised": False})
    for value in (shown, None, {"shown": None}, {"shown": None, "raised": 0}):
        with pytest.raises(ProtocolError):
            load_measurement(value)
    assert load_measurement({"shown": None, "raised": False}) == (None, False)


# -- the worker -----------------------------------------------------------------------------------


def test_an_exception_of_a_meter_is_shown_and_reported_with_its_prints() -> None:
    worker = make("meter_raise")
    measured = worker.measure()
    assert measured.raised
    assert measured.shown is not None
    assert measured.shown.label == "Error"
    assert measured.shown.tooltip == "meter_raise: LookupError: no sensor"
    (problem,) = worker.problems()
    assert "LookupError: no sensor" in problem
    assert "It printed: about to look" in problem


def test_a_meter_that_is_not_valid_shows_nothing() -> None:
    worker = make("meter_invalid")
    assert worker.measure().shown is None
    assert worker.problems() == ("it has nothing to measure on this host",)


def test_a_missing_meter_is_an_error() -> None:
    with pytest.raises(PluginNotFound, match='did you mean "meter_hang"'):
        make("meter_hung")


def test_a_meter_whose_constructor_raises_is_an_error(tmp_path: Path) -> None:
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


def test_a_changed_file_is_used_by_the_next_measurement(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(METER.format(update="self.value = 1"))
    worker = make("m", tmp_path)
    assert shown(worker).value == 1
    file.write_text(METER.format(update="self.value = 22"))
    assert shown(worker).value == 22
    file.write_text("nonsense(")
    with pytest.raises(PluginError, match="SyntaxError"):
        worker.measure()


def test_a_meter_without_the_built_in_base_class(tmp_path: Path) -> None:
    """It is called all the same, and its `do` may raise."""
    (tmp_path / "own.py").write_text(
        "class own:\n valid = True\n label = 'L'\n def do(self): raise KeyError('k')\n"
    )
    measured = make("own", tmp_path).measure()
    assert measured.raised
    assert measured.shown == CustomMeter(label="Error", tooltip="own: KeyError: 'k'")


# -- intervals ------------------------------------------------------------------------------------


def test_failures_lengthen_the_interval_and_one_success_restores_it() -> None:
    health = MeterHealth()
    delays = []
    for _ in range(12):
        health.note_raised()
        delays.append(health.delay(5.0))
    assert delays[:5] == [5.0, 5.0, 5.0, 10.0, 20.0]
    assert delays[-1] == MAX_INTERVAL
    health.note_good(5.0)
    assert health.delay(5.0) == 5.0


def test_quarantine_grows_with_each_hang_and_is_reset_by_time_that_works() -> None:
    health = MeterHealth()
    delays = []
    for _ in range(5):
        health.note_hung()
        delays.append(health.delay(5.0))
    assert delays == [FIRST_QUARANTINE, 240.0, 960.0, MAX_QUARANTINE, MAX_QUARANTINE]
    health.note_good(5.0)
    assert health.delay(5.0) == 5.0
    health.note_hung()
    assert health.delay(5.0) == MAX_QUARANTINE  # one success is not enough
    for _ in range(round(MAX_QUARANTINE / 5.0)):
        health.note_good(5.0)
    health.note_hung()
    assert health.delay(5.0) == FIRST_QUARANTINE


def test_an_absent_meter_is_tried_rarely() -> None:
    health = MeterHealth()
    health.note_absent()
    assert health.delay(5.0) == MAX_INTERVAL
    assert health.delay(10_000.0) == 10_000.0
    health.note_good(5.0)
    assert health.delay(5.0) == 5.0


def test_that_a_meter_is_not_measured_is_logged_whatever_was_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter = _Meter(1, "busy")
    for number in range(30):
        meter.report(f"ValueError: {number}")
    meter.report("it hangs; it is not measured for 60 s", always=True)
    assert caplog.messages[-1] == 'meter "busy": it hangs; it is not measured for 60 s'

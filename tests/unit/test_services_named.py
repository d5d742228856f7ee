"""Some services by name, the service `test`, and the base class of meters."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

import pytest

from resmeters.example import example
from resmeters.resbase import resbase
from services.service import service
from services.test import test as Faulty


@pytest.mark.parametrize("name", ["generic", "blender", "ffmpeg", "mitsuba"])
def test_a_service_and_its_parser(name: str) -> None:
    module = importlib.import_module(f"services.{name}")
    made = getattr(module, name)({"command_block": "go @#@", "block_flags": 1, "parser": name})
    assert isinstance(made, service)
    assert module.parser == name
    assert made.getCommand() == "go 0"
    assert made.hasParser()


def _run_test_service(task: int, seed: str) -> str:
    info: dict[str, Any] = {"command_block": "go", "task_id": task}
    info["environment"] = {"AF_TEST_SEED": seed} if seed else {}
    made = Faulty(info)
    if not made.getCommand():
        assert " < 0.01\n" in made.log
        return "fails"
    if made.skipTask():
        assert " < 0.03\n" in made.log
        return "skipped"
    assert made.log == ""
    return "runs"


def test_faults_occur_with_the_documented_probability() -> None:
    results = Counter(_run_test_service(task, "any") for task in range(4000))
    assert 20 <= results["fails"] <= 60
    assert 50 <= results["skipped"] <= 110


def test_a_seed_makes_faults_repeatable() -> None:
    first, again, other = (
        [_run_test_service(task, seed) for task in range(300)] for seed in ("one", "one", "two")
    )
    assert first == again
    assert first != other


def test_without_a_seed_most_tasks_run() -> None:
    assert Counter(_run_test_service(1, "") for _ in range(200))["runs"] > 150


# Meters.


def test_the_example_rises_and_starts_again() -> None:
    made = example()
    values = []
    for _ in range(36):
        assert made.do() is made
        values.append(made.value)
    assert values[:3] == [0, 3, 6]
    assert max(values) == 99
    assert values[33:36] == [99, 0, 3]
    assert "label = 'Example\\n3'" in made.output()


def test_an_invalid_meter_is_not_measured() -> None:
    assert resbase().do() is None


def test_a_meter_that_raises_shows_an_error() -> None:
    made = resbase()
    made.valid = True
    assert made.do() is made
    assert made.label == "Error"
    assert "update" in made.tooltip

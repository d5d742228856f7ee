"""A few hundred wrong inputs for every decoder of outside data; `make fuzz` runs any number."""

from __future__ import annotations

import random

import pytest
from fuzz.mutate import Mutator
from fuzz.runner import FuzzRun, try_input
from fuzz.targets import Target, all_targets

from trio_afrender.errors import JobError

INPUTS = 300
SEED = random.SystemRandom().randrange(10**6)


@pytest.mark.parametrize("name", list(all_targets()))
def test_any_input_gives_a_value_or_an_error_of_the_project(name: str) -> None:
    target = all_targets()[name]
    run = FuzzRun(target, f"{SEED}:{name}")
    inputs = int(INPUTS * target.share)
    findings = [f"{each.problem}\n{each.data!r}" for each in run.try_inputs(inputs)]
    assert not findings, f'make fuzz SEED={SEED} ONLY="{name}" INPUTS={INPUTS}\n{findings[0]}'


def test_other_exceptions_and_errors_of_bad_length_are_findings() -> None:
    def run(data: bytes) -> None:
        if data == b"bug":
            raise KeyError
        if data:
            raise JobError("", data.decode())

    target = Target(run=run, corpus=(b"",), allowed=(JobError,))
    assert try_input(target, b"") is None
    assert try_input(target, b"no") == ""
    assert "KeyError" in str(try_input(target, b"bug"))
    assert "bad length: 'xxx" in str(try_input(target, b"x" * 3000))


def test_a_seed_repeats_its_inputs() -> None:
    corpus = (b'{"a": [1, 2, {"b": "c"}]}', b"text\n")
    one, two, other = (Mutator(corpus, random.Random(seed)) for seed in ("1", "1", "2"))  # noqa: S311
    first = [one.make() for _ in range(50)]
    assert first == [two.make() for _ in range(50)]
    assert first != [other.make() for _ in range(50)]

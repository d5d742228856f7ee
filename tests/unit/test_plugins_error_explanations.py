"""Rules that people change while the agent runs, asked of the end of a log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_afrender.errors import ProtocolError
from trio_afrender.plugins.error_explanations import explain_end
from trio_afrender.plugins.error_rules import ErrorClass
from trio_afrender.plugins.host.host_protocol import load_classes
from trio_afrender.tasklog.memory_log import MemoryLogStore

RULE = '[[rule]]\nclass = "licence"\ntexts = ["no seat of foo"]\nnote = "{note}"\n'


def make_log(text: str) -> MemoryLogStore:
    log = MemoryLogStore()
    log.append(text.encode())
    return log


def test_built_in_rules_answer_without_a_file() -> None:
    found, problems = explain_end(make_log("No space left on device\n"), "", 1, None)
    assert [one.name for one in found] == ["disk-full"]
    assert problems == ()


def test_a_file_is_loaded_again_when_it_has_changed(tmp_path: Path) -> None:
    rules, log = tmp_path / "rules.toml", make_log("error: no seat of foo\n")
    for turn, note in enumerate(("ask Joe", "ask Ann")):
        rules.write_text(RULE.format(note=note))
        os.utime(rules, ns=(turn, turn))
        found, problems = explain_end(log, str(rules), 1, None)
        assert (found, problems) == ((ErrorClass("licence", note, False),), ())


def test_a_file_that_cannot_be_used_is_said_and_the_built_in_rules_hold(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[[rule")
    for path in (broken, tmp_path / "none.toml"):
        found, problems = explain_end(make_log("No space left on device\n"), str(path), 1, None)
        assert [one.name for one in found] == ["disk-full"]
        assert path.name in problems[0]


def test_a_bad_pattern_disables_itself_alone(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nclass = "crash"\npattern = "(("\n' + RULE.format(note="ask Joe"))
    found, problems = explain_end(make_log("no seat of foo\n"), str(rules), 1, None)
    assert [one.name for one in found] == ["licence"]
    assert "rule 1 is left out" in problems[0]


@pytest.mark.parametrize("value", [None, "text", [["a", "b"]], [["a", "b", 1]], [7]])
def test_answers_of_wrong_types_are_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        load_classes(value)
    assert load_classes([["crash", "", True]]) == (ErrorClass("crash", "", True),)

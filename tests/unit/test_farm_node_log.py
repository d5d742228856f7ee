"""The log of a node: its limits, and the text of an action."""

from __future__ import annotations

import time

import pytest

from trio_afrender.farm.node_log import Actor, NodeLog, describe_action

_MOMENT = 1_796_000_000.0


def test_a_new_log_is_empty() -> None:
    log = NodeLog()
    assert log.entries == ()
    assert log.lines == ()


def test_a_line_begins_with_its_local_time() -> None:
    log = NodeLog()
    log.add(_MOMENT, "paused")
    stamp = time.strftime("%a %d %b %H:%M.%S", time.localtime(_MOMENT))
    assert log.lines == (f"{stamp}: paused",)


def test_the_oldest_lines_are_dropped() -> None:
    log = NodeLog((_MOMENT + i, str(i)) for i in range(150))
    assert [text for _, text in log.entries] == [str(i) for i in range(50, 150)]


def test_a_long_line_is_cut() -> None:
    log = NodeLog([(_MOMENT, "x" * 5000)])
    assert len(log.entries[0][1]) == 2000


@pytest.mark.parametrize(
    ("actor", "text"),
    [
        (Actor(user_name="anna"), "anna"),
        (Actor(user_name="anna", host_name="w12"), "anna@w12"),
        (Actor(user_name="anna", host_name="w12", address="127.0.0.1"), "anna@w12 127.0.0.1"),
        (Actor(user_name="an\nna", host_name="\x1b[31m"), "an?na@?[31m"),
    ],
)
def test_an_actor_is_named(actor: Actor, text: str) -> None:
    assert str(actor) == text
    action = describe_action(actor, "jobs", "params", "shot", '"priority" set to 7')
    assert action == f'{text}: jobs params: shot: "priority" set to 7'

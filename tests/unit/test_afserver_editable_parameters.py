"""Parameters that users set: names, types and ranges."""

from __future__ import annotations

import pytest

from trio_afrender.afserver.editable_parameters import KINDS, parse_settings, settings_of
from trio_afrender.cli import steering_arguments
from trio_afrender.errors import ConfigError
from trio_afrender.farm.job_parameters import BLOCK_PARAMETERS, JOB_PARAMETERS, USER_PARAMETERS
from trio_afrender.farm.render_edits import _POOL_READERS, _RENDER_READERS


@pytest.mark.parametrize(
    ("kind", "words", "params"),
    [
        ("render", ["priority=77"], {"priority": 77}),
        ("render", ["annotation=a = b", "nimby=yes"], {"annotation": "a = b", "nimby": True}),
        ("render", ["services=a, b,a", "services_disabled="],
         {"services": ["a", "b"], "services_disabled": []}),
        ("render", ["capacity_host=-1"], {"capacity_host": -1}),
        ("job", ["folders.output=/srv/out", "folders.a b=c"],
         {"folders": {"output": "/srv/out", "a b": "c"}}),
        ("job", ["pools./=10", "hidden=off"], {"pools": {"/": 10}, "hidden": False}),
        ("job", ["depend_mask=a.*", "hosts_mask_type=find"],
         {"depend_mask": "a.*", "hosts_mask_type": "find"}),
        ("block", ["command=render \"x\"", "sequential=-5", "environment.A=1"],
         {"command": 'render "x"', "sequential": -5, "environment": {"A": "1"}}),
        ("task", ["suspended=true"], {"suspended": True}),
        ("user", ["errors_retries=0"], {"errors_retries": 0}),
        ("pool", ["busy_cpu=90", "new_nimby=1"], {"busy_cpu": 90, "new_nimby": True}),
    ],
)  # fmt: skip
def test_texts_become_values(kind: str, words: list[str], params: dict[str, object]) -> None:
    assert parse_settings(kind, words) == params


@pytest.mark.parametrize(
    ("kind", "word", "sentence"),
    [
        ("render", "prio=7", 'a render has no parameter "prio", did you mean "priority"?'),
        ("render", "zzz=7", 'a render has no parameter "zzz"; it has NIMBY, annotation'),
        ("render", "capacity=7", 'no parameter "capacity": it is capacity_host here'),
        ("job", "capacity=7", "no parameter"),
        ("job", "command=x", 'a job has no parameter "command", but a block has one'),
        ("job", "offline=true", "use the commands pause and start"),
        ("render", "priority=256", 'priority: "256": expected a whole number from 0 to 255'),
        ("render", "priority=-1", "from 0 to 255"),
        ("render", "priority=1.5", "from 0 to 255"),
        ("render", "priority=", "from 0 to 255"),
        ("render", "paused=maybe", 'paused: "maybe": expected true or false'),
        ("job", "depend_mask=a(", "depend_mask: \"a(\": it is not a regular expression"),
        ("job", "hosts_mask_type=glob", "expected find or regex"),
        ("job", "folders=/srv", '"folders": expected folders.NAME=VALUE'),
        ("job", "priority.x=1", '"priority.x": expected priority=VALUE'),
        ("job", "pools./=1000", "from -100 to 100"),
        ("block", 'name=a"b', "which servers do not escape"),
        ("block", "service=a\nb", "which servers do not escape"),
        ("block", 'environment.a"b=1', "which servers do not escape"),
        ("block", "errors_retries=200", "from -1 to 127"),
        ("block", "command=a\0b", "NUL"),
        ("block", "command", '"command": expected key=value'),
        ("block", "=x", '"=x": expected key=value'),
        ("job", f"annotation={'x' * 2_000_000}", "more than 1,048,576"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_a_sentence(kind: str, word: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(kind, [word])
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_one_is_given_once() -> None:
    with pytest.raises(ConfigError, match=r'"folders\.a" is given twice'):
        parse_settings("job", ["folders.a=1", "folders.a=2"])
    with pytest.raises(ConfigError, match='"priority" is given twice'):
        parse_settings("job", ["priority=1", "priority=2"])


def test_the_command_line_has_the_same_kinds() -> None:
    assert steering_arguments.KINDS == KINDS


FARM = {
    "render": _RENDER_READERS,
    "job": JOB_PARAMETERS,
    "block": BLOCK_PARAMETERS,
    "user": USER_PARAMETERS,
    "pool": _POOL_READERS,
}
OTHERWISE = {
    "job": {"offline"},
    "block": {"tickets", "need_os", "srv_info"},
    "user": {"srv_info"},
}
"""Set by commands, or overwritten by the server."""


@pytest.mark.parametrize("kind", FARM)
def test_what_our_farm_lets_edit_can_be_set(kind: str) -> None:
    assert FARM[kind].keys() - settings_of(kind).keys() - OTHERWISE.get(kind, set()) == set()

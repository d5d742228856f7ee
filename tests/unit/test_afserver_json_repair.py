"""Broken JSON of an afserver: texts that it does not escape."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.afserver.json_api import parse_answer
from trio_afrender.afserver.json_repair import load_repaired

WAKING = (
    '{"renders":[\n{\n"name":"host1",\n"id":1,\n"st":9,\n"tasks":[{"name":"{\n"name":"host1",\n'
    '"id":1,\n"prior","service":"wakeonlan","capacity":1000,"user_name":"host1",'
    '"block_name":"wake-on-lan","job_id":1,"block_num":1,"task_num":0}\n]\n},\n'
    '{\n"name":"host2",\n"id":2,\n"st":1\n}\n]}'
)
"""A list of renders while a wake-on-lan task runs: its name is the beginning of a JSON text."""


def test_a_list_of_renders_is_read_while_a_wake_task_runs() -> None:
    found = parse_answer(WAKING.encode(), "af://farm:51000")
    renders = found["renders"]
    assert isinstance(renders, list)
    assert [(each["name"], each["id"], each["st"]) for each in renders] == [
        ("host1", 1, 9),
        ("host2", 2, 1),
    ]
    [task] = renders[0]["tasks"]
    assert (task["job_id"], task["block_num"], task["task_num"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name":"q"q","id":3}', {"name": 'q"q', "id": 3}),
        ('{"name":""","id":3}', {"name": '"', "id": 3}),
        ('{"o"k":"x"}', {'o"k': "x"}),
        ('{"name":"a\\q"}', {"name": "a\\q"}),
        ('{"list":["q"q: Initialized."]}', {"list": ['q"q: Initialized.']}),
        ('{"name":"a\x08b\nc"}', {"name": "a\x08b\nc"}),
        ('{"a":"x\\"y","b":"q"q"}', {"a": 'x"y', "b": 'q"q'}),
    ],
)  # fmt: skip
def test_quotes_and_backslashes_in_texts_are_read(text: str, value: object) -> None:
    assert load_repaired(text) == value


@pytest.mark.parametrize("text", ["", "{", '{"a":1,}', "{]", '{"jobs":[,\n]}', '"' * 9, "{} {}"])
def test_what_no_quote_explains_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_repaired(text)


def test_endless_quotes_end_soon() -> None:
    with pytest.raises(ValueError, match=r"."):
        load_repaired('{"a":"' + '"x' * 5000)


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=20) | st.integers() | st.booleans()))
def test_right_json_is_read_as_it_is(value: dict[str, object]) -> None:
    assert load_repaired(json.dumps(value)) == value


@given(st.text(alphabet='"ab,:{}[]\\\n', max_size=40))
def test_any_text_ends(text: str) -> None:
    with contextlib.suppress(ValueError):
        load_repaired(f'{{"name":"{text}","id":1}}')

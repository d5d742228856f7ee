"""Values that users send: what is taken, and the sentence of each refusal."""

from __future__ import annotations

import re

import pytest

from trio_afrender.errors import EditRefused
from trio_afrender.farm.edit_values import (
    Reader,
    flag,
    number,
    one_of,
    pattern,
    read_values,
    show_values,
    text,
    text_table,
    texts,
)

READERS: dict[str, Reader] = {
    "priority": number(0, 255),
    "hidden": flag,
    "annotation": text,
    "kind": one_of("find", "regex"),
    "depend_mask": pattern,
    "services": texts,
    "folders": text_table,
}


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("priority", 0, 0),
        ("priority", 255, 255),
        ("hidden", False, False),
        ("annotation", "", ""),
        ("kind", "find", "find"),
        ("depend_mask", "a.*", "a.*"),
        ("services", ["a", "b"], ("a", "b")),
        ("folders", {"output": "/out"}, {"output": "/out"}),
    ],
)
def test_right_values(key: str, value: object, read: object) -> None:
    assert read_values(READERS, {key: value}, "a job") == {key: read}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("priority", 256, "priority: 256 is not within 0 to 255"),
        ("priority", -1, "priority: -1 is not within 0 to 255"),
        ("priority", 10**30, "is not within 0 to 255"),
        ("priority", True, "priority: expected an integer from 0 to 255, found true"),
        ("priority", 1.0, "priority: expected an integer from 0 to 255, found 1.0"),
        ("priority", "9", 'priority: expected an integer from 0 to 255, found "9"'),
        ("priority", None, "found null"),
        ("hidden", 1, "hidden: expected true or false, found 1"),
        ("annotation", 1, "annotation: expected a string, found 1"),
        ("annotation", "a\0", "annotation: a NUL character can be in no command and no path"),
        ("annotation", "x" * 2_000_000, "2,000,000 characters, more than 1,048,576"),
        ("kind", "glob", 'kind: expected "find" or "regex", found "glob"'),
        ("kind", ["find"], "found ["),
        ("depend_mask", "[", 'depend_mask: "[" is not a regular expression: '),
        ("services", "a", 'services: expected a list of strings, found "a"'),
        ("services", ["a", 1], "services: expected a list of strings"),
        ("services", ["a"] * 10_001, "services: 10,001 entries, more than 10,000"),
        ("folders", [], "folders: expected an object of strings, found []"),
        ("folders", {"output": 1}, "folders.output: expected a string, found 1"),
        ("prioritY", 1, 'a job has no parameter "prioritY", did you mean "priority"?'),
        ("zzzzzzzz", 1, 'a job has no parameter "zzzzzzzz"'),
    ],
)
def test_refusals(key: str, value: object, sentence: str) -> None:
    with pytest.raises(EditRefused, match=re.escape(sentence)):
        read_values(READERS, {"hidden": True, key: value}, "a job")


def test_values_in_a_log() -> None:
    values = {"priority": 7, "annotation": 'a "b"', "folders": {"output": "/x"}}
    assert show_values(values).splitlines() == [
        '"priority" set to 7',
        '"annotation" set to "a \\"b\\""',
        'folders[output]="/x"',
    ]

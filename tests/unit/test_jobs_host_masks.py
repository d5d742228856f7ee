"""Masks of hosts in both languages."""

from __future__ import annotations

import re

import pytest

from trio_afrender.jobs.host_masks import compile_name_mask, compile_text_mask


@pytest.mark.parametrize(
    ("mask_type", "mask", "name", "matches"),
    [
        ("regex", "r[0-9]+", "r12", True),
        ("regex", "r[0-9]+", "r12x", False),
        ("regex", "R1", "r1", True),
        ("find", "r1", "r12", True),
        ("find", "r1", "xr1", False),
        ("find", "R1", "r1", False),
        ("find", "a|b;c,d:e f", "f2", True),
        ("find", "a|b;c,d:e f", "c", True),
        ("find", "a|b;c,d:e f", "g", False),
        ("find", "r.*", "r1", False),
        ("find", "r.*", "r.*1", True),
        ("find", "r\n", "r\n1\n", True),
        ("find", "; ,", "anything", True),
    ],
)
def test_names(mask_type: str, mask: str, name: str, matches: bool) -> None:
    pattern = compile_name_mask(mask, mask_type)
    assert pattern is not None
    assert bool(pattern.fullmatch(name)) == matches


@pytest.mark.parametrize(
    ("mask_type", "mask", "text", "matches"),
    [
        ("regex", "linux|mac", "Linux 6.18", True),
        ("regex", "^6", "Linux 6.18", False),
        ("find", "win linux", "a linux b", True),
        ("find", "linux", "Linux", False),
        ("find", "a.b", "axb", False),
    ],
)
def test_texts(mask_type: str, mask: str, text: str, matches: bool) -> None:
    pattern = compile_text_mask(mask, mask_type)
    assert pattern is not None
    assert bool(pattern.search(text)) == matches


@pytest.mark.parametrize("mask_type", ["regex", "find"])
def test_an_empty_mask_is_none(mask_type: str) -> None:
    assert compile_name_mask("", mask_type) is None
    assert compile_text_mask("", mask_type) is None


def test_an_invalid_expression() -> None:
    with pytest.raises(re.error):
        compile_name_mask("(", "regex")
    assert compile_name_mask("(", "find") is not None

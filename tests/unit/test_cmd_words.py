"""Words for `cmd.exe` come back as they were, and no word does anything in the shell."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.cmd_words import join_for_cmd, split_for_cmd

WORDS = st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), min_size=1)
ODD = [
    "a b.png",
    "a&calc.png",
    "a^b|c>d<e.png",
    "(a).png",
    "100%.png",
    "a%PATH%b.png",
    "%TEMP%",
    "a b\\",
    "é.png",
    "-a;b,c=d",
]


@pytest.mark.parametrize("word", ODD)
def test_odd_names_come_back(word: str) -> None:
    command = join_for_cmd(["prog", word, "end"])
    assert split_for_cmd(command) == ["prog", word, "end"]


@pytest.mark.parametrize("word", ODD)
def test_no_variable_is_replaced(word: str) -> None:
    """`cmd` takes what stands between two percent signs as a name, quotes included."""
    assert not re.search(r"%\w[^%\"]*%", join_for_cmd([word]))


@given(WORDS)
def test_any_words_come_back_or_are_not_recognized(words: list[str]) -> None:
    assert split_for_cmd(join_for_cmd(words)) in (None, words)


@given(st.lists(st.text("ab \\-.:/", min_size=1), min_size=1))
def test_plain_words_are_quoted_as_by_the_c_library(words: list[str]) -> None:
    assert join_for_cmd(words) == subprocess.list2cmdline(words)


@pytest.mark.parametrize(
    "command",
    ["a & b", "a | b", "a > b", "a < b", "a && b", "(a)", "a ^b", "a %X%", 'a "b', "a\nb"],
)
def test_a_command_that_needs_a_shell_is_not_split(command: str) -> None:
    assert split_for_cmd(command) is None

"""The thumbnailer's command is recognized for any file name; no other command is."""

from __future__ import annotations

import shlex
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.host_paths import WINDOWS

from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.thumbnail.command import Wanted, make_words, read_command
from trio_afrender.thumbnail.common import MAX_HEIGHT

PATHS = st.text(st.characters(exclude_characters="\0"), min_size=1)
JOIN = join_for_cmd if WINDOWS else shlex.join
OURS = JOIN(make_words(Wanted("/r/a.exr", "/s/a.exr.jpg")))


@given(PATHS, PATHS, st.integers(1, MAX_HEIGHT))
def test_the_command_is_recognized_for_any_file_names(image: str, thumb: str, height: int) -> None:
    wanted = Wanted(image, thumb, height)
    found = read_command(JOIN(make_words(wanted)))
    # Some names between percent signs are left to the shell of Windows.
    assert found == wanted or (
        WINDOWS and found is None and image.count("%") + thumb.count("%") > 1
    )


def test_the_command_is_recognized_with_the_quotes_of_cgruconfig() -> None:
    program = f'"{sys.executable}" -E -P -m trio_afrender.thumbnail'
    assert read_command(f'{program} -- "/r/a b.exr" "/s/a.jpg"') == Wanted("/r/a b.exr", "/s/a.jpg")
    assert read_command(f'{program} -- "/r/$HOME.exr" "/s/a.jpg"') is None
    assert read_command(f"{program} --height 99999 -- a b") == Wanted("a", "b", MAX_HEIGHT)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "convert a b",
        f"nice {OURS}",
        f"{OURS} && rm -rf x",
        f"{OURS}; true",
        f"{OURS} > /tmp/x",
        f"{OURS} &",
        f"{OURS} | cat",
        f"{OURS}\ntrue",
        f"{OURS} more",
        f"{OURS} # why",
        f"A=1 {OURS}",
        OURS.replace("/r/a.exr", "/r/*.exr"),
        OURS.replace("/r/a.exr", "/r/$X.exr"),
        OURS.replace("/r/a.exr", '"/r/`id`.exr"'),
        OURS.replace("/r/a.exr", "~/a.exr"),
        OURS.replace("/r/a.exr", "'open"),
        OURS.replace("-E -P", "-E"),
    ],
)
def test_a_command_that_needs_a_shell_is_not_recognized(command: str) -> None:
    assert read_command(command) is None


@pytest.mark.parametrize("height", ["9" * 5000, "9" * 10, "-1", ""])
def test_a_height_that_no_image_has_is_left_to_the_command(height: str) -> None:
    words = make_words(Wanted("a.exr", "a.jpg", 50))
    assert words[words.index("--height") + 1] == "50"
    assert read_command(shlex.join([height if word == "50" else word for word in words])) is None


def test_a_long_command_is_not_split() -> None:
    """To split it would take minutes of the agent's loop."""
    words = make_words(Wanted("a" * 2_000_000, "a.jpg"))
    assert read_command(shlex.join(words)) is None
    assert read_command("tar cf all.tar " + "frame.exr " * 200_000) is None

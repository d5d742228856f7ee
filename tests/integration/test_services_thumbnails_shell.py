"""A studio's thumbnail command in a real shell: each file name is exactly one word in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.service import service
from trio_afrender.config.settings import PluginSettings

ODD_NAMES = [
    "a b.png", "a'b.png", 'a"b.png', "a`id`.png", "a$(id)$HOME.png", "a\\b.png", "a\nb.png", "-a.png",
    "a;id|x&y>z.png", "a%(image)s%d.png", "é\u2028.png", "*?[a]~#!.png",
]  # fmt: skip


def make(folder: Path, name: str, template: str) -> service:
    """Make a service with that thumbnail command, and an image of that name."""
    (folder / name).write_bytes(b"x")
    made = service.__new__(service)
    made.settings = PluginSettings(thumbnail_extensions=("png",), thumbnail_command=template)
    made.__init__({"wdir": str(folder), "store_dir": str(folder)}, False)  # type: ignore[misc] # as the plugin host does it
    return made


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(
    "template", ['"%(image)s"', "'%(image)s'", "%(image)s", "x\"y\"'z'%(image)s"]
)
def test_no_name_breaks_the_command(tmp_path: Path, name: str, template: str) -> None:
    (command,) = make(tmp_path, name, f"printf '%%s\\n' {template}").generateThumbnail(
        False, [name]
    )
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True)
    prefix = "xyz" if template.startswith("x") else ""
    assert done.stdout.decode() == f"{prefix}{tmp_path}/{name}\n"


SAFE_PLACES = [
    "show \"$(show '%(image)s')\"",
    'show "$(show "%(image)s")"',
    'show "$(show "$(show %(image)s)")"',
    "show $(show a >/dev/null)%(image)s",
    '(show "%(image)s")',
    "true; # a comment that isn't over\nshow %(image)s",
    "sh -c 'printf %%s \"$1\"' name %(image)s",
    "sh -c 'printf %%s \"$1\"' name '%(image)s'",
    f"{sys.executable} -c 'import os, sys; os.write(1, os.fsencode(sys.argv[1]))' %(image)s",
    "env IMAGE=%(image)s sh -c 'printf %%s \"$IMAGE\"'",
    'show "a\\"b" >/dev/null; show "%(image)s"',
    "show 'a\"b' >/dev/null; show '%(image)s'",
    "show $((1 + 1)) >/dev/null; show %(image)s",
    "show `echo a` >/dev/null; show %(image)s",
    "show ${HOME} >/dev/null; show %(image)s",
    'show "$( (true) ; show "%(image)s" )"',
    'show "$( (true; (show "%(image)s")) )"',
    "show \"$(: $((1 + (2 * 3))); show '%(image)s')\"",
    "show a#b >/dev/null; show '%(image)s'",
]


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, "');touch x;('.png", '";touch x;".png', "$(touch x).png"]
)
@pytest.mark.parametrize("template", SAFE_PLACES)
def test_a_name_is_one_word_in_every_place_that_is_safe(
    tmp_path: Path, name: str, template: str
) -> None:
    (command,) = make(tmp_path, name, template).generateThumbnail(False, [name])
    command = f'show() {{ printf %s "$1"; }}; {command}'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout.decode() == f"{tmp_path}/{name}"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("show `show %(image)s`", "in backticks: use $(...)"),
        ("show \"`show '%(image)s'`\"", "in backticks: use $(...)"),
        ("sh -c 'show %(image)s'", "in the program of sh"),
        ('sh -c "show %(image)s"', "in the program of sh"),
        ("/bin/bash -ec 'show \"%(image)s\"'", "in the program of bash"),
        ("nice env A=1 sh -c %(image)s", "in the program of"),
        ("$SHELL -c 'show %(image)s'", "in the program of $SHELL"),
        ("sh -c \"$(show '%(image)s')\"", "in the program of sh"),
        ("eval show '%(image)s'", "in the program of eval"),
        ("ssh host convert %(image)s", "in the program of ssh"),
        ("true && ssh host convert '%(image)s'", "in the program of ssh"),
        ("python3.11 -c 'print(\"%(image)s\")'", "in the program of python3.11"),
        ("perl -e 'print q(%(image)s)'", "in the program of perl"),
        ("awk '{print \"%(image)s\"}' /dev/null", "in the program of awk"),
        ("cat <<EOF\n%(image)s\nEOF", "behind a here-document"),
        ("sh <<'EOF'\nshow '%(image)s'\nEOF", "behind a here-document"),
        ("cat <<< %(image)s", "behind a here-document"),
        ("show $((%(image)s))", "in arithmetic"),
        ("show ${X:-%(image)s}", "in ${...}"),
        ('show "${X:-%(image)s}"', "in ${...}"),
        ("show \\%(image)s", "after a backslash or a $"),
        ("show $%(image)s", "after a backslash or a $"),
        ("show # %(image)s", "in a comment"),
        ("# of the studio\nsh -c 'show %(image)s'", "in the program of sh"),
        ("sh -c -- 'show %(image)s'", "in the program of sh"),
        ("'sh' -o errexit -c 'show %(image)s'", "in the program of sh"),
        ("s\\h -c 'show %(image)s'", "in the program of sh"),
        ("show $[%(image)s]", "in ${...} or $[...]"),
        ("((%(image)s))", "in arithmetic"),
        ("let %(image)s", "in the program of let"),
        ('show "$(case a in a) show "%(image)s";; esac)"', "behind a case"),
    ],
)
def test_a_place_that_cannot_be_made_safe_is_refused(
    tmp_path: Path, template: str, reason: str
) -> None:
    made = make(tmp_path, "a.png", template)
    assert made.generateThumbnail(False, ["a.png"]) == []
    assert f"af_thumbnail_cmd cannot be used: a value of the task stands {reason}" in made.log

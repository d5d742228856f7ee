"""A studio's thumbnail command in a real shell: each file name is exactly one word in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from services.service import service
from trio_afrender.config.settings import PluginSettings

ODD_NAMES = [
    "a b.png", "a'b.png", 'a"b.png', "a`id`.png", "a$(id)$HOME.png", "a\\b.png", "a\nb.png", "-a.png",
    "a;id|x&y>z.png", "a%(image)s%d.png", "é\u2028.png", "*?[a]~#!.png",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(
    "template", ['"%(image)s"', "'%(image)s'", "%(image)s", "x\"y\"'z'%(image)s"]
)
def test_no_name_breaks_the_command(tmp_path: Path, name: str, template: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    made = service.__new__(service)
    made.settings = PluginSettings(
        thumbnail_extensions=("png",), thumbnail_command=f"printf '%%s\\n' {template}"
    )
    made.__init__({"wdir": str(tmp_path), "store_dir": str(tmp_path)}, False)  # type: ignore[misc] # as the plugin host does it
    (command,) = made.generateThumbnail(False, [name])
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True)
    prefix = "xyz" if template.startswith("x") else ""
    assert done.stdout.decode() == f"{prefix}{tmp_path}/{name}\n"

"""Messages name an extra by the way the package was installed, and never a name of the index."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from support.layers import OWN_PACKAGES, ROOT

from trio_afrender.cmd_words import join_for_cmd
from trio_afrender.extras import choose_command, how_to_install, packages_of

REQUIRES = (
    "trio>=0.31",
    'rich>=13; extra == "cli"',
    "openimageio>=3; extra == 'thumbnails'",
    "numpy; extra == 'thumbnails'",
    'trio-afrender[cli,thumbnails]; extra == "demo"',
    'mitsuba>=3.5; extra == "demo"',
    'trio_afrender[loop]; extra == "loop"',
)


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("cli", ("rich>=13",)),
        ("thumbnails", ("openimageio>=3", "numpy")),
        ("demo", ("rich>=13", "openimageio>=3", "numpy", "mitsuba>=3.5")),
        ("loop", ()),
        ("nonsense", ()),
    ],
)
def test_packages(extra: str, packages: tuple[str, ...]) -> None:
    assert packages_of(extra, REQUIRES) == packages


def command(prefix: Path, installer: str = "pip", **origin: object) -> str:
    return choose_command(
        "cli",
        packages=("rich>=13",),
        origin=origin,
        installer=installer,
        prefix=prefix,
        python="/v/bin/python",
    )


def shown(text: str) -> str:
    """Return a command with the quotes of this host's shell."""
    quoted = text.split("'")[1]
    return text if sys.platform != "win32" else text.replace(f"'{quoted}'", join_for_cmd([quoted]))


def test_cmd_gets_double_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    assert command(tmp_path) == '/v/bin/python -m pip install "rich>=13"'


def test_editable(tmp_path: Path) -> None:
    made = command(tmp_path, url=tmp_path.as_uri(), dir_info={"editable": True})
    assert made == shown(f"/v/bin/python -m pip install --editable '{tmp_path}[cli]'")


def test_a_folder_with_a_space(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    made = command(tmp_path, url=(tmp_path / "a b").as_uri(), dir_info={})
    assert made == shown(f"/v/bin/python -m pip install '{tmp_path}{os.sep}a b[cli]'")


def test_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "it.whl"
    wheel.touch()
    made = command(tmp_path, url=wheel.as_uri(), archive_info={})
    assert made == shown(f"/v/bin/python -m pip install '{wheel}[cli]'")
    wheel.unlink()
    made = command(tmp_path, url=wheel.as_uri(), archive_info={})
    assert made == shown("/v/bin/python -m pip install 'rich>=13'")


def test_a_place_that_cannot_be_looked_at(tmp_path: Path) -> None:
    # As the home of root, from which the package was installed for all users.
    made = command(tmp_path, url=(tmp_path / ("x" * 300)).as_uri(), dir_info={})
    assert made == shown("/v/bin/python -m pip install 'rich>=13'")


def test_a_wheelhouse_or_an_index(tmp_path: Path) -> None:
    assert command(tmp_path) == shown("/v/bin/python -m pip install 'rich>=13'")
    assert command(tmp_path, "uv") == shown("uv pip install --python /v/bin/python 'rich>=13'")


def test_a_debian_package(tmp_path: Path) -> None:
    made = command(tmp_path, "dpkg")
    assert made == "build the Debian package with it (make deb EXTRAS=cli,...)"


def test_pipx(tmp_path: Path) -> None:
    (tmp_path / "trio_afrender").mkdir()
    (tmp_path / "trio_afrender" / "pipx_metadata.json").touch()
    assert command(tmp_path / "trio_afrender") == shown("pipx inject trio_afrender 'rich>=13'")


@pytest.mark.parametrize(
    ("receipt", "extras"),
    [
        ('[tool]\nrequirements = [{ name = "trio-afrender", extras = ["web"] }]', "web,cli"),
        ('[tool]\nrequirements = [{ name = "trio-afrender" }, { name = "x" }]', "cli"),
        ("[tool]\nrequirements = 3", "cli"),
        ("no record", "cli"),
    ],
)
def test_uv_tool(receipt: str, extras: str, tmp_path: Path) -> None:
    wheel = tmp_path / "it.whl"
    wheel.touch()
    (tmp_path / "uv-receipt.toml").write_text(receipt)
    made = command(tmp_path, "uv", url=wheel.as_uri(), archive_info={})
    assert made == shown(f"uv tool install --force '{wheel}[{extras}]'")
    wheel.unlink()
    made = command(tmp_path, "uv", url=wheel.as_uri(), archive_info={})
    assert made == shown("uv pip install --python /v/bin/python 'rich>=13'")


def test_this_installation() -> None:
    """Whatever it is, the sentence names the extra and a command."""
    assert re.fullmatch(r'install the extra "cli": \S.* install .+', how_to_install("cli"))


def test_no_message_names_the_package_as_an_index_finds_it() -> None:
    # A path before the bracket, as in ".[demo]" and "./it.whl[cli]", and --no-index are fine.
    wrong = re.compile(r"(?<![/\w])trio[-_]afrender\[")
    for folder in (*OWN_PACKAGES, "docs", "examples"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in {".py", ".md"} or path.name == "extras.py":
                continue
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not wrong.search(line) or "--no-index" in line, f"{path}: {line}"

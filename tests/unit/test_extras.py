"""Messages name an extra by the way the package was installed, and never a name of the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.layers import OWN_PACKAGES, ROOT

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


def test_editable(tmp_path: Path) -> None:
    made = command(tmp_path, url=f"file://{tmp_path}", dir_info={"editable": True})
    assert made == f"/v/bin/python -m pip install --editable '{tmp_path}[cli]'"


def test_a_folder_with_a_space(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    made = command(tmp_path, url=f"file://{tmp_path}/a%20b", dir_info={})
    assert made == f"/v/bin/python -m pip install '{tmp_path}/a b[cli]'"


def test_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "it.whl"
    wheel.touch()
    made = command(tmp_path, url=f"file://{wheel}", archive_info={})
    assert made == f"/v/bin/python -m pip install '{wheel}[cli]'"
    wheel.unlink()
    made = command(tmp_path, url=f"file://{wheel}", archive_info={})
    assert made == "/v/bin/python -m pip install 'rich>=13'"


def test_a_wheelhouse_or_an_index(tmp_path: Path) -> None:
    assert command(tmp_path) == "/v/bin/python -m pip install 'rich>=13'"
    assert command(tmp_path, "uv") == "uv pip install --python /v/bin/python 'rich>=13'"


def test_a_debian_package(tmp_path: Path) -> None:
    made = command(tmp_path, "dpkg")
    assert made == "build the Debian package with it (make deb EXTRAS=cli,...)"


def test_pipx(tmp_path: Path) -> None:
    (tmp_path / "trio_afrender").mkdir()
    (tmp_path / "trio_afrender" / "pipx_metadata.json").touch()
    assert command(tmp_path / "trio_afrender") == "pipx inject trio_afrender 'rich>=13'"


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
    made = command(tmp_path, "uv", url=f"file://{wheel}", archive_info={})
    assert made == f"uv tool install --force '{wheel}[{extras}]'"
    wheel.unlink()
    made = command(tmp_path, "uv", url=f"file://{wheel}", archive_info={})
    assert made == "uv pip install --python /v/bin/python 'rich>=13'"


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

"""What a wheel brings, besides the packages: manual page, completions, units, pages."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from support.layers import ROOT

from trio_afrender.cli.manual_page import make_manual
from trio_afrender.cli.shell_completion import SHELLS, make_completion

PLACES = {
    "bash": "bash-completion/completions/trio_afrender",
    "zsh": "zsh/site-functions/_trio_afrender",
    "fish": "fish/vendor_completions.d/trio_afrender.fish",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # In this environment, because a build in one of its own would need an index.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert [path.suffix for path in folder.iterdir()] == [".whl"], "the hook leaves nothing behind"
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def shared(wheel: zipfile.ZipFile) -> dict[str, str]:
    """The files below share/, and their contents."""
    found = re.compile(r"[^/]+\.data/data/share/(.+)")
    names = [(match[1], name) for name in wheel.namelist() if (match := found.fullmatch(name))]
    return {place: wheel.read(name).decode() for place, name in names}


def test_manual_and_completions_are_those_of_the_program(wheel: zipfile.ZipFile) -> None:
    files = shared(wheel)
    assert files["man/man1/trio_afrender.1"] == make_manual()
    assert PLACES.keys() == SHELLS.keys()
    for shell, place in PLACES.items():
        assert files[place] == make_completion(shell)


def test_pages_units_and_examples(wheel: zipfile.ZipFile) -> None:
    inside = {name.removeprefix("trio_afrender/") for name in shared(wheel)}
    wanted = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    wanted |= {f"examples/systemd/{path.name}" for path in (ROOT / "examples/systemd").iterdir()}
    wanted |= {"README.md", "examples/shell.json", "examples/cornell/submit.py"}
    assert wanted <= inside
    assert not [name for name in inside if "__pycache__" in name or "/out/" in name]


def test_the_metadata(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    fields = Parser().parsestr(wheel.read(name).decode())
    assert fields["Author"] == "trio_afrender contributors"
    assert fields["License-Expression"] == "Apache-2.0"
    assert "trio" in str(fields["Keywords"])
    assert "Typing :: Typed" in fields.get_all("Classifier", [])
    extras = set(fields.get_all("Provides-Extra", []))
    assert {"cli", "thumbnails", "demo", "test", "lint"} <= extras
    heavy = [line for line in fields.get_all("Requires-Dist", []) if line.startswith("mitsuba")]
    assert heavy, "the demo has it"
    assert all("extra == 'demo'" in line for line in heavy), "and nothing else"


def test_the_hook_needs_attrs_alone() -> None:
    """A build has the packages of `build-system.requires`, not those that the program needs."""
    program = (
        "import sys\n"
        "for name in ('trio', 'trio_websocket', 'psutil', 'pynvml', 'cattrs', 'rich'):\n"
        "    sys.modules[name] = None\n"
        "from trio_afrender.cli.manual_page import make_manual\n"
        "from trio_afrender.cli.shell_completion import SHELLS, make_completion\n"
        "make_manual(), [make_completion(shell) for shell in SHELLS]\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_a_command_that_is_installed_says_where_its_pages_are() -> None:
    assert "share/trio_afrender/docs" in make_manual().replace(r"\-", "-")


def test_the_sources_can_be_built_again(tmp_path: Path) -> None:
    """A source archive has the hook that its wheel needs."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"packaging/build_hook.py", "docs/index.md", "examples/shell.json", "LICENSE"} <= inside

"""The commands of docs/install.md, section by section, as a user types them: `make install-test`.

They take a package index and some minutes. What stands below /opt and /etc on the page is in a folder of
the test. The section of the Debian package is run by tests/deb.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from support.docs_commands import ROOT, read_sections

from trio_afrender.version import __version__

pytestmark = pytest.mark.skipif(
    "INSTALL_TEST" not in os.environ, reason="make install-test runs it"
)

SECTIONS = read_sections(ROOT / "docs" / "install.md")
NO_PACKAGE_INDEX = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9", "UV_OFFLINE": "1"}

BIN = (Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin"))
INDEX = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_", "SSL_"))}
"""Where this host's package index is."""


@attrs.frozen
class Clone:
    """A clone of this tree, and a folder with the programs that the page needs."""

    folder: Path
    tools: Path

    def run(self, section: str, home: Path, **more: str) -> None:
        """Run the lines of a section in the clone, for a user with this home folder."""
        for line in SECTIONS[section]:
            self.sh(line, home, **more)

    def sh(self, line: str, home: Path, **more: str) -> str:
        """Run one line; return what it prints to stdout."""
        paths = (home / ".local" / "bin", self.tools, Path(sys.base_prefix) / "bin", *BIN)
        here = re.sub(r"/(opt|etc)/", rf"{home}/\1/", line)
        done = subprocess.run(
            ["/bin/bash", "-euc", here],
            cwd=self.folder,
            env={**INDEX, "HOME": str(home), "PATH": ":".join(map(str, paths)), **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    top = tmp_path_factory.mktemp("install")
    made = Clone(top / "clone", top / "tools")
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, made.folder / name)
    environment = top / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([environment / "bin" / "pip", "install", "--quiet", "pipx", "uv"], check=True)
    made.tools.mkdir()
    for name in ("pipx", "uv"):  # alone: the page's python3 is the host's
        (made.tools / name).symlink_to(environment / "bin" / name)
    made.run("Build the wheel", top)
    assert (made.folder / "dist" / f"trio_afrender-{__version__}-py3-none-any.whl").is_file()
    yield made
    shutil.rmtree(top)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    return tmp_path


def check_program(clone: Clone, home: Path, program: str = "trio_afrender") -> None:
    """Assert that the program and its tables work, without anything of the clone."""
    assert clone.sh(f"cd / && {program} --version", home).split() == ["trio_afrender", __version__]
    ran = clone.sh(f"cd / && {program} run -c 'echo @#@' --frames 1-2 --no-progress 2>&1", home)
    assert "2 done" in ran


def test_pipx(clone: Clone, home: Path) -> None:
    clone.run("pipx", home)
    check_program(clone, home)
    clone.sh("pipx inject trio_afrender rich", home)
    clone.sh(f"pipx install --force 'dist/trio_afrender-{__version__}-py3-none-any.whl[cli]'", home)
    check_program(clone, home)
    clone.sh("pipx uninstall trio_afrender", home)
    assert not (home / ".local" / "bin" / "trio_afrender").is_symlink()


def test_uv_tool(clone: Clone, home: Path) -> None:
    clone.run("uv tool", home)
    check_program(clone, home)
    clone.sh(SECTIONS["uv tool"][0] + " --force", home)
    clone.sh("uv tool uninstall trio_afrender", home)
    assert not (home / ".local" / "bin" / "trio_afrender").is_symlink()


def test_virtual_environment(clone: Clone, home: Path) -> None:
    clone.run("Virtual environment", home)
    check_program(clone, home, "/opt/trio_afrender/bin/trio_afrender")
    unit = (home / "etc" / "systemd" / "system" / "trio_afrender.service").read_text()
    assert f"ExecStart={home}/opt/trio_afrender/bin/trio_afrender agent" in unit
    assert "af://farm" in unit


def test_wheelhouse_installs_without_an_index(clone: Clone, home: Path) -> None:
    build, *install = SECTIONS["Wheelhouse"]
    clone.sh(build, home)
    for line in install:
        clone.sh(line, home, **NO_PACKAGE_INDEX)
    check_program(clone, home, "/opt/trio_afrender/bin/trio_afrender")


def test_completions_and_manual_page(clone: Clone, home: Path) -> None:
    clone.run("uv tool", home)
    clone.run("Completions and the manual page", home)
    for name in (
        ".local/share/bash-completion/completions/trio_afrender",
        ".config/fish/completions/trio_afrender.fish",
        ".zfunc/_trio_afrender",
        ".local/share/man/man1/trio_afrender.1",
    ):
        assert "trio_afrender" in (home / name).read_text()
    clone.sh("source <(trio_afrender completion bash) && complete -p trio_afrender", home)

"""The Debian package in a Debian of its own: installed, used, upgraded, removed, purged.

`make deb-test` runs it. It needs root, debootstrap and a mirror of Debian, and leaves nothing mounted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from support.layers import ROOT

WANTED = "DEB_TEST"
pytestmark = [
    pytest.mark.skipif(WANTED not in os.environ, reason="make deb-test runs it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="no debootstrap here"),
]
CONFIG = "etc/trio_afrender/config.json"
SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> /systemctl.log
"""
"""Stands for systemd, which cannot run here: it notes what it is called with, and says yes."""


@attrs.frozen
class Debian:
    """A Debian in a folder."""

    root: Path
    packages: Path

    def run(self, *words: str, user: str = "") -> str:
        """Run a command in it; return stdout and stderr."""
        as_user = ["runuser", "-u", user, "--"] if user else []
        done = subprocess.run(
            ["/usr/sbin/chroot", str(self.root), *as_user, *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def install(self, version: str) -> str:
        package = next(self.packages.glob(f"trio-afrender_{version}_*.deb"))
        shutil.copy(package, self.root / "tmp" / package.name)
        return self.run("dpkg", "--install", "--force-confold", f"/tmp/{package.name}")  # noqa: S108 - inside

    def systemctl(self) -> list[str]:
        """The calls of systemctl since the last time."""
        log = self.root / "systemctl.log"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for version in ("0.1.0", "0.2.0"):
        subprocess.run(
            [sys.executable, str(ROOT / "packaging/debian/build.py"), "--output", str(folder),
             "--version", version],
            check=True, timeout=300,
        )  # fmt: skip
    return folder


def find_mirror() -> tuple[str, str]:
    """The mirror and the suite of this host."""
    listed = subprocess.run(
        ["/usr/bin/apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(ORIGIN)"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    lines = [line.split() for line in listed.splitlines()]
    mirror, suite, _ = next(
        words for words in lines if words[-1] == "Debian" and "-" not in words[1]
    )
    return os.environ.get("DEB_MIRROR", mirror), suite


@pytest.fixture(scope="module")
def debian(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    root = tmp_path_factory.mktemp("debian") / "root"
    mirror, suite = find_mirror()
    subprocess.run(
        [shutil.which("debootstrap") or "", "--variant=minbase", "--include=python3", suite,
         str(root), mirror],
        check=True, timeout=1200, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(["/usr/bin/mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    try:
        fake = root / "usr/local/bin/systemctl"
        fake.write_text(SYSTEMCTL)
        fake.chmod(0o755)
        (root / "run/systemd/system").mkdir(parents=True)
        yield Debian(root, packages)
    finally:
        subprocess.run(["/usr/bin/umount", str(root / "proc")], check=True)
        shutil.rmtree(root)


def test_lintian_finds_no_error(packages: Path) -> None:
    lintian = shutil.which("lintian")
    if lintian is None:
        pytest.skip("no lintian here")
    package = next(packages.glob("*_0.1.0_*.deb"))
    checked = subprocess.run(
        [lintian, "--allow-root", "--fail-on", "error", str(package)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    assert "mismatched-override" not in checked.stdout
    assert "unused-override" not in checked.stdout


def test_from_installation_to_purge(debian: Debian) -> None:
    """One test, because each step begins where the one before it ended."""
    root = debian.root
    debian.install("0.1.0")
    assert debian.systemctl() == ["--system daemon-reload"], "it is not enabled by itself"
    check_what_is_installed(debian)
    check_that_it_works(debian)

    config = json.loads((root / CONFIG).read_text())
    config["cgru_config"]["af_servername"] = "farm"
    (root / CONFIG).write_text(json.dumps(config))
    debian.install("0.2.0")
    assert debian.systemctl() == [
        "--system daemon-reload",  # of the old postrm
        "--system daemon-reload",
        "--quiet is-active trio_afrender.service",
        "reload trio_afrender.service",
    ], "an upgrade does not stop the agent: the new one takes its tasks over"
    assert "Version: 0.2.0" in debian.run("dpkg", "--status", "trio-afrender")
    shown = debian.run("trio_afrender", "config", "--config", f"/{CONFIG}", "server")
    assert "af://farm:51000" in shown, "the file of the host is kept"
    check_that_it_works(debian)

    debian.run("dpkg", "--remove", "trio-afrender")
    assert debian.systemctl() == [
        "disable --now trio_afrender.service",
        "--system daemon-reload",
    ]
    assert not (root / "opt/trio_afrender").exists()
    assert not (root / "usr/bin/trio_afrender").is_symlink()
    assert (root / CONFIG).exists()
    assert (root / "var/lib/trio_afrender").is_dir()
    debian.run("dpkg", "--purge", "trio-afrender")
    left = [
        path
        for place in ("etc", "opt", "usr", "var/lib")
        for path in (root / place).rglob("*trio*afrender*")
        if "dpkg/info" not in str(path)
    ]
    assert left == []
    assert debian.run("dpkg", "--audit") == ""


def check_what_is_installed(debian: Debian) -> None:
    root = debian.root
    for place in (
        "usr/share/man/man1/trio_afrender.1.gz",
        "usr/share/bash-completion/completions/trio_afrender",
        "usr/share/zsh/vendor-completions/_trio_afrender",
        "usr/share/fish/vendor_completions.d/trio_afrender.fish",
        "opt/trio_afrender/share/trio_afrender/docs/index.md",
    ):
        assert (root / place).is_file(), place
    unit = (root / "lib/systemd/system/trio_afrender.service").read_text()
    assert f"ExecStart=/usr/bin/trio_afrender agent --config /{CONFIG}\n" in unit
    assert "User=trio_afrender\n" in unit
    store = root / "var/lib/trio_afrender"
    user = debian.run("id", "--user", "trio_afrender").strip()
    assert (store.stat().st_mode & 0o7777, str(store.stat().st_uid)) == (0o700, user)
    assert "/tmp" not in (root / "opt/trio_afrender/bin/trio_afrender").read_text()  # noqa: S108 - no path of the build


def check_that_it_works(debian: Debian) -> None:
    assert debian.run("trio_afrender", "--version").startswith("trio_afrender ")
    job = "/opt/trio_afrender/share/trio_afrender/examples/shell.json"
    printed = debian.run("trio_afrender", "run", job, "--no-progress", user="trio_afrender")
    assert "done" in printed
    refused = debian.run("sh", "-c", f"trio_afrender run {job} --sheet /a.png; test $? = 2")
    assert "build the Debian package with it (make deb EXTRAS=thumbnails,...)" in refused

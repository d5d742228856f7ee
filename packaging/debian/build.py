"""Builds a Debian package: an environment of Python below /opt, a unit, a user, a file in /etc.

    python packaging/debian/build.py --output dist [--extras cli,web] [--python /usr/bin/python3]

It needs dpkg-deb and the Python of the hosts that the package is for, which the package depends on.
Nothing is run as root: the owner of all files is set while the package is written.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from trio_afrender.cli.systemd_units import UnitPlan, make_unit
from trio_afrender.version import __version__

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PREFIX = Path("/opt/trio_afrender")
CONFIG = "/etc/trio_afrender/config.json"
SCRIPTS = ("postinst", "prerm", "postrm")
SHARED = {
    "share/bash-completion/completions/trio_afrender": (
        "usr/share/bash-completion/completions/trio_afrender"
    ),
    "share/zsh/site-functions/_trio_afrender": "usr/share/zsh/vendor-completions/_trio_afrender",
    "share/fish/vendor_completions.d/trio_afrender.fish": (
        "usr/share/fish/vendor_completions.d/trio_afrender.fish"
    ),
}
"""Where Debian's shells look for what the wheel has below its environment."""


def run(words: Sequence[str | Path]) -> str:
    """Run a command and return its stdout. Its stderr is shown."""
    done = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def main() -> None:
    """Build the package and print its path."""
    options = parse_options()
    version = options.version or __version__
    architecture = run(["dpkg", "--print-architecture"])
    options.output.mkdir(parents=True, exist_ok=True)
    package = options.output / f"trio-afrender_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="trio_afrender_deb_") as folder:
        staging = Path(folder, "package")
        wheel = options.wheel or build_wheel(Path(folder))
        make_environment(staging, options.python, f"{wheel}[{options.extras}]", options.find_links)
        add_files(staging, version, options.maintainer)
        add_control(staging, version, architecture, options)
        set_modes(staging)
        run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", staging, package])
    sys.stdout.write(f"{package}\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where the package goes")
    add("--extras", default="cli,web", metavar="NAMES", help="extras that are built in")
    text = "the interpreter of the hosts, by its path there (default: /usr/bin/python3)"
    add("--python", type=Path, default=Path("/usr/bin/python3"), metavar="FILE", help=text)
    add("--version", default="", help="the version of the package (default: that of the program)")
    add("--wheel", type=lambda text: Path(text).resolve(), help="a wheel of the program")
    add("--find-links", metavar="DIR", help="a wheelhouse; no index is used then")
    text = "default: DEBFULLNAME and DEBEMAIL of the environment"
    name = os.environ.get("DEBFULLNAME", "trio_afrender contributors")
    mail = os.environ.get("DEBEMAIL", "trio-afrender@example.invalid")
    add("--maintainer", default=f"{name} <{mail}>", help=text)
    return parser.parse_args()


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this source tree."""
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, ROOT])
    return next(folder.glob("*.whl"))


def make_environment(staging: Path, python: Path, requirement: str, find_links: str | None) -> None:
    """Install the wheel into an environment that works below `PREFIX` alone."""
    environment = staging / PREFIX.relative_to("/")
    python = python.resolve()
    run([python, "-m", "venv", "--without-pip", environment])
    offline = ["--no-index", "--find-links", find_links] if find_links else []
    run(
        [
            *(sys.executable, "-m", "pip", "--python", environment / "bin" / "python"),
            *("install", "-q", "--no-compile", "--no-warn-script-location", *offline, requirement),
        ]
    )
    for path in (environment / "bin").iterdir():
        if path.is_symlink():
            continue
        if path.name != "trio_afrender":
            path.unlink()  # Programs of other packages, and `activate`, which names this folder.
        else:
            first, _, rest = path.read_bytes().partition(b"\n")
            if first.startswith(b"#!"):
                first = f"#!{PREFIX}/bin/python".encode()
            path.write_bytes(first + b"\n" + rest)
    version = ".".join(map(str, python_version(python)))
    (environment / "pyvenv.cfg").write_text(
        f"home = {python.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    for record in environment.glob("lib/*/site-packages/*.dist-info"):
        # They say where the wheel lay while the package was built.
        (record / "direct_url.json").unlink(missing_ok=True)
        if record.name.startswith("trio_afrender"):
            (record / "INSTALLER").write_text("dpkg\n")
    for folder in environment.rglob("__pycache__"):
        shutil.rmtree(folder)


def python_version(python: Path) -> tuple[int, ...]:
    """Return the three numbers of the version of an interpreter."""
    text = run([python, "-c", "import sys; print(*sys.version_info[:3])"])
    return tuple(map(int, text.split()))


def add_files(staging: Path, version: str, maintainer: str) -> None:
    """Add what is outside of the environment."""
    environment = staging / PREFIX.relative_to("/")
    for inside, place in SHARED.items():
        move(environment / inside, staging / place)
    write_gzip(
        staging / "usr/share/man/man1/trio_afrender.1.gz",
        (environment / "share/man/man1/trio_afrender.1").read_bytes(),
    )
    for folder in ("man", "bash-completion", "zsh", "fish"):
        shutil.rmtree(environment / "share" / folder)
    link = staging / "usr/bin/trio_afrender"
    link.parent.mkdir(parents=True)
    link.symlink_to(PREFIX / "bin" / "trio_afrender")
    plan = UnitPlan(
        kind="agent",
        program=("/usr/bin/trio_afrender",),
        arguments=("--config", CONFIG),
        run_as="trio_afrender",
    )
    unit = make_unit(plan)
    put(staging / "lib/systemd/system/trio_afrender.service", unit[unit.index("[Unit]") :])
    put(staging / CONFIG.lstrip("/"), (HERE / "config.json").read_text())
    docs = staging / "usr/share/doc/trio-afrender"
    for name in ("copyright", "README.Debian"):
        put(docs / name, (HERE / name).read_text())
    put(
        staging / "usr/share/lintian/overrides/trio-afrender",
        (HERE / "lintian-overrides").read_text(),
    )
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    changelog = (
        f"trio-afrender ({version}) unstable; urgency=medium\n\n"
        "  * See the CHANGELOG of the program.\n\n"
        f" -- {maintainer}  {format_datetime(now)}\n"
    )
    write_gzip(docs / "changelog.gz", changelog.encode())


def move(old: Path, new: Path) -> None:
    """Move a file to a folder that may not exist."""
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


def put(path: Path, text: str) -> None:
    """Write a file in a folder that may not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_gzip(path: Path, data: bytes) -> None:
    """Write compressed data, the same for the same data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def add_control(
    staging: Path, version: str, architecture: str, options: argparse.Namespace
) -> None:
    """Add the control files: dependencies, scripts, checksums."""
    control = staging / "DEBIAN"
    control.mkdir()
    major, minor, _ = python_version(options.python.resolve())
    fields = {
        "version": version,
        "architecture": architecture,
        "maintainer": options.maintainer,
        "size": sum(path.stat().st_size for path in files_of(staging)) // 1024,
        "python": f"python{major}.{minor}",
    }
    template = (HERE / "control.in").read_text()
    put(control / "control", re.sub(r"\{(\w+)\}", lambda name: str(fields[name[1]]), template))
    put(control / "conffiles", f"{CONFIG}\n")
    for name in SCRIPTS:
        put(control / name, (HERE / name).read_text())
    sums = (
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(staging)}\n"
        for path in files_of(staging)
        if "DEBIAN" not in path.parts
    )
    put(control / "md5sums", "".join(sums))


def files_of(staging: Path) -> Iterable[Path]:
    """Yield the plain files of the package in a stable order."""
    return sorted(path for path in staging.rglob("*") if path.is_file() and not path.is_symlink())


def set_modes(staging: Path) -> None:
    """Give all files the modes that they have in packages, whatever the umask is here."""
    for path in everything_below(staging):
        if path.is_symlink():
            continue
        inside = path.relative_to(staging)
        script = inside.parent == Path("DEBIAN") and path.name in SCRIPTS
        program = inside.is_relative_to(PREFIX.relative_to("/") / "bin")
        path.chmod(0o755 if path.is_dir() or script or program else 0o644)


def everything_below(folder: Path) -> Iterator[Path]:
    """Yield a folder and all that is in it."""
    yield folder
    yield from folder.rglob("*")


if __name__ == "__main__":
    main()

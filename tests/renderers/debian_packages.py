"""Programs of Debian packages in a folder: nothing is installed on the system, no root is needed.

`apt-get` names the packages that the system lacks and downloads them, `dpkg-deb` unpacks them. Their
maintainer scripts do not run, so the programs get the paths of libraries and data by variables.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

__all__ = ("DebianUnavailableError", "unpack_packages", "write_launcher")

_PACKAGES = ("povray", "povray-includes", "blender", "ffmpeg")
_TOOLS = ("apt-get", "dpkg-deb")
_PLANNED = re.compile(r"(?m)^Inst (\S+)")


class DebianUnavailableError(Exception):
    """Packages of Debian cannot be unpacked here; the text has the reason."""


def unpack_packages(folder: Path) -> None:
    """Unpack what the system lacks of the programs and of what they need, once.

    Raises DebianUnavailableError where that is not possible.
    """
    done = folder / "unpacked"
    if done.exists():
        return
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise DebianUnavailableError(f"there is no {tool}")
    plan = _run("apt-get", "--simulate", "--no-install-recommends", "install", *_PACKAGES)
    names = _PLANNED.findall(plan)
    shutil.rmtree(folder, ignore_errors=True)
    archives = folder / "archives"
    archives.mkdir(parents=True)
    if names:
        _run("apt-get", "download", *names, folder=archives)
    for archive in sorted(archives.glob("*.deb")):
        _run("dpkg-deb", "--extract", str(archive), str(folder / "root"))
    shutil.rmtree(archives)
    done.touch()


def write_launcher(folder: Path, name: str) -> Path:
    """Write a script that starts an unpacked program, and return it.

    A program that the system has itself needs none: the result is that program.
    """
    root = folder / "root"
    program = root / "usr" / "bin" / name
    if not program.exists():
        installed = shutil.which(name)
        if installed is None:
            raise DebianUnavailableError(f"the packages of Debian have no {name}")
        return Path(installed)
    libraries = next((root / "usr" / "lib").glob("*-linux-*"))
    # Some libraries have alternatives in folders of their own, which maintainer scripts would link.
    places = [
        root / "usr" / "lib",
        libraries,
        *(libraries / each for each in ("blas", "lapack", "pulseaudio")),
        root / "lib" / libraries.name,
    ]
    data = root / "usr" / "share" / "blender"
    variables = {
        "LD_LIBRARY_PATH": ":".join(map(str, places)),
        "BLENDER_SYSTEM_SCRIPTS": str(data / "scripts"),
        "BLENDER_SYSTEM_DATAFILES": str(data / "datafiles"),
    }
    lines = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
    launcher = folder / name
    launcher.write_text(
        "\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(str(program))} "$@"', ""])
    )
    launcher.chmod(0o755)
    return launcher


def _run(*command: str, folder: Path | None = None) -> str:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines()
        raise DebianUnavailableError(
            f"{command[0]} failed: {lines[-1] if lines else error}"
        ) from None
    return ended.stdout

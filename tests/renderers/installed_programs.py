"""The programs that render, in a folder of their own: virtual environments and Debian's packages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs

from renderers.debian_packages import DebianUnavailableError, unpack_packages, write_launcher

__all__ = ("LeftOut", "Program", "install_programs")

_BLENDER_COMMAND = Path(__file__).with_name("blender_command.py")
_BPY_PYTHON = (3, 11)
"""The only version of Python for which the wheels of `bpy` 4.5 and 5.0 are made."""
_WARNING = re.compile(r"^WARNING")


@attrs.frozen(kw_only=True)
class Program:
    """A program that can be started."""

    key: str
    title: str
    version: str
    """As the program itself prints it."""
    command: str
    """The shell command that starts it."""


@attrs.frozen(kw_only=True)
class LeftOut:
    """A program that is not here, and the reason."""

    key: str
    title: str
    reason: str


def install_programs(folder: Path, only: str) -> tuple[list[Program], list[LeftOut]]:
    """Install the programs whose keys contain `only`; those that are installed stay as they are."""
    programs, left_out = list[Program](), list[LeftOut]()
    for key, (title, install) in _PROGRAMS.items():
        if only not in key:
            continue
        try:
            command, version = install(folder)
        except (DebianUnavailableError, _InstallError) as error:
            left_out.append(LeftOut(key=key, title=title, reason=str(error)))
        else:
            programs.append(Program(key=key, title=title, version=version, command=command))
    return programs, left_out


class _InstallError(Exception):
    """A program cannot be installed; the text has the reason."""


def _install_mitsuba(folder: Path) -> tuple[str, str]:
    python = _make_environment(folder / "mitsuba", sys.executable, "mitsuba>=3.5")
    command = shlex.quote(str(python.with_name("mitsuba")))
    return command, _read_version(f"{command} --help", r"Mitsuba version (\S+)")


def _install_imageio_ffmpeg(folder: Path) -> tuple[str, str]:
    python = _make_environment(folder / "imageio-ffmpeg", sys.executable, "imageio-ffmpeg>=0.5")
    code = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
    command = shlex.quote(_run(str(python), "-c", code).strip())
    return command, _read_version(f"{command} -version", r"ffmpeg version (\S+)")


def _install_bpy(series: str) -> Callable[[Path], tuple[str, str]]:
    def install(folder: Path) -> tuple[str, str]:
        made_for = ".".join(map(str, _BPY_PYTHON))
        here = sys.executable if sys.version_info[:2] == _BPY_PYTHON else ""
        python = here or shutil.which(f"python{made_for}")
        if not python:
            raise _InstallError(f"the wheel of bpy needs Python {made_for}, which is not here")
        made = _make_environment(folder / f"bpy-{series}", python, f"bpy=={series}.*")
        command = shlex.join([str(made), str(_BLENDER_COMMAND)])
        return command, _read_version(f"{command} -b", r"Blender (\S+)")

    return install


def _unpack(name: str, pattern: str, option: str) -> Callable[[Path], tuple[str, str]]:
    def install(folder: Path) -> tuple[str, str]:
        unpack_packages(folder / "debian")
        command = shlex.quote(str(write_launcher(folder / "debian", name)))
        return command, _read_version(f"{command} {option}", pattern)

    return install


def _make_environment(folder: Path, python: str, requirement: str) -> Path:
    """Return the Python of a virtual environment with one package, made once."""
    made, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(python, "-m", "venv", str(folder))
        pip = (str(made), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(*pip, "--only-binary", ":all:", requirement)
        done.touch()
    return made


def _read_version(command: str, pattern: str) -> str:
    ended = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    found = re.search(pattern, ended.stdout + ended.stderr)
    if found is None:
        raise _InstallError(f"it does not start: {(ended.stderr or ended.stdout).strip()[-300:]}")
    return found.group(1)


def _run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line and not _WARNING.match(line)]
        reason = lines[-1] if lines else f"exit code {ended.returncode}"
        raise _InstallError(f"{Path(command[0]).name} failed: {reason}")
    return ended.stdout


_PROGRAMS: dict[str, tuple[str, Callable[[Path], tuple[str, str]]]] = {
    "mitsuba": ("Mitsuba", _install_mitsuba),
    "ffmpeg-wheel": ("ffmpeg of imageio-ffmpeg", _install_imageio_ffmpeg),
    "ffmpeg-debian": ("ffmpeg of Debian", _unpack("ffmpeg", r"ffmpeg version (\S+)", "-version")),
    "povray": ("POV-Ray of Debian", _unpack("povray", r"POV-Ray (\d\S+)", "--version")),
    "blender-3.4": ("Blender of Debian", _unpack("blender", r"Blender (\S+)", "--version")),
    "blender-4.5": ("Blender 4.5 LTS (bpy)", _install_bpy("4.5")),
    "blender-5.0": ("Blender 5.0 (bpy)", _install_bpy("5.0")),
}

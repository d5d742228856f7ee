"""A Windows CPython under Wine, in a folder of its own, made of Debian's packages and of PyPI's.

PyPI's package ``panda3d`` contains the DLLs of the official CPython for Windows. The modules in Python
are those of a CPython 3.11 of this machine, and ``python.exe`` is one call of the DLL, compiled here.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from zipfile import ZipFile

import attrs

__all__ = ("WineError", "WinePython", "install_packages", "limited", "make_wine_python")

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "wine64",
    "wine",
    "xvfb",
    "gcc-mingw-w64-x86-64",
    "binutils-mingw-w64-x86-64",
)
"""Packages of Debian."""
PROGRAMS = ("wine", "wineserver", "Xvfb", "x86_64-w64-mingw32-gcc")
LOADER = Path("/usr/lib/wine/wine64")
CPYTHON = "panda3d==1.10.14"
"""Contains CPython 3.11.7; the next release has 3.11.9, which does not start with another one's Lib."""
REQUIREMENTS = (
    # Wine 8 lacks bcryptprimitives.dll, which newer ones import.
    "cryptography==42.0.8",
    "rpds-py==0.18.0",
    # Wine's ucrtbase lacks crealf, which a newer one calls.
    "numpy==2.0.2",
    # What trio and pytest need on Windows alone: pip evaluates their conditions for this machine.
    "cffi",
    "colorama",
    "pip",
)
PAUSE = 1.0
"""Seconds without output after which it is looked for whether a program has ended."""
ENDING = 120
"""Seconds for one call of Wine's own programs; on a loaded machine some need 20."""
DOWNLOADING = 180
"""Seconds for what apt-get downloads."""
LEFT_OUT = ("pytest-xdist", "playwright", "axe-playwright", "imageio-ffmpeg")
"""Packages whose tests do not run there."""
COPIED = ("trio_afrender", "services", "parsers", "resmeters", "tests", "examples", "docs")
COPIED_FILES = (
    "pyproject.toml",
    "Makefile",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
PROGRAM = """
#include <wchar.h>
int Py_Main(int, wchar_t **);
int wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }
"""
# Without it Windows tells a program that it runs on Windows 8, and trio refuses that.
MANIFEST = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
<compatibility xmlns="urn:schemas-microsoft-com:compatibility.v1"><application>
<supportedOS Id="{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}"/>
</application></compatibility></assembly>
"""


class WineError(Exception):
    """Wine's Python cannot be made or used here; the text has the reason and what to do."""


@contextmanager
def limited(seconds: int, error: Exception) -> Iterator[None]:
    """Raise `error` in the body after some seconds, whatever it waits for. For the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise error

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


@attrs.frozen
class WinePython:
    """Wine's Python in `folder`, which is a Wine prefix."""

    folder: Path

    @property
    def drive(self) -> Path:
        return self.folder / "drive_c"

    @property
    def source(self) -> Path:
        """The copy of this project, ``C:\\src``."""
        return self.drive / "src"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {
            **kept,
            "WINEPREFIX": str(self.folder),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # no offers to install .NET and a browser
        }

    def run(self, *arguments: str) -> int:
        """Run Wine's Python in its copy of the source; print what it prints, and return its exit code."""
        with self.start(*arguments) as process:
            assert process.stdout is not None
            while True:
                # Not to the end of the pipe: Wine's loader of a process that was killed while it was
                # being made may wait for ever, and has the pipe of the tests.
                # Looked at first: what an ended program has printed is in the pipe.
                running = process.poll() is None
                if not select.select([process.stdout], [], [], PAUSE)[0]:
                    if running:
                        continue
                    sys.stdout.buffer.write(b"note: a loader of Wine stayed, with this output\n")
                    sys.stdout.buffer.flush()
                    break
                # Not by lines: pytest writes a dot for each test.
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                sys.stdout.buffer.write(data.replace(b"\r", b""))
                sys.stdout.buffer.flush()
        return process.returncode

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Wine's Python. `opened` must be open."""
        return self.start_program(r"C:\py\python.exe", *arguments)

    def start_program(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of Windows in the copy of the source. `opened` must be open."""
        # A pipe, because Wine's Python cannot print to a file of Linux.
        return subprocess.Popen(
            [str(LOADER), program, *arguments],
            cwd=self.source,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep a display, Wine's server and a desktop for all programs; end all of them at the end."""
        reading, writing = os.pipe()
        display = subprocess.Popen(
            ["/usr/bin/Xvfb", "-displayfd", str(writing), "-screen", "0", "1024x768x24"],
            pass_fds=(writing,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"
        if os.environ["DISPLAY"] == ":":
            raise WineError(f"Xvfb opened no display: exit code {display.wait(ENDING)}")
        try:
            # First the server and its services: they would keep the pipe of a program that starts them.
            self._call("/usr/bin/wineserver", "-p")
            self._call(str(LOADER), "cmd", "/c", "exit")
            # The first window starts a desktop as a child of its program; this one is no task's.
            desktop = self._begin(str(LOADER), "notepad")
            try:
                yield
            finally:
                self._call("/usr/bin/wineserver", "-k")
                desktop.kill()
                desktop.wait()
                self._end_loaders()
        finally:
            display.kill()
            display.wait()

    def _end_loaders(self) -> None:
        """End what Wine's server does not know of: loaders whose process was killed while it was made."""
        marker = f"WINEPREFIX={self.environment['WINEPREFIX']}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile, or is another user's
                if marker in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        nothing = subprocess.DEVNULL
        return subprocess.Popen(
            words, env=self.environment, stdin=nothing, stdout=nothing, stderr=nothing
        )

    def _call(self, *words: str) -> None:
        process = self._begin(*words)
        try:
            process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise WineError(f"{' '.join(words)} took more than {ENDING} s") from None

    def copy_source(self) -> None:
        """Make ``C:\\src`` equal to the source tree that this file is part of."""
        ignored = shutil.ignore_patterns("__pycache__", "out")
        shutil.rmtree(self.source, ignore_errors=True)
        self.source.mkdir(parents=True)
        for name in COPIED:
            shutil.copytree(ROOT / name, self.source / name, ignore=ignored)
        for name in COPIED_FILES:
            shutil.copy2(ROOT / name, self.source)
        self._make_share()

    def _make_share(self) -> None:
        """Have ``\\\\server\\share`` lead to a folder of drive C: Wine looks for shares in the folder "unc"."""
        (self.drive / "share").mkdir(exist_ok=True)
        share = self.folder / "dosdevices" / "unc" / "server" / "share"
        share.parent.mkdir(parents=True, exist_ok=True)
        if not share.is_symlink():
            share.symlink_to(self.drive / "share")


def make_wine_python(folder: Path) -> WinePython:
    """Make Wine's Python in `folder`, once, with the packages of Debian; about a minute. Raises `WineError`."""
    python = WinePython(folder)
    done, made_of = folder / "complete", "\n".join([CPYTHON, *_list_requirements()])
    if done.exists() and done.read_text() == made_of:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        _make_prefix(python)
        home = python.drive / "py"
        _unpack_cpython(work, home)
        _compile_program(work, home)
        _install_wheels(home / "Lib" / "site-packages")
    # No drive may lead to files of Linux: a test would pass because /proc or /etc is there.
    for name in ("z:", "d:", "e:"):
        (folder / "dosdevices" / name).unlink(missing_ok=True)
    python.copy_source()
    check = "import trio, psutil, OpenImageIO; trio.run(trio.sleep, 0.01)"
    with python.opened():
        started = python.run("-c", check) == 0
        python.run("-m", "compileall", "-q", r"C:\py\Lib")
    if not started:
        raise WineError(
            f"Wine's Python in {folder} does not start; remove the folder and try again"
        )
    done.write_text(made_of)
    return python


def install_packages() -> None:
    """Install the packages of Debian that are missing, as root. Raises `WineError`."""
    _find_library()
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing and LOADER.exists():
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise WineError(f"there is no {' and no '.join(missing) or LOADER}; as root: {command}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # The download has the limit: dpkg would have to be repaired if it was ended.
    with limited(DOWNLOADING, WineError(f"a download took more than {DOWNLOADING} s: {command}")):
        for step in ("apt-get update", f"{command} --download-only"):
            _call(*step.split(), environment=environment)
    with limited(2 * DOWNLOADING, WineError(f"took more than {2 * DOWNLOADING} s: {command}")):
        _call(*command.split(), "-o", "DPkg::Lock::Timeout=60", environment=environment)


def _make_prefix(python: WinePython) -> None:
    # Parts of it fail that nothing here needs, so its exit code says nothing.
    with python.opened():
        python._call(str(LOADER), "wineboot", "-i")
        python._call(str(LOADER), "winecfg", "-v", "win10")
    if not python.drive.is_dir():
        raise WineError(f"wineboot made no prefix in {python.folder}")


def _find_library() -> Path:
    """Return the folder of the modules of a CPython 3.11."""
    for name in (sys.executable, "python3.11", "python3"):
        code = "import sys, sysconfig; sys.version_info[:2] == (3, 11) or sys.exit(1); print(sysconfig.get_path('stdlib'))"
        with_path = shutil.which(name)
        if with_path is None:
            continue
        found = subprocess.run([with_path, "-c", code], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return Path(found.stdout.strip())
    raise WineError("there is no Python 3.11, whose modules Wine's Python needs")


def _unpack_cpython(work: Path, home: Path) -> None:
    """Put the DLLs and the modules of CPython into `home`."""
    _pip("download", "--no-deps", "--dest", str(work), CPYTHON)
    libraries = home / "DLLs"
    libraries.mkdir(parents=True)
    with ZipFile(next(work.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            base = name.rpartition("/")[2]
            if not name.startswith("deploy_libs/"):
                continue
            if base in {"python311.dll", "VCRUNTIME140.dll"}:
                (home / base).write_bytes(wheel.read(name))
            elif base.endswith(".pyd") or base.startswith(
                ("libcrypto", "libssl", "libffi", "sqlite3")
            ):
                (libraries / base).write_bytes(wheel.read(name))
    left_out = ("__pycache__", "site-packages", "dist-packages", "lib-dynload", "config-3*", "test")
    shutil.copytree(
        _find_library(),
        home / "Lib",
        ignore=shutil.ignore_patterns(*left_out, "idlelib", "tests", "sitecustomize.py"),
    )


def _compile_program(work: Path, home: Path) -> None:
    """Make ``python.exe``, and ``python3.dll``, which forwards the stable ABI to ``python311.dll``."""
    tool = "x86_64-w64-mingw32"
    (work / "python.c").write_text(PROGRAM)
    (work / "python.manifest").write_text(MANIFEST)
    (work / "python.rc").write_text(f'1 24 "{work}/python.manifest"\n')
    _call(f"{tool}-windres", f"{work}/python.rc", f"{work}/resources.o")
    flags = ("-O2", "-s", "-municode", "-o", f"{home}/python.exe")
    dll = f"{home}/python311.dll"
    _call(f"{tool}-gcc", *flags, f"{work}/python.c", f"{work}/resources.o", dll)
    names = sorted(set(_read_exports(_call(f"{tool}-objdump", "-p", dll))))
    forwards = "\n".join(f"{name}=python311.{name}" for name in names)
    (work / "python3.def").write_text(f'LIBRARY "python3.dll"\nEXPORTS\n{forwards}\n')
    (work / "empty.c").write_text("\n")
    output = ("-o", f"{home}/python3.dll")
    linked = (f"{work}/empty.c", f"{work}/python3.def")
    _call(f"{tool}-gcc", "-shared", "-nostdlib", "-Wl,--entry=0", *output, *linked)


def _read_exports(dump: str) -> Iterator[str]:
    """Yield the names of Python's functions in the table of exports of a DLL."""
    _, _, table = dump.partition("Name Pointer] Table")
    for line in table.splitlines():
        name = line.split()[-1] if line.strip() else ""
        if name.startswith(("Py", "_Py")):
            yield name


def _install_wheels(packages: Path) -> None:
    _pip("install", "--no-compile", "--target", str(packages), *_list_requirements())
    # Programs of Linux.
    shutil.rmtree(packages / "bin", ignore_errors=True)
    shutil.copy2(Path(__file__).with_name("no_bsp_handle.py"), packages / "sitecustomize.py")
    (packages / "source.pth").write_text("C:\\src\nC:\\src\\tests\n")


def _list_requirements() -> list[str]:
    """Return what the project and its tests require, with what Wine needs in place of newer versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting, found = [*project["dependencies"], *extras["test"]], list(REQUIREMENTS)
    while waiting:
        wanted = waiting.pop()
        if own := re.fullmatch(r"trio_afrender\[([\w,-]+)\]", wanted):
            waiting += [each for extra in own[1].split(",") for each in extras[extra]]
        elif not wanted.startswith(LEFT_OUT):
            found.append(wanted)
    return found


def _pip(command: str, *arguments: str) -> None:
    target = ("--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp")
    quiet = ("--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    _call(sys.executable, "-m", "pip", command, *quiet, *target, *arguments)


def _call(*words: str, environment: dict[str, str] | None = None) -> str:
    """Run a program and return its output. Raises `WineError` with its last line."""
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        raise WineError(f"{words[0]} failed: {lines[-1] if lines else ended.returncode}")
    return ended.stdout

"""Checks of a Windows host: session, sleep, long paths, virus scanner, the store. They block.

`read_windows_facts` reads, `compare_windows` judges: so the judgement is tested everywhere.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import psutil

from trio_afrender.cli.doctor.files import compare_space
from trio_afrender.cli.doctor.finding import ERROR, HAND, LOOK, OK, ROOT, WARNING, Finding
from trio_afrender.config import Config
from trio_afrender.errors import StoreError
from trio_afrender.private_folder import is_locked, make_private
from trio_afrender.safe_files import read_regular, write_whole

__all__ = (
    "WindowsFacts",
    "check_windows",
    "check_windows_store",
    "compare_windows",
    "is_network_path",
    "parse_sleep",
    "read_windows_facts",
)

FILE_SYSTEM = r"SYSTEM\CurrentControlSet\Control\FileSystem"
EXCLUSIONS = r"SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths"
COMMAND_TIMEOUT = 5
NETWORK_DRIVE = 4
LONG_PATHS_COMMAND = rf"reg add HKLM\{FILE_SYSTEM} /v LongPathsEnabled /t REG_DWORD /d 1 /f"


@attrs.frozen(kw_only=True)
class WindowsFacts:
    """What was read of the host. None: it cannot be read here, which counts as good."""

    session: int | None = None
    """The session of this process; 0 is that of services, which has no desktop."""
    sleeps_after: int | None = None
    """Seconds without a user after which the host sleeps on mains; 0: never."""
    long_paths: bool | None = None
    """Whether programs may use paths of more than 260 characters."""
    excluded: tuple[str, ...] | None = None
    """Folders that Defender does not scan."""
    titles: tuple[str, ...] = ()
    """The setting ``af_render_windowsmustdie``."""
    store: str = ""


def check_windows(config: Config) -> Iterator[Finding]:
    """Check what goes wrong on Windows hosts."""
    yield Finding("python", OK, f"Python {platform.python_version()}, {platform.platform()}")
    yield from compare_windows(read_windows_facts(config))


def compare_windows(facts: WindowsFacts) -> Iterator[Finding]:
    """Judge what was read."""
    if facts.session == 0:
        text = (
            "this is session 0, that of services: it has no desktop, so programs that need one fail"
        )
        if facts.titles:
            text += ", and windows of users (af_render_windowsmustdie) cannot be closed"
        yield Finding("session", WARNING, text, r"examples\windows\at-logon.ps1", LOOK)
    elif facts.session is not None:
        yield Finding("session", OK, f"session {facts.session}, with a desktop")
    if facts.sleeps_after:
        text = f"this host sleeps after {facts.sleeps_after // 60} minutes without a user"
        yield Finding("power", WARNING, text, "powercfg /change standby-timeout-ac 0", HAND)
    elif facts.sleeps_after == 0:
        yield Finding("power", OK, "this host does not sleep by itself")
    if facts.long_paths is False:
        text = "paths of more than 260 characters are off: programs of tasks cannot open such files"
        yield Finding("paths", WARNING, text, LONG_PATHS_COMMAND, ROOT)
    elif facts.long_paths:
        yield Finding("paths", OK, "long paths are on")
    if facts.excluded is not None:
        yield _compare_exclusions(facts.store, facts.excluded)


def _compare_exclusions(store: str, excluded: tuple[str, ...]) -> Finding:
    place = store.replace("/", "\\").lower().rstrip("\\")
    above = (each.lower().rstrip("\\") for each in excluded)
    if any(place == each or place.startswith(f"{each}\\") for each in above):
        return Finding("scanner", OK, "Defender does not scan the store")
    text = f"Defender scans each file in the store {store}, which delays tasks"
    command = f'powershell Add-MpPreference -ExclusionPath "{store}"'
    return Finding("scanner", WARNING, text, command, ROOT)


def read_windows_facts(config: Config) -> WindowsFacts:
    """Read the facts of this host. Raises nothing for what cannot be read."""
    return WindowsFacts(
        session=_read(_read_session),
        sleeps_after=_read(_read_sleep),
        long_paths=_read(lambda: bool(_registry_value(FILE_SYSTEM, "LongPathsEnabled"))),
        excluded=_read(_read_exclusions),
        titles=config.windows_must_die,
        store=str(config.store),
    )


def _read(read: Callable[[], Any]) -> Any:  # noqa: ANN401 - one of several types
    with suppress(OSError, ImportError, LookupError, ValueError, subprocess.SubprocessError):
        return read()
    return None


def _read_session() -> int:
    kernel, session = vars(ctypes)["WinDLL"]("kernel32"), ctypes.c_uint32()
    if not kernel.ProcessIdToSessionId(os.getpid(), ctypes.byref(session)):
        raise OSError
    return session.value


def _read_sleep() -> int:
    words = ["powercfg", "/query", "SCHEME_CURRENT", "SUB_SLEEP", "STANDBYIDLE"]
    printed = subprocess.run(
        words, capture_output=True, timeout=COMMAND_TIMEOUT, check=True
    ).stdout.decode("ascii", "replace")
    return parse_sleep(printed)


def parse_sleep(printed: str) -> int:
    """Return the seconds on mains of what `powercfg` prints. Raises `IndexError` without any."""
    # The last two numbers are the settings on mains and on battery. The words are translated.
    return int(re.findall(r"0x([0-9a-fA-F]{8})\b", printed)[-2], 16)


def _registry_value(key: str, name: str) -> object:
    registry = importlib.import_module("winreg")
    with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, key) as opened:
        return registry.QueryValueEx(opened, name)[0]


def _read_exclusions() -> tuple[str, ...]:
    # Only administrators may read them.
    registry = importlib.import_module("winreg")
    with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, EXCLUSIONS) as opened:
        count = registry.QueryInfoKey(opened)[1]
        return tuple(registry.EnumValue(opened, index)[0] for index in range(count))


def check_windows_store(config: Config) -> Iterator[Finding]:
    """Make the agent's state folder, write a file there and remove it, look for room and the drive."""
    path = config.store / "trio_afrender" / config.name
    other = "trio_afrender agent --store DIR"
    try:
        make_private(path, instead="another --store")
        write_whole(path / "doctor", b"x" * 4096)
        (path / "doctor").unlink()
    except StoreError as error:
        yield Finding("store", ERROR, str(error), other, LOOK)
        return
    except OSError as error:
        text = f"a file in {path} cannot be written: {error.strerror or error}"
        yield Finding("store", ERROR, text, other, LOOK)
        return
    use = ""
    if is_locked(path):
        with suppress(OSError):
            pid = read_regular(path / "lock", 100).decode("ascii", "replace").strip()
            use = f", in use by the agent with pid {pid}"
    yield Finding("store", OK, f"{path} can be written{use}")
    if is_network_path(path.absolute().drive, _read(lambda: _drive_type(path))):
        text = f"the store {path} is on a network drive: tasks wait for it, and locks may not hold"
        yield Finding("store", WARNING, text, other, LOOK)
    yield from compare_space(path, psutil.disk_usage(str(path)).free, None)


def is_network_path(drive: str, kind: int | None) -> bool:
    """Whether a folder is on another host; `kind` is the number of the drive's kind, if it could be read."""
    return kind == NETWORK_DRIVE or drive.startswith(("\\\\", "//"))


def _drive_type(path: Path) -> int:
    kind: int = vars(ctypes)["WinDLL"]("kernel32").GetDriveTypeW(f"{path.absolute().anchor}")
    return kind

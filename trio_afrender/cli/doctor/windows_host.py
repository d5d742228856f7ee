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
from collections.abc import Iterator
from contextlib import suppress

import attrs
import psutil

from trio_afrender.cli.doctor.files import compare_space, describe_use, find_wrong_name
from trio_afrender.cli.doctor.finding import ERROR, HAND, LOOK, OK, ROOT, WARNING, Finding
from trio_afrender.config import Config
from trio_afrender.errors import StoreError
from trio_afrender.private_folder import make_private
from trio_afrender.safe_files import write_whole

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
_UNREADABLE = (OSError, ImportError, LookupError, ValueError, subprocess.SubprocessError)
"""What reading a fact raises where it cannot be read: on other systems, without the right to it."""
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
    if facts.excluded is None:
        return
    place = facts.store.replace("/", "\\").lower().rstrip("\\")
    above = (each.lower().rstrip("\\") for each in facts.excluded)
    if any(place == each or place.startswith(f"{each}\\") for each in above):
        yield Finding("scanner", OK, "Defender does not scan the store")
    else:
        text = f"Defender scans each file in the store {facts.store}, which delays tasks"
        command = f'powershell Add-MpPreference -ExclusionPath "{facts.store}"'
        yield Finding("scanner", WARNING, text, command, ROOT)


def read_windows_facts(config: Config) -> WindowsFacts:
    """Read the facts of this host. Raises nothing for what cannot be read."""
    session = sleeps_after = long_paths = excluded = None
    with suppress(*_UNREADABLE):
        number = ctypes.c_uint32()
        if vars(ctypes)["WinDLL"]("kernel32").ProcessIdToSessionId(
            os.getpid(), ctypes.byref(number)
        ):
            session = number.value
    with suppress(*_UNREADABLE):
        words = ["powercfg", "/query", "SCHEME_CURRENT", "SUB_SLEEP", "STANDBYIDLE"]
        done = subprocess.run(words, capture_output=True, timeout=COMMAND_TIMEOUT, check=True)
        sleeps_after = parse_sleep(done.stdout.decode("ascii", "replace"))
    with suppress(*_UNREADABLE):
        registry = importlib.import_module("winreg")
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, FILE_SYSTEM) as key:
            long_paths = bool(registry.QueryValueEx(key, "LongPathsEnabled")[0])
    with suppress(*_UNREADABLE):  # only administrators may read them
        registry = importlib.import_module("winreg")
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, EXCLUSIONS) as key:
            count = registry.QueryInfoKey(key)[1]
            excluded = tuple(registry.EnumValue(key, index)[0] for index in range(count))
    return WindowsFacts(
        session=session,
        sleeps_after=sleeps_after,
        long_paths=long_paths,
        excluded=excluded,
        titles=config.windows_must_die,
        store=str(config.store),
    )


def parse_sleep(printed: str) -> int:
    """Return the seconds on mains of what `powercfg` prints. Raises `IndexError` without any."""
    # The last two numbers are the settings on mains and on battery. The words are translated.
    return int(re.findall(r"0x([0-9a-fA-F]{8})\b", printed)[-2], 16)


def check_windows_store(config: Config) -> Iterator[Finding]:
    """Make the agent's state folder, write a file there and remove it, look for room and the drive."""
    if wrong := find_wrong_name(config.name):
        yield wrong
        return
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
    yield Finding("store", OK, f"{path} can be written{describe_use(path)}")
    whole, kind = path.absolute(), None
    with suppress(*_UNREADABLE):
        kind = vars(ctypes)["WinDLL"]("kernel32").GetDriveTypeW(whole.anchor)
    if is_network_path(whole.drive, kind):
        text = f"the store {path} is on a network drive: tasks wait for it, and locks may not hold"
        yield Finding("store", WARNING, text, other, LOOK)
    yield from compare_space(path, psutil.disk_usage(str(path)).free, None)


def is_network_path(drive: str, kind: int | None) -> bool:
    """Whether a folder is on another host; `kind` is the number of the drive's kind, if it could be read."""
    return kind == NETWORK_DRIVE or drive.startswith(("\\\\", "//"))

"""Looks at the store, the mounts, the token file and the plugins for `place`'s rules. Blocking."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from trio_afrender.cli.doctor.files import MountFacts, PluginFacts, StoreFacts, TokenFacts
from trio_afrender.config import Config
from trio_afrender.devtools.plugin_check import PLUGIN_KINDS, check_plugins
from trio_afrender.errors import ConfigError
from trio_afrender.plugins.lookup import list_plugins
from trio_afrender.transport.tokens import read_token_file

__all__ = ("mapped_folders", "probe_mount", "probe_plugins", "probe_store", "probe_token")


def probe_store(config: Config) -> StoreFacts:
    """Look at an agent's own folder; where it is, write, sync and lock there. Leaves nothing."""
    path = config.store / "trio_afrender" / config.name
    parent = next(folder for folder in (path, *path.parents) if folder.exists())
    facts = path.lstat() if path.is_symlink() or path.exists() else None
    usage = os.statvfs(parent)
    sync, problem = None, ""
    writable = os.access(parent, os.W_OK | os.X_OK)
    mine = facts is None or (stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid())
    if writable and mine:
        try:
            sync = _try_disk(parent)
        except OSError as error:
            problem = error.strerror or str(error)
    return StoreFacts(
        path=str(path),
        exists=facts is not None,
        parent=str(parent),
        writable=writable or not mine,
        folder=facts is None or stat.S_ISDIR(facts.st_mode),
        owner=facts.st_uid if facts is not None else os.getuid(),
        user=os.getuid(),
        mode=stat.S_IMODE(facts.st_mode) if facts is not None else 0o700,
        free=usage.f_bavail * usage.f_frsize,
        inodes=usage.f_favail if usage.f_files else None,
        sync=sync,
        problem=problem,
        locked_by=_lock_holder(path / "lock"),
        kind=_kind(parent),
    )


def _try_disk(folder: Path) -> float:
    """Write, sync and lock a file; return how long the sync took. Raises `OSError`."""
    with tempfile.TemporaryFile(dir=folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(b"x" * 4096)
        file.flush()
        begun = time.monotonic()
        os.fsync(file.fileno())
        return time.monotonic() - begun


def _lock_holder(path: Path) -> str:
    """The pid in an agent's lock file, if an agent holds it."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(20).strip() or "unknown"
    except OSError:
        pass
    return ""


def _kind(folder: Path) -> str:
    """The kind of the file system that `folder` is on."""
    found = ""
    with suppress(OSError):
        mounts = psutil.disk_partitions(all=True)
        fitting = [each for each in mounts if folder.resolve().is_relative_to(each.mountpoint)]
        found = max(fitting, key=lambda each: len(each.mountpoint)).fstype if fitting else ""
    return found


def mapped_folders(config: Config) -> tuple[str, ...]:
    """The folders of this host that the paths map leads to, each once."""
    return tuple(dict.fromkeys(client for client, _ in config.paths_map if client))


def probe_mount(path: str) -> MountFacts:
    """Look at one folder. Hangs when its mount does: then the caller gives up."""
    try:
        with os.scandir(path) as entries:
            next(entries, None)  # a mount may be there and its server not
    except (FileNotFoundError, NotADirectoryError):
        return MountFacts(path=path, state="missing")
    except PermissionError:
        return MountFacts(path=path, state="closed")
    except OSError:
        return MountFacts(path=path, state="hangs")  # stale handles, a server that is down
    return MountFacts(path=path)


def probe_token(config: Config, path: str) -> TokenFacts:
    wanted = config.server.startswith(("ws://", "wss://"))
    if not path:
        return TokenFacts(wanted=wanted)
    problem, mode = "", 0o600
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
        read_token_file(Path(path))
    except (ConfigError, OSError) as error:
        problem = str(error)
    return TokenFacts(path=path, wanted=wanted, problem=problem, mode=mode)


def probe_plugins(config: Config) -> PluginFacts:
    """Load, make and use a little what stands in a studio's own folders, in another process."""
    folders = tuple(folder for folder in config.plugins if folder.is_dir())
    missing = tuple(str(folder) for folder in config.plugins if not folder.is_dir())
    if not folders:
        return PluginFacts(missing=missing)
    own = [
        (kind, name)
        for kind in PLUGIN_KINDS
        for name in sorted({*list_plugins(kind, folders)} - {*list_plugins(kind, ())})
    ]
    reports = check_plugins(
        folders, names=own, limit=config.timing.plugin, settings=config.plugin_settings()
    )
    bad = tuple(
        (f"{each.kind} {each.name}", each.problems[0].strip().splitlines()[-1])
        for each in reports
        if each.problems
    )
    return PluginFacts(
        folders=tuple(map(str, folders)),
        missing=missing,
        bad=bad,
        good=len(reports) - len(bad),
    )

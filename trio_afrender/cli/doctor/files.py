"""Checks of files and folders: store, mounts of the paths map, token file, plugins, settings.

The functions ``probe_*`` block, `probe_mount` for as long as a mount hangs.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

import attrs
import psutil

from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding
from trio_afrender.config import Config
from trio_afrender.config.settings import CGRU, OTHERS
from trio_afrender.devtools.plugin_check import PLUGIN_KINDS, check_plugins
from trio_afrender.errors import ConfigError
from trio_afrender.plugins.lookup import list_plugins
from trio_afrender.task.usage_totals import show_bytes
from trio_afrender.transport.tokens import read_token_file

__all__ = (
    "MountFacts",
    "PluginFacts",
    "StoreFacts",
    "TokenFacts",
    "check_mounts",
    "check_plugin_folders",
    "check_settings",
    "check_store",
    "check_token",
    "mapped_folders",
    "probe_mount",
    "probe_plugins",
    "probe_store",
    "probe_token",
)

SPACE_NEEDED, SPACE_WANTED = 100 * 1024**2, 5 * 1024**3
"""Free bytes below which a finding is an error, a warning."""
SLOW_SYNC = 0.5
"""Seconds; each outcome waits for one sync."""
NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "fuse.sshfs",
    "lustre",
    "beegfs",
    "ceph",
)
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")


@attrs.frozen(slots=True, kw_only=True)
class StoreFacts:
    """The folder in which an agent keeps its state, or where it would be created."""

    path: str
    exists: bool = True
    parent: str = ""
    """The nearest folder above `path` that exists."""
    writable: bool = True
    """Whether this user may write to the folder, or create it."""
    folder: bool = True
    """False: a link or a file."""
    owner: int = 0
    user: int = 0
    mode: int = 0o700
    free: int = 10**12
    """Bytes."""
    inodes: int | None = None
    """Free inodes; None: the file system does not count them."""
    sync: float | None = 0.001
    """Seconds that a sync took; None: not tried."""
    problem: str = ""
    """Why writing, syncing or locking a file failed."""
    locked_by: str = ""
    """The pid of an agent that uses the store."""
    kind: str = "ext4"


def probe_store(config: Config) -> StoreFacts:
    """Examine an agent's state folder; write, sync and lock a file there that is removed again."""
    path = config.store / "trio_afrender" / config.name
    parent = next(folder for folder in (path, *path.parents) if folder.exists())
    facts = path.lstat() if path.is_symlink() or path.exists() else None
    usage = os.statvfs(parent)
    sync, problem = None, ""
    writable = os.access(parent, os.W_OK | os.X_OK)
    mine = facts is None or (stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid())
    if writable and mine:
        try:
            sync = _time_sync(parent)
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
        kind=_file_system_type(parent),
    )


def _time_sync(folder: Path) -> float:
    """Write, sync and lock a file; return the seconds of the sync. Raises `OSError`."""
    with tempfile.TemporaryFile(dir=folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(b"x" * 4096)
        file.flush()
        begun = time.monotonic()
        os.fsync(file.fileno())
        return time.monotonic() - begun


def _lock_holder(path: Path) -> str:
    """Return the pid in an agent's lock file, if an agent holds the lock."""
    try:
        with path.open() as file:
            try:
                # Shared, so that two doctors at once do not report each other as the agent.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(20).strip() or "unknown"
    except OSError:
        pass
    return ""


def _file_system_type(folder: Path) -> str:
    """Return the type of the file system that `folder` is on; '' if it is unknown."""
    found = ""
    with suppress(OSError):
        mounts = psutil.disk_partitions(all=True)
        fitting = [each for each in mounts if folder.resolve().is_relative_to(each.mountpoint)]
        found = max(fitting, key=lambda each: len(each.mountpoint)).fstype if fitting else ""
    return found


def check_store(facts: StoreFacts) -> Iterator[Finding]:
    path = quote(facts.path)
    if not facts.writable:
        text = f"this user may not write to {facts.path if facts.exists else facts.parent}"
        yield Finding(
            "store", ERROR, text, f"mkdir -p {path} && chown {facts.user} {path}  # as root"
        )
        return
    if facts.exists and not facts.folder:
        text = f"{facts.path} is a link or a file, but must be a folder"
        yield Finding("store", ERROR, text, f"rm {path}")
        return
    if facts.exists and facts.owner != facts.user:
        text = f"{facts.path} belongs to user {facts.owner}, and this is user {facts.user}"
        yield Finding("store", ERROR, text, f"chown -R {facts.user} {path}  # as root")
        return
    if facts.problem:
        text = f"a file in {facts.path} cannot be written, synced or locked: {facts.problem}"
        yield Finding("store", ERROR, text, "trio_afrender agent --store DIR")
        return
    if facts.exists and facts.mode & 0o077:
        text = f"{facts.path} can be read by others (mode {facts.mode:o})"
        yield Finding("store", WARNING, text, f"chmod 700 {path}")
    user = f", in use by the agent with pid {facts.locked_by}" if facts.locked_by else ""
    new = "" if facts.exists else " (not created yet)"
    yield Finding("store", OK, f"{facts.path}{new} can be written, synced and locked{user}")
    yield from _check_disk(facts)


def _check_disk(facts: StoreFacts) -> Iterator[Finding]:
    fix = f"du -xh --max-depth=2 {quote(facts.path if facts.exists else facts.parent)} | sort -h | tail"
    free = f"{show_bytes(facts.free)} are free on the disk of {facts.path}"
    if facts.inodes == 0:
        text = f"no inode is free on the disk of {facts.path}: no file can be created"
        yield Finding("space", ERROR, text, fix)
    elif facts.free < SPACE_NEEDED:
        yield Finding("space", ERROR, f"only {free}", fix)
    elif facts.inodes is not None and facts.inodes < 10_000:
        text = f"only {facts.inodes} inodes are free on the disk of {facts.path}"
        yield Finding("space", WARNING, text, fix)
    elif facts.free < SPACE_WANTED:
        yield Finding("space", WARNING, f"only {free}: one task's log can take 1 GiB", fix)
    else:
        yield Finding("space", OK, free)
    local = "trio_afrender agent --store /var/tmp/afanasy"
    if facts.kind in NETWORK_FILE_SYSTEMS:
        text = (
            f"{facts.path} is on a {facts.kind} mount: if it hangs, the logs and results of all"
            " tasks hang, too"
        )
        yield Finding("store-disk", WARNING, text, local)
    elif facts.kind in MEMORY_FILE_SYSTEMS:
        text = (
            f"{facts.path} is in memory ({facts.kind}): a power failure loses undelivered results"
        )
        yield Finding("store-disk", WARNING, text, local)
    elif facts.sync is not None and facts.sync > SLOW_SYNC:
        text = f"a sync to the disk of {facts.path} took {facts.sync:.1f} s, and each result waits for one"
        yield Finding("store-disk", WARNING, text, "iostat -x 1 5")


@attrs.frozen(slots=True, kw_only=True)
class MountFacts:
    """A client folder of the paths map."""

    path: str
    state: str = "there"
    """``there``, ``missing``, ``closed`` (this user may not enter it), ``hangs``."""


def mapped_folders(config: Config) -> tuple[str, ...]:
    """Return the client folders of the paths map, each once."""
    return tuple(dict.fromkeys(client for client, _ in config.paths_map if client))


def probe_mount(path: str) -> MountFacts:
    """Read a folder. Hangs as long as its mount does: the caller must give up waiting."""
    try:
        with os.scandir(path) as entries:
            # Opening alone can succeed while the file server is down.
            next(entries, None)
    except (FileNotFoundError, NotADirectoryError):
        return MountFacts(path=path, state="missing")
    except PermissionError:
        return MountFacts(path=path, state="closed")
    except OSError:
        return MountFacts(path=path, state="hangs")  # a stale handle, or the file server is down
    return MountFacts(path=path)


def check_mounts(facts: Collection[MountFacts]) -> Iterator[Finding]:
    for mount in facts:
        path = quote(mount.path)
        match mount.state:
            case "hangs":
                text = (
                    f"{mount.path} of the paths map does not answer: tasks that use it would hang"
                )
                yield Finding("mount", ERROR, text, f"umount -l {path} && mount {path}")
            case "missing":
                text = f"{mount.path} of the paths map does not exist"
                yield Finding("mount", ERROR, text, f"mount {path}")
            case "closed":
                text = f"this user may not enter {mount.path} of the paths map"
                yield Finding("mount", ERROR, text, f"namei -l {path}")
    if not facts:
        yield Finding("mount", OK, "the paths map is empty")
    elif all(mount.state == "there" for mount in facts):
        yield Finding("mount", OK, f"folders of the paths map: {len(facts)}, all accessible")


@attrs.frozen(slots=True, kw_only=True)
class TokenFacts:
    """The file with the token."""

    path: str = ""
    wanted: bool = True
    """Whether the server demands a token."""
    problem: str = ""
    """The error of reading it."""
    mode: int = 0o600


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


def check_token(facts: TokenFacts) -> Iterator[Finding]:
    if not facts.path:
        if facts.wanted:
            text = "no token file is set, but every websocket server demands a token"
            yield Finding(
                "token", WARNING, text, "trio_afrender agent --token-file ~/.config/afrender.token"
            )
        return
    if facts.mode & 0o077:
        text = f"{facts.path} can be read by others (mode {facts.mode:o})"
        yield Finding("token", ERROR, text, f"chmod 600 {quote(facts.path)}")
    elif facts.problem:
        yield Finding("token", ERROR, facts.problem, f"ls -l {quote(facts.path)}")
    else:
        yield Finding("token", OK, f"{facts.path} has a token that only its owner can read")


@attrs.frozen(slots=True, kw_only=True)
class PluginFacts:
    """A studio's plugin folders."""

    folders: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    """Kind and name of a plugin, and one line of its problem."""
    good: int = 0


def probe_plugins(config: Config) -> PluginFacts:
    """Load, create and call every plugin of a studio's own folders, in another process."""
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


def check_plugin_folders(facts: PluginFacts) -> Iterator[Finding]:
    for folder in facts.missing:
        text = f"the plugin folder {folder} does not exist"
        yield Finding("plugins", ERROR, text, f"ls -ld {quote(folder)}")
    for what, problem in facts.bad:
        kind, _, name = what.partition(" ")
        folders = " ".join(f"--plugins {quote(folder)}" for folder in facts.folders)
        fix = f"trio_afrender check {folders}".rstrip()
        if kind == "meter":
            fix = f"trio_afrender check meter {quote(name)} {folders}".rstrip()
        yield Finding("plugins", ERROR, f"{kind} {name}: {problem}", fix)
    if not facts.missing and not facts.bad:
        good = f"plugins in your own folders: {facts.good}, all load and work"
        yield Finding("plugins", OK, good if facts.folders else "no plugin folders are set")


def check_settings(keys: Collection[str], problems: Collection[str]) -> Iterator[Finding]:
    """`keys` are all keys of the config files, `problems` the parts of them that were ignored."""
    fix = "trio_afrender config"
    for problem in problems:
        yield Finding("config", WARNING, problem, fix)
    known = {*CGRU, *OTHERS}
    typos = 0
    for key in sorted(set(keys) - known):
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
        if close and key.startswith(("af_", "cmd_", "paths")):
            typos += 1
            text = f'the setting "{key}" is unknown, did you mean "{close[0]}"?'
            yield Finding("config", WARNING, text, fix)
    if not problems and not typos:
        yield Finding("config", OK, "the config files have no errors")

"""Checks of files and folders: store, mounts of the paths map, token file, plugins, settings.

They block, `probe_mount` for as long as a mount hangs.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

import psutil

from trio_afrender.agent.state_dir import NAME_PATTERN
from trio_afrender.cli.doctor.finding import ERROR, HAND, OK, ROOT, RUN, WARNING, Finding
from trio_afrender.cli.plugin_folders import explain_folder
from trio_afrender.config import Config
from trio_afrender.config.settings import CGRU, OTHERS
from trio_afrender.devtools.plugin_check import PLUGIN_KINDS, check_plugins
from trio_afrender.errors import ConfigError
from trio_afrender.plugins.lookup import list_plugins
from trio_afrender.private_folder import find_unsafe, is_locked
from trio_afrender.safe_files import read_regular
from trio_afrender.task.usage_totals import show_bytes
from trio_afrender.text import find_near
from trio_afrender.transport.tokens import read_token_file

__all__ = (
    "check_mounts",
    "check_plugin_folders",
    "check_settings",
    "check_store",
    "check_token",
    "compare_disk",
    "compare_space",
    "describe_use",
    "find_wrong_name",
    "probe_mount",
    "show_place",
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
_OF_CGRU = re.compile("(af_|cmd_|paths)[A-Za-z0-9_]*")
"""Names of keys that could be mistyped ones of CGRU's."""
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")


def check_store(config: Config) -> Iterator[Finding]:
    """Examine an agent's state folder; write, sync and lock a file there that is removed again."""
    if wrong := find_wrong_name(config.name):
        yield wrong
        return
    path = config.store / "trio_afrender" / config.name
    parent = _find_existing(path)
    facts = None
    with suppress(OSError):  # what is wrong with it shows below
        facts = path.lstat()
    quoted, user = quote(str(path)), os.getuid()
    if facts is not None and not stat.S_ISDIR(facts.st_mode):
        text = f"{path} is a link or a file, but must be a folder"
        yield Finding("store", ERROR, text, f"mv {quoted} {quote(f'{path}.old')}", RUN)
        return
    if facts is not None and facts.st_uid != user:
        text = f"{path} belongs to user {facts.st_uid}, and this is user {user}"
        yield Finding("store", ERROR, text, f"chown -R {user} {quoted}", ROOT)
        return
    try:
        unsafe = find_unsafe(path)
    except OSError as error:
        text = f"{path} cannot be used: {error.strerror or error}"
        yield Finding("store", ERROR, text, "trio_afrender agent --store DIR", HAND)
        return
    if unsafe:
        folder, why = unsafe
        text = f"{folder} {why} choose another --store: others could exchange the store"
        writable = "can be written" in why
        fix, how = "trio_afrender agent --store DIR", HAND
        if writable:
            ours = folder.stat().st_uid == user
            fix, how = f"chmod go-w {quote(str(folder))}", RUN if ours else ROOT
        yield Finding("store", ERROR, text, fix, how)
        return
    if not os.access(parent, os.W_OK | os.X_OK):
        fix = f"mkdir -p {quoted} && chown {user} {quoted}"
        yield Finding("store", ERROR, f"this user may not write to {parent}", fix, ROOT)
        return
    try:
        sync = _time_sync(parent)
    except OSError as error:
        problem = error.strerror or error
        text = f"a file in {path} cannot be written, synced or locked: {problem}"
        yield Finding("store", ERROR, text, "trio_afrender agent --store DIR", HAND)
        return
    if facts is not None and facts.st_mode & 0o077:
        text = f"{path} can be read by others (mode {stat.S_IMODE(facts.st_mode):o})"
        yield Finding("store", WARNING, text, f"chmod 700 {quoted}", RUN)
    new = "" if facts is not None else " (not created yet)"
    yield Finding("store", OK, f"{path}{new} can be written, synced and locked{describe_use(path)}")
    usage = os.statvfs(parent)
    # A file system that does not count inodes has 0 of 0.
    inodes = usage.f_favail if usage.f_files else None
    yield from compare_space(path, usage.f_bavail * usage.f_frsize, inodes)
    yield from compare_disk(path, _file_system_type(parent), sync)


def find_wrong_name(name: str) -> Finding | None:
    """Return the fault of a render's name that the folder of an agent cannot have."""
    if NAME_PATTERN.fullmatch(name):
        return None
    text = f'the name "{name}" cannot be a folder: use letters, digits, . _ -'
    return Finding("store", ERROR, text, "trio_afrender agent --name NAME", HAND)


def _find_existing(path: Path) -> Path:
    """Return the longest part of a path that this user can see."""
    # `Path.exists` raises PermissionError below a folder that is closed to this user.
    return next(folder for folder in (path, *path.parents) if os.path.exists(folder))  # noqa: PTH110


def _time_sync(folder: Path) -> float:
    """Write, sync and lock a file; return the seconds of the sync. Raises `OSError`."""
    import fcntl  # here, because Windows has none: `windows_host` has its checks

    with tempfile.TemporaryFile(dir=folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(b"x" * 4096)
        file.flush()
        begun = time.monotonic()
        os.fsync(file.fileno())
        return time.monotonic() - begun


def describe_use(store: Path) -> str:
    """Return which agent has locked its state folder, as the end of a sentence; '' if none has."""
    if not is_locked(store):
        return ""
    pid = ""
    with suppress(OSError):
        pid = read_regular(store / "lock", 100).decode("ascii", "replace").strip()
    return f", in use by the agent with pid {pid or 'unknown'}"


def _file_system_type(folder: Path) -> str:
    """Return the type of the file system that `folder` is on; '' if it is unknown."""
    found = ""
    with suppress(OSError):
        mounts = psutil.disk_partitions(all=True)
        fitting = [each for each in mounts if folder.resolve().is_relative_to(each.mountpoint)]
        found = max(fitting, key=lambda each: len(each.mountpoint)).fstype if fitting else ""
    return found


def compare_space(path: Path, free: int, inodes: int | None) -> Iterator[Finding]:
    """`free` are bytes; `inodes` is None if the file system does not count them."""
    existing = _find_existing(path)
    fix = f"du -xh --max-depth=2 {quote(str(existing))} | sort -h | tail"
    text = f"{show_bytes(free)} are free on the disk of {path}"
    if inodes == 0:
        text = f"no inode is free on the disk of {path}: no file can be created"
        yield Finding("space", ERROR, text, fix)
    elif free < SPACE_NEEDED:
        yield Finding("space", ERROR, f"only {text}", fix)
    elif inodes is not None and inodes < 10_000:
        text = f"only {inodes} inodes are free on the disk of {path}"
        yield Finding("space", WARNING, text, fix)
    elif free < SPACE_WANTED:
        yield Finding("space", WARNING, f"only {text}: one task's log can take 1 GiB", fix)
    else:
        yield Finding("space", OK, text)


def compare_disk(path: Path, kind: str, sync: float) -> Iterator[Finding]:
    """`kind` is the type of the file system, `sync` the seconds that a sync took."""
    local = "trio_afrender agent --store /var/tmp/afanasy"
    if kind in NETWORK_FILE_SYSTEMS:
        text = (
            f"{path} is on a {kind} mount: if it hangs, the logs and results of all tasks hang, too"
        )
        yield Finding("store-disk", WARNING, text, local, HAND)
    elif kind in MEMORY_FILE_SYSTEMS:
        text = f"{path} is in memory ({kind}): a power failure loses undelivered results"
        yield Finding("store-disk", WARNING, text, local, HAND)
    elif sync > SLOW_SYNC:
        text = f"a sync to the disk of {path} took {sync:.1f} s, and each result waits for one"
        yield Finding("store-disk", WARNING, text, "iostat -x 1 5")


def probe_mount(path: str) -> str:
    """Return the problem of a folder: ``missing``, ``closed`` (no permission), ``hangs``; '' if none.

    Hangs as long as its mount does: the caller must give up waiting.
    """
    try:
        with os.scandir(path) as entries:
            # Opening alone can succeed while the file server is down.
            next(entries, None)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except PermissionError:
        return "closed"
    except OSError:
        return "hangs"  # a stale handle, or the file server is down
    return ""


def check_mounts(problems: Mapping[str, str]) -> Iterator[Finding]:
    """`problems` are those of the client folders in the paths map, by path: those of `probe_mount`, or
    why a folder was not looked at."""
    for path, problem in problems.items():
        quoted = quote(path)
        match problem:
            case "hangs":
                text = f"{path} of the paths map does not answer: tasks that use it would hang"
                yield Finding("mount", ERROR, text, f"umount -l {quoted} && mount {quoted}", ROOT)
            case "missing":
                text = f"{path} of the paths map does not exist"
                # Without the folder, mount cannot mount it; without an entry of fstab, neither.
                fix = f"mkdir -p {quoted} && mount {quoted}"
                yield Finding("mount", ERROR, text, fix, ROOT)
            case "closed":
                text = f"this user may not enter {path} of the paths map"
                yield Finding("mount", ERROR, text, f"namei -l {quoted}")
            case reason if reason:
                text = f"{path} of the paths map was not looked at: {reason}"
                yield Finding("mount", WARNING, text)
    if not problems:
        yield Finding("mount", OK, "the paths map is empty")
    elif not any(problems.values()):
        yield Finding("mount", OK, f"folders of the paths map: {len(problems)}, all accessible")


def check_token(config: Config, path: str) -> Iterator[Finding]:
    """`path` is that of the file with the token; '' if none is set."""
    if not path:
        if config.server.startswith(("ws://", "wss://")):
            text = "no token file is set, but every websocket server demands a token"
            fix = f"trio_afrender token {quote(config.name)} --out FILE  # then --token-file FILE"
            yield Finding("token", WARNING, text, fix, HAND)
        return
    try:
        facts, by_mode = Path(path).stat(), hasattr(os, "getuid")  # Windows has no modes
        if by_mode and facts.st_mode & 0o077:
            text = f"{path} can be read by others (mode {stat.S_IMODE(facts.st_mode):o})"
            how = RUN if facts.st_uid == os.getuid() else ROOT
            yield Finding("token", ERROR, text, f"chmod 600 {quote(path)}", how)
            return
        read_token_file(Path(path))
    except (ConfigError, OSError) as error:
        yield Finding("token", ERROR, str(error), f"ls -l {quote(path)}")
    else:
        whose = " that only its owner can read" if by_mode else ""
        yield Finding("token", OK, f"{path} has a token{whose}")


def check_plugin_folders(config: Config) -> Iterator[Finding]:
    """Load, create and call every plugin of a studio's own folders, in another process."""
    problems = {folder: explain_folder(folder) for folder in config.plugins}
    folders = tuple(folder for folder, problem in problems.items() if not problem)
    missing = {folder: problem for folder, problem in problems.items() if problem}
    for folder, problem in missing.items():
        text = f"the plugin folder {folder} {problem}"
        yield Finding("plugins", ERROR, text, f"ls -ld {quote(str(folder))}")
    if not folders:
        if not missing:
            yield Finding("plugins", OK, "no plugin folders are set")
        return
    own = [
        (kind, name)
        for kind in PLUGIN_KINDS
        for name in sorted({*list_plugins(kind, folders)} - {*list_plugins(kind, ())})
    ]
    reports = check_plugins(
        folders, names=own, limit=config.timing.plugin, settings=config.plugin_settings()
    )
    options = " ".join(f"--plugins {quote(str(folder))}" for folder in folders)
    bad = [each for each in reports if each.problems]
    for each in bad:
        text = f"{each.kind} {each.name}: {each.problems[0].strip().splitlines()[-1]}"
        which = f"meter {quote(each.name)} " if each.kind == "meter" else ""
        yield Finding("plugins", ERROR, text, f"trio_afrender check {which}{options}")
    if not missing and not bad:
        text = f"plugins in your own folders: {len(reports)}, all load and work"
        yield Finding("plugins", OK, text)


def check_settings(keys: Mapping[str, str], problems: Collection[str]) -> Iterator[Finding]:
    """`keys` are all keys of the config files, with their files; `problems` are the parts of them that
    were ignored."""
    for problem in problems:
        yield Finding("config", WARNING, problem, show_place(problem))
    known = {*CGRU, *OTHERS}
    unknown = [key for key in sorted(set(keys) - known) if _OF_CGRU.fullmatch(key)]
    typos = [(key, near[0]) for key in unknown if (near := find_near(key, known, cutoff=0.9))]
    for key, likely in typos:
        path = Path(keys[key])
        change = quote(f's/"{key}"/"{likely}"/')
        fix = f"sed -i --follow-symlinks {change} {quote(str(path))}"
        text = f'the setting "{key}" in {path} is unknown, did you mean "{likely}"?'
        how = RUN if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else ROOT
        yield Finding("config", WARNING, text, fix, how)
    if not problems and not typos:
        yield Finding("config", OK, "the config files have no errors")


def show_place(problem: str) -> str:
    """Return the command that shows the line which a problem of the settings names."""
    if found := re.match(r"(.+?):(\d+):\d+: ", problem):
        return f"sed -n {found[2]}p {quote(found[1])}"
    return "trio_afrender config"

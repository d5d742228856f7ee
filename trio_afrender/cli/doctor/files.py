"""Rules about places: the store, mounts of the path map, token file, plugins, settings. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from shlex import quote

import attrs

from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding
from trio_afrender.config.keys import CGRU, OTHERS
from trio_afrender.task.usage_totals import show_bytes

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
)

SPACE_NEEDED, SPACE_WANTED = 100 * 1024**2, 5 * 1024**3
SLOW_SYNC = 0.5
"""Seconds for one sync; each outcome waits for one."""
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
    """An agent's own folder, or where it would be."""

    path: str
    exists: bool = True
    parent: str = ""
    """The nearest folder above that is there."""
    writable: bool = True
    """Whether we may write there, or make it."""
    folder: bool = True
    """False: a link or a file."""
    owner: int = 0
    user: int = 0
    mode: int = 0o700
    free: int = 10**12
    inodes: int | None = None
    """Free ones; None: the file system does not count them."""
    sync: float | None = 0.001
    """Seconds that a sync took; None: it was not tried."""
    problem: str = ""
    """Why writing, syncing or locking failed."""
    locked_by: str = ""
    """The pid of an agent that has it open."""
    kind: str = "ext4"


def check_store(facts: StoreFacts) -> Iterator[Finding]:
    path = quote(facts.path)
    if not facts.writable:
        where = facts.path if facts.exists else facts.parent
        text = f"we may not write to {where}"
        yield Finding(
            "store", ERROR, text, f"mkdir -p {path} && chown {facts.user} {path}  # as root"
        )
        return
    if facts.exists and not facts.folder:
        yield Finding("store", ERROR, f"{facts.path} is a link or a file", f"rm {path}")
        return
    if facts.exists and facts.owner != facts.user:
        text = f"{facts.path} belongs to user {facts.owner}, we are {facts.user}"
        yield Finding("store", ERROR, text, f"chown -R {facts.user} {path}  # as root")
        return
    if facts.problem:
        yield Finding(
            "store", ERROR, f"{facts.path}: {facts.problem}", "trio_afrender agent --store DIR"
        )
        return
    if facts.exists and facts.mode & 0o077:
        text = f"{facts.path} can be read by others (mode {facts.mode:o})"
        yield Finding("store", WARNING, text, f"chmod 700 {path}")
    used = f", in use by the agent with pid {facts.locked_by}" if facts.locked_by else ""
    made = "" if facts.exists else " (to be made)"
    yield Finding("store", OK, f"{facts.path}{made} can be written, synced and locked{used}")
    yield from _judge_disk(facts)


def _judge_disk(facts: StoreFacts) -> Iterator[Finding]:
    mend = f"du -xh --max-depth=2 {quote(facts.path if facts.exists else facts.parent)} | sort -h | tail"
    if facts.free < SPACE_NEEDED or facts.inodes == 0:
        what = "no file can be made" if facts.inodes == 0 else f"{show_bytes(facts.free)} are free"
        yield Finding("space", ERROR, f"{what} on the disk of {facts.path}", mend)
    elif facts.free < SPACE_WANTED or (facts.inodes is not None and facts.inodes < 10_000):
        text = f"{show_bytes(facts.free)} are free on the disk of {facts.path}: one task's log may take 1 GiB"
        yield Finding("space", WARNING, text, mend)
    else:
        yield Finding("space", OK, f"{show_bytes(facts.free)} are free on the disk of {facts.path}")
    if facts.kind in NETWORK_FILE_SYSTEMS:
        text = f"{facts.path} is on a {facts.kind} mount: when that hangs, so do logs and results of all tasks"
        yield Finding("store-disk", WARNING, text, "trio_afrender agent --store /var/tmp/afanasy")
    elif facts.kind in MEMORY_FILE_SYSTEMS:
        text = (
            f"{facts.path} is in memory ({facts.kind}): results that wait are lost with the power"
        )
        yield Finding("store-disk", WARNING, text, "trio_afrender agent --store /var/tmp/afanasy")
    elif facts.sync is not None and facts.sync > SLOW_SYNC:
        text = f"a sync to the disk of {facts.path} took {facts.sync:.1f} s, and each result waits for one"
        yield Finding("store-disk", WARNING, text, "iostat -x 1 5")


@attrs.frozen(slots=True, kw_only=True)
class MountFacts:
    """A folder of this host that the paths of jobs lead to."""

    path: str
    state: str = "there"
    """``there``, ``missing``, ``closed`` (we may not enter it), ``hangs``."""


def check_mounts(facts: Collection[MountFacts]) -> Iterator[Finding]:
    for mount in facts:
        path = quote(mount.path)
        match mount.state:
            case "hangs":
                text = f"{mount.path} does not answer: tasks there would hang in state D"
                yield Finding("mount", ERROR, text, f"umount -l {path} && mount {path}")
            case "missing":
                text = f"{mount.path}, to which the paths map leads, is not there"
                yield Finding("mount", ERROR, text, f"mount {path}")
            case "closed":
                text = f"we may not enter {mount.path}, to which the paths map leads"
                yield Finding("mount", ERROR, text, f"namei -l {path}")
    if all(mount.state == "there" for mount in facts):
        text = f"{len(facts)} of the paths map, all there" if facts else "the paths map is empty"
        yield Finding("mount", OK, f"folders: {text}" if facts else text)


@attrs.frozen(slots=True, kw_only=True)
class TokenFacts:
    """The file with the token."""

    path: str = ""
    wanted: bool = True
    """Whether the server wants one."""
    problem: str = ""
    """What reading it would say."""
    mode: int = 0o600


def check_token(facts: TokenFacts) -> Iterator[Finding]:
    if not facts.path:
        if facts.wanted:
            text = "no token file is set: every server wants a token"
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
        yield Finding("token", OK, f"{facts.path} has a token, for us alone")


@attrs.frozen(slots=True, kw_only=True)
class PluginFacts:
    """A studio's plugin folders."""

    folders: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    """Kind and name, and the first line of what is wrong."""
    good: int = 0


def check_plugin_folders(facts: PluginFacts) -> Iterator[Finding]:
    for folder in facts.missing:
        text = f"the plugin folder {folder} is not there"
        yield Finding("plugins", ERROR, text, f"ls -ld {quote(folder)}")
    for what, problem in facts.bad:
        kind, _, name = what.partition(" ")
        folders = " ".join(f"--plugins {quote(folder)}" for folder in facts.folders)
        mend = f"trio_afrender check {folders}".rstrip()
        if kind == "meter":
            mend = f"trio_afrender check meter {quote(name)} {folders}".rstrip()
        yield Finding("plugins", ERROR, f"{kind} {name}: {problem}", mend)
    if not facts.missing and not facts.bad:
        own = f", {facts.good} of them in your own folders" if facts.folders else ""
        yield Finding(
            "plugins",
            OK,
            f"all plugins load{own}" if facts.folders else "no plugin folders are set",
        )


def check_settings(keys: Collection[str], problems: Collection[str]) -> Iterator[Finding]:
    """`keys` are all that stand in the config files, `problems` what was passed over in them."""
    mend = "trio_afrender config"
    for problem in problems:
        yield Finding("config", WARNING, problem, mend)
    known = {*CGRU, *OTHERS}
    typos = 0
    for key in sorted(set(keys) - known):
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
        if close and key.startswith(("af_", "cmd_", "paths")):
            typos += 1
            yield Finding(
                "config",
                WARNING,
                f'nobody reads the setting "{key}", did you mean "{close[0]}"?',
                mend,
            )
    if not problems and not typos:
        yield Finding("config", OK, "the config files are good")

"""The agent's own folder: ``<af_store_folder>/trio_afrender/<name>``, ours alone and locked."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError, StoreInUse

__all__ = ("StateDir", "open_state_dir")

UNCLEAN_MARKER = "unclean"
"""A file that is there while an agent lives, and after it was killed."""
IDENTITY_LENGTH = 16
"""Characters."""
NAME_PATTERN = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,200}")


@attrs.frozen
class StateDir:
    """A folder that nobody else on this host uses while it is open."""

    path: Path
    crashed: bool = False
    """Whether the agent before us did not come to its end: its processes may still be there."""

    @property
    def runs(self) -> Path:
        """Where the folders of runs are."""
        return self.path / "runs"

    @property
    def journal(self) -> Path:
        """What the server still has to hear."""
        return self.path / "journal"

    def identity(self) -> str:
        """The random name of this store, made once. Processes of its tasks are known by it.

        Raises `StoreError`.
        """
        path = self.path / "identity"
        try:
            with suppress(FileNotFoundError):
                if len(text := path.read_text(errors="replace").strip()) == IDENTITY_LENGTH:
                    return text
            text = secrets.token_hex(IDENTITY_LENGTH // 2)
            path.write_text(f"{text}\n")
        except OSError as error:
            raise StoreError.of(path, error) from error
        return text

    def read_identity_on_server(self) -> str:
        """What an Afanasy server knew the agent before us by; empty if nothing was kept."""
        try:
            return (self.path / "render").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def keep_identity_on_server(self, text: str) -> None:
        """Keep that for the next agent. Raises OSError."""
        fresh = self.path / "render.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.path / "render")

    def remove_runs(self, kept: Collection[str]) -> None:
        """Delete the folders of runs, but those whose names are `kept`. Blocks on the disk."""
        for folder in self.runs.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_state_dir(root: Path, name: str) -> Iterator[StateDir]:
    """Make and lock the store of the agent `name` below `root`. Blocks on the disk.

    Raises `StoreInUse` when another agent of that name has it, `StoreError` when it is a link,
    somebody else's or cannot be made. What an earlier agent left of its runs is still there.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise StoreError(root, f'the name "{name}" cannot be a folder: use letters, digits, . _ -')
    _make_private(root, private=False)
    _make_private(root / "trio_afrender", private=False)
    store = StateDir(root / "trio_afrender" / name)
    _make_private(store.path, private=True)
    lock = _lock(store.path)
    try:
        _make_private(store.runs, private=True)
        crashed = _mark(store.path)
        yield attrs.evolve(store, crashed=crashed)
        with suppress(OSError):
            (store.path / UNCLEAN_MARKER).unlink()
    finally:
        os.close(lock)


def _make_private(path: Path, *, private: bool) -> None:
    """Make a folder, or check the one that is there: no link, and ours if it must be private."""
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700 if private else 0o755, parents=not private)
        facts = path.lstat()
    except OSError as error:
        raise StoreError.of(path, error, "; choose another --store") from error
    if private:
        if not stat.S_ISDIR(facts.st_mode):
            raise StoreError(path, "is a link or a file; remove it or choose another --store")
        if facts.st_uid != os.getuid():
            raise StoreError(path, f"belongs to user {facts.st_uid}; choose another --store")
        if facts.st_mode & 0o077:
            try:
                path.chmod(0o700)
            except OSError as error:
                raise StoreError.of(path, error) from error
    elif not path.is_dir():
        raise StoreError(path, "is not a folder; choose another --store")


def _mark(path: Path) -> bool:
    """Leave the mark that only a clean end removes; return whether it was there."""
    try:
        (path / UNCLEAN_MARKER).touch(exist_ok=False)
    except FileExistsError:
        return True
    except OSError as error:
        raise StoreError.of(path, error) from error
    return False


def _lock(path: Path) -> int:
    try:
        handle = os.open(
            path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise StoreError.of(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreInUse(
            path, "another agent of that name runs here; stop it or use another --name"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle

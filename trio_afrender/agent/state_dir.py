"""The agent's state directory ``<af_store_folder>/trio_afrender/<name>``: private and locked."""

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
"""A file that exists while an agent runs, and after it was killed."""
IDENTITY_LENGTH = 16
"""Characters."""
NAME_PATTERN = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,200}")


@attrs.frozen
class StateDir:
    """A directory that no other agent on this host uses while it is open."""

    path: Path
    crashed: bool = False
    """Whether the previous agent was killed, so that its processes may still run."""

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.path / "runs"

    @property
    def journal(self) -> Path:
        """The journal's path."""
        return self.path / "journal"

    def identity(self) -> str:
        """Return the random id of this directory, created at first use. Raises `StoreError`.

        It is the first part of each task's ``AF_TASK_TOKEN``, by which processes of an earlier
        agent are found.
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

    def read_server_identity(self) -> str:
        """Return the stored identity on an afserver (`afserver.Identity`); empty without one."""
        try:
            return (self.path / "render").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def save_server_identity(self, text: str) -> None:
        """Store the identity on an afserver for the next agent. Raises `OSError`."""
        new = self.path / "render.new"
        new.write_text(text, encoding="utf-8")
        new.replace(self.path / "render")

    def remove_runs(self, kept: Collection[str]) -> None:
        """Delete all run folders but those with the names `kept`. Blocks on the disk."""
        for folder in self.runs.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_state_dir(root: Path, name: str) -> Iterator[StateDir]:
    """Create, check and lock the state directory of the agent `name` below `root`.

    Blocks on the disk. Files of an earlier agent are kept. Raises `StoreInUse` if another agent of
    that name is running, and `StoreError` if the directory is a link, belongs to another user or
    cannot be created.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise StoreError(root, f'the name "{name}" cannot be a folder: use letters, digits, . _ -')
    _make_folder(root, private=False)
    _make_folder(root / "trio_afrender", private=False)
    store = StateDir(root / "trio_afrender" / name)
    _make_folder(store.path, private=True)
    lock = _lock(store.path)
    try:
        _make_folder(store.runs, private=True)
        crashed = _set_unclean(store.path)
        yield attrs.evolve(store, crashed=crashed)
        # Not in `finally`: after an error in the body the marker stays, and the next agent looks
        # for processes that this one has left.
        with suppress(OSError):
            (store.path / UNCLEAN_MARKER).unlink()
    finally:
        os.close(lock)


def _make_folder(path: Path, *, private: bool) -> None:
    """Create a folder, or check the existing one. A private one must be no link, owned by this
    user and closed to others."""
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


def _set_unclean(path: Path) -> bool:
    """Create the marker that a clean end removes; return whether it existed."""
    try:
        (path / UNCLEAN_MARKER).touch(exist_ok=False)
    except FileExistsError:
        return True
    except OSError as error:
        raise StoreError.of(path, error) from error
    return False


def _lock(path: Path) -> int:
    """Lock the directory; return the descriptor that holds the lock. Raises `StoreInUse`."""
    # The kernel releases the lock when the agent dies, however it dies. The descriptor is not
    # inherited (O_CLOEXEC): a child that outlives the agent must not hold the lock.
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
    # The pid is for people. On a full disk the lock holds without it, and the tasks of an earlier
    # agent can still be taken over.
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return handle

"""The agent's state directory ``<af_store_folder>/trio_afrender/<name>``: private and locked."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError
from trio_afrender.private_folder import lock_folder, make_private, write_whole

__all__ = ("StateDir", "open_state_dir")

UNCLEAN_MARKER = "unclean"
"""A file that exists while an agent runs, and after it was killed."""
IDENTITY_LENGTH = 16
"""Characters."""
OTHER_STORE = "another --store"
IN_USE = "another agent of that name runs here; stop it or use another --name"
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
        write_whole(self.path / "render", text)

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
    _make_shared(root)
    _make_shared(root / "trio_afrender")
    store = StateDir(root / "trio_afrender" / name)
    make_private(store.path, instead=OTHER_STORE)
    with lock_folder(store.path, IN_USE):
        make_private(store.runs, instead=OTHER_STORE)
        try:
            # The marker is removed by a clean end.
            (store.path / UNCLEAN_MARKER).touch(exist_ok=False)
            crashed = False
        except FileExistsError:
            crashed = True
        except OSError as error:
            raise StoreError.of(store.path, error) from error
        yield attrs.evolve(store, crashed=crashed)
        # Not in `finally`: after an error in the body the marker stays, and the next agent looks
        # for processes that this one has left.
        with suppress(OSError):
            (store.path / UNCLEAN_MARKER).unlink()


def _make_shared(path: Path) -> None:
    """Create a folder that agents share, or check that the existing one is a folder."""
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o755, parents=True)
        path.lstat()
    except OSError as error:
        raise StoreError.of(path, error, f"; choose {OTHER_STORE}") from error
    if not path.is_dir():
        raise StoreError(path, f"is not a folder; choose {OTHER_STORE}")

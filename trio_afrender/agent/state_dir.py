"""The agent's state directory ``<af_store_folder>/trio_afrender/<name>``: private and locked.

What tasks of other users may read or write is beside it, in ``<af_store_folder>/trio_afrender_tasks/
<name>``, because they may not enter the state directory.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError, is_exhausted
from trio_afrender.private_folder import lock_folder, make_private
from trio_afrender.safe_files import read_regular, write_whole
from trio_afrender.supervisor.run_folders import remove_folders

__all__ = ("StateDir", "open_state_dir")

UNCLEAN_MARKER = "unclean"
"""A file that exists while an agent runs, and after it was killed."""
IDENTITY_LENGTH = 16
"""Characters."""
KEY_LENGTH = 64
"""Characters of the key of tokens: 256 bits."""
TOKEN_LENGTH = 32
"""Characters of a run's token after the identity."""
MAX_FILE = 64 * 1024
"""Bytes of a file here that is read whole."""
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
    def task_folders(self) -> Path:
        """The folder of what tasks of other users may read and write; it may be missing."""
        return self.path.parent.parent / "trio_afrender_tasks" / self.path.name

    def make_task_folders(self) -> None:
        """Make `task_folders`, which all users can pass through. Raises `StoreError`."""
        for folder in (self.task_folders.parent, self.task_folders):
            make_private(folder, instead=OTHER_STORE, passable=True)

    @property
    def spool(self) -> Path:
        """The folder of the files that wait for the server, `task.file_spool`."""
        return self.path / "spool"

    @property
    def journal(self) -> Path:
        """The journal's path."""
        return self.path / "journal"

    def identity(self) -> str:
        """Return the random id of this directory, created at first use. Raises `StoreError`.

        It is the first part of each task's ``AF_TASK_TOKEN``, by which processes of an earlier
        agent are found.
        """
        return self._read_or_make("identity", IDENTITY_LENGTH)

    def make_run_token(self) -> Callable[[str], str]:
        """Return the function from the id of a run to its ``AF_TASK_TOKEN``. Raises `StoreError`.

        The token of a run is the same for every agent of this directory: one that takes a tree over
        can still find its processes by it when all its supervisors have been killed
        (test_a_task_whose_supervisors_are_killed_after_a_takeover_leaves_no_process). A task cannot
        compute the tokens of others from its own.
        """
        identity, key = self.identity(), self._read_or_make("token_key", KEY_LENGTH).encode()

        def run_token(run: str) -> str:
            digest = hmac.new(key, run.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
            return f"{identity}-{digest[:TOKEN_LENGTH]}"

        return run_token

    def _read_or_make(self, name: str, length: int) -> str:
        """Return `length` random hexadecimal digits, stored under that name at first use."""
        path = self.path / name
        try:
            with suppress(FileNotFoundError):
                text = read_regular(path, MAX_FILE).decode("ascii", "replace").strip()
                if len(text) == length:
                    return text
            text = secrets.token_hex(length // 2)
            write_whole(path, f"{text}\n", mode=0o600)
        except OSError as error:
            raise StoreError.of(path, error) from error
        return text

    def read_server_identity(self) -> str:
        """Return the stored identity on an afserver (`afserver.Identity`); empty without one.

        Raises `OSError` only while the host has nothing left for it (`errors.is_exhausted`).
        """
        try:
            return read_regular(self.path / "render", MAX_FILE).decode("utf-8", "replace")
        except OSError as error:
            # Without the identity the server takes this agent for another one, and refuses its name
            # until it has given the earlier one up: an error that passes must not cost that.
            if is_exhausted(error):
                raise
            return ""

    def save_server_identity(self, text: str) -> None:
        """Store the identity on an afserver for the next agent. Raises `OSError`."""
        write_whole(self.path / "render", text)

    def remove_runs(self, kept: Collection[str]) -> None:
        """Delete all run folders but those with the names `kept`. Blocks on the disk."""
        for root in (self.runs, self.task_folders):
            with suppress(FileNotFoundError):
                remove_folders(str(path) for path in root.iterdir() if path.name not in kept)


@contextmanager
def open_state_dir(root: Path, name: str) -> Iterator[StateDir]:
    """Create, check and lock the state directory of the agent `name` below `root`.

    Blocks on the disk. Files of an earlier agent are kept. Raises `StoreInUse` if another agent of
    that name is running, and `StoreError` if the directory cannot be created, or if other users could
    replace it or a folder above it (`private_folder.find_unsafe`).
    """
    if not NAME_PATTERN.fullmatch(name):
        raise StoreError(root, f'the name "{name}" cannot be a folder: use letters, digits, . _ -')
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

"""Where a farm that is open on this machine can be found: a file for other commands of its user.

Below ``af_store_folder`` each user has a folder that only he can read. In it a farm has a folder
named after its port, which it locks while it is open, so that the file of one that was killed does
not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError
from trio_afrender.private_folder import find_unsafe, is_locked, lock_folder, make_private
from trio_afrender.safe_files import read_regular, write_whole
from trio_afrender.transport.address import NativeAddress

__all__ = ("FarmRecord", "farms_folder", "find_open_farms", "open_record")

_FILE = "farm.json"
_MAX_FILE = 64 * 1024
_MAX_FARMS = 1000


@attrs.frozen(slots=True, kw_only=True)
class FarmRecord:
    """The address and the token of an open farm."""

    host: str
    port: int
    token: str = attrs.field(repr=False)
    pid: int

    @property
    def address(self) -> NativeAddress:
        return NativeAddress(host=self.host, port=self.port)


def farms_folder(store: Path) -> Path:
    """The folder of this user's farms below a store folder."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return store / f"trio_afrender_farms-{user}"


@contextmanager
def open_record(folder: Path, record: FarmRecord) -> Iterator[Path]:
    """Write the file of a farm in `folder`, its own; yield the path. It is removed at the end.

    Raises `StoreError`, and `StoreInUse` if another farm has it. Blocking.
    """
    make_private(folder.parent, instead="another af_store_folder")
    make_private(folder, instead="another af_store_folder")
    with lock_folder(folder, "a farm of yours with this port is open already"):
        path = folder / _FILE
        try:
            write_whole(path, json.dumps(attrs.asdict(record)), mode=0o600)
        except OSError as error:
            raise StoreError.of(folder, error) from error
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink()


def find_open_farms(store: Path) -> list[FarmRecord]:
    """Return the farms of this user that are open, by port. What cannot be read does not count."""
    root = farms_folder(store)
    try:
        # Another user who could write here could have commands sent to a farm of his own.
        ours = not hasattr(os, "getuid") or root.lstat().st_uid == os.getuid()
        if find_unsafe(root) is not None or not ours:
            return []
        folders = sorted(root.iterdir())[:_MAX_FARMS]
    except OSError:
        return []
    found = []
    for folder in folders:
        try:
            if not is_locked(folder):
                continue
            fields = json.loads(read_regular(folder / _FILE, _MAX_FILE))
            record = FarmRecord(**fields)
        except (OSError, ValueError, TypeError):
            continue
        types = (type(record.host), type(record.port), type(record.token), type(record.pid))
        if types == (str, int, str, int):
            found.append(record)
    return found

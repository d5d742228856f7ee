"""Model of a disk with power failures: the calls of a program on a folder, and all states after a crash.

The calls are made for real and recorded. A file system guarantees only the content of a file up to its
last sync, and names up to the last sync of their folder. Of later writes any may be there, in any
order, whole or in part, or with zeros in their place.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

__all__ = ("CrashStates", "Disk")


@attrs.define
class _Inode:
    """The content of a file as of its last sync, and the writes since then."""

    synced: bytes = b""
    pending: list[tuple[int, bytes]] = attrs.field(factory=list)

    def full(self) -> bytes:
        content = bytearray(self.synced)
        for offset, data in self.pending:
            _put(content, offset, data)
        return bytes(content)

    def torn(self) -> Iterator[bytes]:
        """Yield possible contents after a crash: the writes cut at every byte, and with zeros in
        place of any one of them while later ones are complete."""
        content = bytearray(self.synced)
        yield bytes(content)
        for offset, data in self.pending:
            for length in range(1, len(data) + 1):
                part = bytearray(content)
                _put(part, offset, data[:length])
                yield bytes(part)
            _put(content, offset, data)
        for lost in range(len(self.pending)):
            content = bytearray(self.synced)
            for number, (offset, data) in enumerate(self.pending):
                _put(content, offset, bytes(len(data)) if number == lost else data)
            yield bytes(content)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


@attrs.frozen
class CrashStates:
    """The possible states of a folder after a crash: for each name one of these files, or none."""

    names: dict[str, tuple[_Inode | None, ...]]

    def contents(self, name: str) -> Iterator[bytes | None]:
        """Yield all possible contents of a name; None: it does not exist."""
        for inode in self.names.get(name, (None,)):
            if inode is None:
                yield None
            else:
                yield from inode.torn()

    def choose(self, name: str, dice: random.Random) -> bytes | None:
        """Return one of `contents` at random."""
        return dice.choice(list(self.contents(name)))


@attrs.define(eq=False)
class Disk:
    """Replaces `os` in a module under test, and the methods of `Path` that change names."""

    folder: Path
    room: int | None = None
    """Bytes that can be written until the disk is full; None: any number."""
    broken: bool = False
    """Whether syncs fail."""
    changed: Callable[[], None] = lambda: None
    """Called after each change, where a crash is possible."""
    _names: dict[str, list[_Inode | None]] = attrs.field(factory=dict)
    """For each name the files it had since its folder was last synced, the present one last."""
    _open: dict[int, _Inode | None] = attrs.field(factory=dict)

    def install(self, module: object, patch: pytest.MonkeyPatch) -> None:
        """Make `module` and `Path` work on this disk."""
        patch.setattr(module, "os", self)
        patch.setattr(Path, "unlink", lambda path, **_: self._unlink(path))

    def crash_states(self) -> CrashStates:
        """Return the possible states after a crash at this moment."""
        copies: dict[int, _Inode] = {}

        def copy(inode: _Inode | None) -> _Inode | None:
            if inode is None:
                return None
            return copies.setdefault(id(inode), _Inode(inode.synced, list(inode.pending)))

        return CrashStates({name: tuple(map(copy, all_)) for name, all_ in self._names.items()})

    # -- what a module calls --------------------------------------------------------------------

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and not path.exists():
            self._names.setdefault(path.name, [None]).append(_Inode())
            self.changed()
        descriptor = os.open(path, flags, mode)
        self._open[descriptor] = None if path == self.folder else self._current(path.name)
        return descriptor

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = bytes(data)[: self.room]
            self.room -= len(data)
        inode = self._open[descriptor]
        assert inode is not None
        inode.pending.append((offset, bytes(data)))
        self.changed()
        return os.pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int) -> None:
        self.fsync(descriptor)

    def fsync(self, descriptor: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode = self._open[descriptor]
        if inode is None:
            self._names = {name: [all_[-1]] for name, all_ in self._names.items()}
        else:
            inode.synced, inode.pending = inode.full(), []
        self.changed()

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]
        os.close(descriptor)

    def replace(self, old: Path, new: Path) -> None:
        inode = self._current(old.name)
        self._names.setdefault(new.name, [None]).append(inode)
        self._names[old.name].append(None)
        os.rename(old, new)  # noqa: PTH104 - `Path.rename` is not what is under test
        self.changed()

    def _unlink(self, path: Path) -> None:
        os.unlink(path)  # noqa: PTH108 - as above
        self._names[path.name].append(None)
        self.changed()

    def _current(self, name: str) -> _Inode | None:
        return self._names.get(name, [None])[-1]

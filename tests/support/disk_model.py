"""A disk that can lose its power: what a program did to a folder, and all that a crash may leave of it.

The calls are really made and noted. A file system promises no more than this: content up to the last
sync of a file, names up to the last sync of their folder. Of what came later each piece may be there,
in any order, or half of it, or zeros where it should be.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

__all__ = ("Disk", "Wreck")


@attrs.define
class _Inode:
    """A file's content as far as it was synced, and the writes since then."""

    synced: bytes = b""
    pending: list[tuple[int, bytes]] = attrs.field(factory=list)

    def full(self) -> bytes:
        content = bytearray(self.synced)
        for offset, data in self.pending:
            _put(content, offset, data)
        return bytes(content)

    def torn(self) -> Iterator[bytes]:
        """What may be there after a crash: the writes cut at every byte, and with zeros in the
        place of each of them while later ones are there."""
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
class Wreck:
    """What may be there after a crash: for each name one of these files, or none."""

    names: dict[str, tuple[_Inode | None, ...]]

    def contents(self, name: str) -> Iterator[bytes | None]:
        """All that may be found under a name; None: nothing."""
        for inode in self.names.get(name, (None,)):
            if inode is None:
                yield None
            else:
                yield from inode.torn()

    def throw(self, name: str, dice: random.Random) -> bytes | None:
        """One of `contents`."""
        return dice.choice(list(self.contents(name)))


@attrs.define(eq=False)
class Disk:
    """Stands for `os` in a module under test, and for `pathlib` where that changes names."""

    folder: Path
    room: int | None = None
    """Bytes that can be written until the disk is full; None: any number."""
    broken: bool = False
    """Whether syncs fail."""
    changed: Callable[[], None] = lambda: None
    """Called after each change: there the power may fail."""
    _names: dict[str, list[_Inode | None]] = attrs.field(factory=dict)
    """All that a name has stood for since its folder was synced, the present one last."""
    _open: dict[int, _Inode | None] = attrs.field(factory=dict)

    def install(self, module: object, patch: pytest.MonkeyPatch) -> None:
        """Have `module` and `Path` work on this disk."""
        patch.setattr(module, "os", self)
        patch.setattr(Path, "replace", lambda old, new: self._rename(old, new))
        patch.setattr(Path, "unlink", lambda path, **_: self._unlink(path))

    def wreck(self) -> Wreck:
        """What a crash in this moment may leave."""
        copies: dict[int, _Inode] = {}

        def copy(inode: _Inode | None) -> _Inode | None:
            if inode is None:
                return None
            return copies.setdefault(id(inode), _Inode(inode.synced, list(inode.pending)))

        return Wreck({name: tuple(map(copy, all_)) for name, all_ in self._names.items()})

    # -- what a module calls --------------------------------------------------------------------

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and not path.exists():
            self._names.setdefault(path.name, [None]).append(_Inode())
            self.changed()
        handle = os.open(path, flags, mode)
        self._open[handle] = None if path == self.folder else self._now(path.name)
        return handle

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = bytes(data)[: self.room]
            self.room -= len(data)
        inode = self._open[handle]
        assert inode is not None
        inode.pending.append((offset, bytes(data)))
        self.changed()
        return os.pwrite(handle, data, offset)

    def fdatasync(self, handle: int) -> None:
        self.fsync(handle)

    def fsync(self, handle: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode = self._open[handle]
        if inode is None:
            self._names = {name: [all_[-1]] for name, all_ in self._names.items()}
        else:
            inode.synced, inode.pending = inode.full(), []
        self.changed()

    def close(self, handle: int) -> None:
        del self._open[handle]
        os.close(handle)

    def _rename(self, old: Path, new: Path) -> Path:
        inode = self._now(old.name)
        self._names.setdefault(new.name, [None]).append(inode)
        self._names[old.name].append(None)
        os.rename(old, new)  # noqa: PTH104 - `Path.rename` is not what is under test
        self.changed()
        return new

    def _unlink(self, path: Path) -> None:
        os.unlink(path)  # noqa: PTH108 - as above
        self._names[path.name].append(None)
        self.changed()

    def _now(self, name: str) -> _Inode | None:
        return self._names.get(name, [None])[-1]

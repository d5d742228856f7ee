"""Find the files that a run leaves for the server, in bounded batches. Blocking.

A task may leave any number of files. Of each look into its folder no more is kept than one batch, and
what a run sends altogether is limited (`SentFiles`); the rest is counted.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import attrs

from trio_afrender.errors import is_exhausted
from trio_afrender.protocol.messages import TaskFile
from trio_afrender.safe_files import read_regular
from trio_afrender.tasklog.redact import Redactor

__all__ = ("MAX_FILE", "FileBatch", "SentFiles", "read_batch")

MAX_FILE = 100_000
"""Bytes; files of that size and more are not sent (Afanasy's limit for thumbnails)."""
MAX_BATCH = 256
MAX_BATCH_BYTES = 3 * 1024 * 1024
"""Of the files that are read at once."""
MAX_SCANNED = 100_000
"""Entries of the folder that are looked at."""
MAX_UNSTORED = 4 * 1024 * 1024
"""Bytes of a run's files that are kept in memory while the store's disk refuses them."""
UNFINISHED_SUFFIXES = (".part", ".tmp", ".partial")
SETTLE_TIME = 1.0
"""Seconds without a change after which a file of an unknown format counts as complete."""


@attrs.define(kw_only=True)
class SentFiles:
    """What a run has sent, and how much it may send (`config.SentAmounts`)."""

    most: int
    """Files."""
    most_bytes: int
    names: set[str] = attrs.field(factory=set)
    """As they are in the folder."""
    bytes: int = 0
    unstored: int = 0
    """Bytes of those that are in memory."""

    @property
    def full(self) -> bool:
        """Whether no further file may be sent, however small."""
        return len(self.names) >= self.most or self.bytes >= self.most_bytes

    def add(self, batch: FileBatch) -> None:
        """Count a batch that is sent now."""
        self.names |= batch.names
        self.bytes += batch.bytes
        self.unstored += sum(len(file.data) for file in batch.files)


@attrs.frozen(kw_only=True)
class FileBatch:
    """Files of a run to be sent next."""

    files: tuple[TaskFile, ...] = ()
    """Redacted; without content where it is stored (`file_spool`)."""
    names: frozenset[str] = frozenset()
    """As they are in the folder."""
    bytes: int = 0
    more: bool = False
    """Whether there are more that may be sent."""
    left_out: str = ""
    """A sentence about the files that are not sent, once the run has ended."""


def read_batch(
    folder: str,
    sent: SentFiles,
    redactor: Redactor,
    store: Callable[[Sequence[TaskFile]], None] | None,
    *,
    last: bool,
    owner: int | None = None,
) -> FileBatch:
    """Read the next files of the folder, by name; `last`: no process can write any more.

    Files of other users than `owner` are left out: a task may have linked them into its folder.

    While the run is running, files that may not be complete are passed over. `store` stores files
    durably, and may raise `OSError`: then their contents are in the batch. Raises `OSError` where the
    host has too few descriptors or too little memory to look.
    """
    if sent.full and not last:
        return FileBatch()
    counts = _Counts()
    room = min(MAX_BATCH, sent.most - len(sent.names))
    # One more than fits shows whether there are more.
    entries = heapq.nsmallest(max(0, room) + 1, _candidates(folder, sent, counts, owner))
    files, names, size = [], set[str](), 0
    for name in entries[:room]:
        path = os.path.join(folder, name)  # noqa: PTH118 - a text
        with _passing_over_removed():
            data = read_regular(path, MAX_FILE - 1, owner=owner)
            # Its age is taken after it was read, so that a change during the reading counts.
            if not last and not _is_complete(data, time.time() - os.stat(path).st_mtime):  # noqa: PTH116
                continue
            # No smaller one is looked for behind it: files are sent in the order of their names.
            if size + len(data) > min(MAX_BATCH_BYTES, sent.most_bytes - sent.bytes):
                break
            size += len(data)
            names.add(name)
            files.append(TaskFile(name=redactor.redact(name), data=redactor.cover(data)))
    batch = FileBatch(files=tuple(files), names=frozenset(names), bytes=size)
    if files and store is not None:
        try:
            store(files)
        except OSError as error:
            # Those that the disk refuses stay in memory, as long as they are few.
            if sent.unstored + size > MAX_UNSTORED:
                batch = FileBatch(
                    left_out=f"the store does not take them: {error.strerror or error}"
                )
        else:
            stored = (attrs.evolve(file, data=b"") for file in files)
            batch = attrs.evolve(batch, files=tuple(stored))
    count = len(batch.names)
    if count and len(entries) > count and len(sent.names) + count < sent.most:
        return attrs.evolve(batch, more=True)
    if not last:
        return attrs.evolve(batch, left_out="")
    return attrs.evolve(batch, left_out=_describe_left_out(batch, counts, sent))


@attrs.define
class _Counts:
    seen: int = 0
    found: int = 0
    large: int = 0
    foreign: int = 0


def _candidates(folder: str, sent: SentFiles, counts: _Counts, owner: int | None) -> Iterator[str]:
    """Yield the names of files that are neither sent nor too large nor another user's; count them."""
    with _passing_over_removed(), os.scandir(folder) as entries:
        for entry in islice(entries, MAX_SCANNED):
            counts.seen += 1
            name = entry.name
            # Nor links: one can name any file of the host.
            if name in sent.names or not entry.is_file(follow_symlinks=False):
                continue
            if name.startswith(".") or name.endswith(UNFINISHED_SUFFIXES):
                continue  # names that programs use for files they are still writing
            with _passing_over_removed():
                facts = entry.stat(follow_symlinks=False)
                if owner is not None and facts.st_uid != owner:
                    counts.foreign += 1
                    continue
                if facts.st_size >= MAX_FILE:
                    counts.large += 1
                    continue
                counts.found += 1
                yield name


@contextmanager
def _passing_over_removed() -> Iterator[None]:
    """Ignore that the task removed something, or put something else in its place, meanwhile."""
    try:
        yield
    except OSError as error:
        # A descriptor that the host does not have is no file that the task does not have.
        if is_exhausted(error):
            raise


def _describe_left_out(batch: FileBatch, counts: _Counts, sent: SentFiles) -> str:
    texts = []
    least = "at least " if counts.seen >= MAX_SCANNED else ""
    if (left := counts.found - len(batch.names)) > 0:
        limits = (
            f"the limits are {sent.most} files (sent.files)"
            f" and {sent.most_bytes} bytes (sent.file_bytes)"
        )
        done = len(sent.names) + len(batch.names)
        reason = batch.left_out or limits
        texts.append(f"{least}{left} files of the task were not sent, {done} were: {reason}")
    if counts.large:
        texts.append(f"{least}{counts.large} files of {MAX_FILE} bytes and more were not sent")
    if counts.foreign:
        texts.append(f"{least}{counts.foreign} files of other users were not sent")
    return "; ".join(texts)


def _is_complete(data: bytes, age: float) -> bool:
    """Whether a file that may still be written is complete; `age` is seconds since its last change."""
    # JPEG and PNG end with a marker of their own. Other formats are complete once they rest.
    if data.startswith(b"\xff\xd8"):
        return data.endswith(b"\xff\xd9")
    if data.startswith(b"\x89PNG"):
        return data.endswith(b"IEND\xaeB`\x82")
    return bool(data) and age >= SETTLE_TIME

"""Output of tasks: lines, windows, secrets, parsers, and the folder of a log."""

from __future__ import annotations

import random
import tempfile
import zlib
from pathlib import Path

from support.parsers import LOGS, NAMES, PARSERS, cut, follow, load, read

from fuzz.targets import Target
from trio_afrender.tasklog.head_tail import make_window
from trio_afrender.tasklog.line_splitter import LineBatcher
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.tasklog.segments import open_reader

__all__ = ("TARGETS",)

SECRETS = ("hush-hush", "hushhush", "ssssss", "\udcff\udcfe-xyz")
FOLDER = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())  # noqa: S108
"""The fastest place for files: a million of them are created."""
EXCERPT = 4000
"""Bytes of a recorded log in one valid input."""


def _make_rng(data: bytes) -> random.Random:
    """Make a generator that depends on the input alone."""
    return random.Random(zlib.crc32(data))  # noqa: S311 - must be repeatable


def lines(data: bytes) -> None:
    """For any cuts the joined batches are the decoded bytes."""
    rng = _make_rng(data)
    batcher = LineBatcher(piece=rng.choice((5, 16, 64 * 1024)))
    batches = []
    for chunk in cut(data, [rng.randrange(1 << 16) for _ in range(rng.randint(0, 6))]):
        batches += batcher.feed(chunk)
    batches += batcher.finish()
    assert "".join(batches) == data.decode("utf-8", "replace")


def window(data: bytes) -> None:
    """A window is never longer than its limit and never contains a secret."""
    rng = _make_rng(data)
    store = MemoryLogStore()
    store.append(data)
    limit = rng.choice((0, 1, 20, 100, 1000, 1 << 20))
    made = make_window(store, limit, Redactor(SECRETS))
    assert made.size == len(data)
    assert len(made.text) <= limit + 200, "the mark is added to the limit"
    assert not any(secret in made.text for secret in SECRETS)


def secrets(data: bytes) -> None:
    """For any pieces the redacted stream equals the redacted text."""
    rng = _make_rng(data)
    text = data.decode("utf-8", "surrogateescape")
    redactor = Redactor(SECRETS)
    shown, at = "", 0
    while at < len(text):
        size = rng.randint(1, 9)
        shown, at = shown + redactor.feed(text[at : at + size]), at + size
    shown += redactor.finish()
    assert shown == Redactor(SECRETS).redact(text)


def parsers(data: bytes) -> None:
    """A parser chosen at random: no output makes it raise, or its progress leave 0 to 100."""
    rng = _make_rng(data)
    made = load(rng.choice(PARSERS))()
    chunks = cut(data, [rng.randrange(1 << 16) for _ in range(rng.randint(0, 4))])
    _, percents = follow(made, chunks, frames=rng.choice((1, 1, 5)), folder="/none")
    assert all(0 <= percent <= 100 for percent in percents)


def folder(data: bytes) -> None:
    """A log's folder with unknown files."""
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="fuzz-") as name:
        for number, word in enumerate(data.split(b"\n")[:5]):
            text = word.replace(b"/", b"-").replace(b"\0", b"-")[:200]
            if text not in (b"", b".", b".."):
                Path(name, text.decode("utf-8", "surrogateescape")).write_bytes(b"x\n" * number)
        reader = open_reader(Path(name))
        size = reader.size()
        reader.read(0, 100)
        reader.missing(size)
        make_window(reader, 100)


def _make_excerpts() -> tuple[bytes, ...]:
    rng = random.Random(1)  # noqa: S311 - must be repeatable
    found = []
    for name in NAMES:
        data = read(name)
        start = rng.randrange(max(1, len(data) - EXCERPT))
        found += [data[:EXCERPT], data[start : start + EXCERPT]]
    assert found, LOGS
    return tuple(found)


EXCERPTS = _make_excerpts()
TEXT = ("a line\nhush-hush and hushhush\r\nsssssss\r" * 5).encode() + b"\xff\xfe-xyz \xe2\x82\xac\n"
FILE_NAMES = b"00000000000000000000.log\n00000000000000000004.log\n00000000000000000001-4-2.dropped\n00000000000000000005-8-1.lost"
TARGETS = {
    "lines of output": Target(
        run=lines, corpus=(TEXT, EXCERPTS[0], b"a\r\nb\rc\xf0\x9f\x98\x80" * 20)
    ),
    "windows of output": Target(run=window, corpus=(TEXT, TEXT * 20, b"x" * 3000)),
    "secrets in a stream": Target(run=secrets, corpus=(TEXT, b"hush-hush-hush-hush sssssssssss")),
    "parsers": Target(run=parsers, corpus=EXCERPTS, share=0.25),
    "folders of logs": Target(run=folder, corpus=(FILE_NAMES,), share=0.25),
}

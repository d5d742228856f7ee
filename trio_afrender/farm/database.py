"""The records of a farm in one SQLite file of its folder. Blocking; used in threads, one at a time.

A record is a row with a JSON text; `records` makes them and reads them. A batch is one transaction,
so that the file always holds the farm as it was after some batch, however the process ends. After a
power failure the last batches may be missing: they are not synced to the disk one by one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from trio_afrender.errors import StoreError, StoreInUse
from trio_afrender.safe_files import open_regular

__all__ = ("DamagedRecords", "Database", "RecordRows", "StoredRecords")

SpecText = Callable[[], str] | None

_NAME = "farm.sqlite3"
_APPLICATION = 0x41466172
"""Marks the file as one of a farm."""
_VERSION = 1
"""Of the tables and of the records in them. A program reads its own and older ones."""

_TABLES = (
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pool (id INTEGER PRIMARY KEY, data TEXT NOT NULL)",
    "CREATE TABLE users (id INTEGER PRIMARY KEY, data TEXT NOT NULL)",
    "CREATE TABLE renders (id INTEGER PRIMARY KEY, data TEXT NOT NULL)",
    "CREATE TABLE jobs (id INTEGER PRIMARY KEY, spec TEXT NOT NULL, data TEXT NOT NULL)",
    """CREATE TABLE blocks (job INTEGER, block INTEGER, spec TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (job, block)) WITHOUT ROWID""",
    """CREATE TABLE tasks (job INTEGER, block INTEGER, task INTEGER, data TEXT NOT NULL,
    PRIMARY KEY (job, block, task)) WITHOUT ROWID""",
    # Jobs that are deleted, until their texts are, too.
    "CREATE TABLE removed (job INTEGER PRIMARY KEY)",
)
_PUT_NODE = "INSERT OR REPLACE INTO {} VALUES (?, ?)"
# A record whose specification has not changed brings none: the old one stays.
_PUT_JOB = (
    "INSERT INTO jobs VALUES (?, coalesce(?, ''), ?) ON CONFLICT DO UPDATE SET"
    " spec = iif(excluded.spec = '', spec, excluded.spec), data = excluded.data"
)
_PUT_BLOCK = (
    "INSERT INTO blocks VALUES (?, ?, coalesce(?, ''), ?) ON CONFLICT DO UPDATE SET"
    " spec = iif(excluded.spec = '', spec, excluded.spec), data = excluded.data"
)


class DamagedRecords(StoreError):
    """The file is not what a farm has written. It stays as it is, unless the user has it moved."""

    def __init__(self, path: Path, problem: object) -> None:
        super().__init__(
            path, f"is damaged ({problem}); move it away, or have the farm do that (move_damaged)"
        )


@attrs.define(slots=True, kw_only=True)
class RecordRows:
    """What one batch writes.

    The text of a specification, which may be large, is made when it is written; None leaves the
    stored one as it is.
    """

    counters: list[tuple[str, int]] = attrs.field(factory=list)
    pool: str | None = None
    users: list[tuple[int, str]] = attrs.field(factory=list)
    renders: list[tuple[int, str]] = attrs.field(factory=list)
    jobs: list[tuple[int, SpecText, str]] = attrs.field(factory=list)
    blocks: list[tuple[int, int, SpecText, str]] = attrs.field(factory=list)
    tasks: list[tuple[int, int, int, str]] = attrs.field(factory=list)
    deleted_jobs: list[int] = attrs.field(factory=list)
    deleted_users: list[int] = attrs.field(factory=list)
    deleted_renders: list[int] = attrs.field(factory=list)


@attrs.frozen(slots=True, kw_only=True)
class StoredRecords:
    """Everything that a file holds, in the order of the ids."""

    path: Path
    counters: dict[str, int]
    pool: str | None
    users: list[str]
    renders: list[str]
    jobs: list[tuple[int, str, str]]
    blocks: list[tuple[int, int, str, str]]
    tasks: list[tuple[int, int, int, str]]
    removed: list[int]
    """Jobs that were deleted, and whose texts may still be there."""


class Database:
    """The file of one farm, open from `open` to `close`. Another farm cannot open it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.path: Path = folder.absolute() / _NAME
        self._connection: sqlite3.Connection | None = None

    def open(self) -> StoredRecords:
        """Open the file, made if there is none, and read it.

        Raises `StoreError`; among these `DamagedRecords` for a file that is not what was written, and
        `StoreInUse` for one that another farm has open.
        """
        try:
            # Made here, because SQLite would follow a link.
            os.close(open_regular(self.path, os.O_RDWR | os.O_CREAT))
        except OSError as error:
            raise StoreError.of(self.path, error) from error
        with ExitStack() as undo, self._explained():
            self._connection = sqlite3.connect(
                self.path, timeout=0.0, isolation_level=None, check_same_thread=False
            )
            undo.callback(self.close)
            execute = self._connection.execute

            def rows(query: str) -> list[tuple[int | str, ...]]:
                return execute(query).fetchall()

            # No other process reads the file, so the index of its log can stay in this one's memory.
            execute("PRAGMA locking_mode = EXCLUSIVE")
            execute("BEGIN EXCLUSIVE")
            execute("COMMIT")
            ((application,),) = execute("PRAGMA application_id").fetchall()
            ((version,),) = execute("PRAGMA user_version").fetchall()
            tables = rows("SELECT count(*) FROM sqlite_schema")
            if (application, version, tables) == (0, 0, [(0,)]):
                execute("BEGIN")
                for statement in _TABLES:
                    execute(statement)
                execute(f"PRAGMA application_id = {_APPLICATION}")
                execute(f"PRAGMA user_version = {_VERSION}")
                execute("COMMIT")
            elif application != _APPLICATION:
                raise StoreError(
                    self.path, "is a database of another program; choose another folder"
                )
            elif version > _VERSION:
                raise StoreError(
                    self.path,
                    f"was written by a newer version of this program (store version {version}, this"
                    f" one knows {_VERSION}); use that version, or choose another folder",
                )
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = NORMAL")
            ((verdict,), *_) = rows("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise DamagedRecords(self.path, verdict)
            pool = rows("SELECT data FROM pool")
            stored = StoredRecords(
                path=self.path,
                counters=dict(rows("SELECT name, value FROM counters")),  # type: ignore[arg-type]  # the types of the columns
                pool=str(pool[0][0]) if pool else None,
                users=[str(data) for (data,) in rows("SELECT data FROM users ORDER BY id")],
                renders=[str(data) for (data,) in rows("SELECT data FROM renders ORDER BY id")],
                jobs=rows("SELECT * FROM jobs ORDER BY id"),  # type: ignore[arg-type]  # as above
                blocks=rows("SELECT * FROM blocks ORDER BY job, block"),  # type: ignore[arg-type]  # as above
                tasks=rows("SELECT * FROM tasks"),  # type: ignore[arg-type]  # as above
                removed=[int(job) for (job,) in rows("SELECT job FROM removed")],
            )
            undo.pop_all()  # it stays open
            return stored

    def move_away(self, now: float) -> Path:
        """Close the file and give it and its log other names, with `now` (Unix time) in them.

        Returns the new path. Raises `StoreError`.
        """
        self.close()
        moved = self.path.with_name(f"{_NAME}.damaged-{now:.0f}")
        try:
            for suffix in ("-wal", "-shm", ""):
                old = Path(f"{self.path}{suffix}")
                if old.exists():
                    old.rename(f"{moved}{suffix}")
        except OSError as error:
            raise StoreError.of(self.path, error) from error
        return moved

    def write(self, rows: RecordRows) -> None:
        """Write a batch, all of it or nothing. Raises `StoreError`."""
        if self._connection is None:
            return
        with self._transaction(self._connection) as connection:
            for table, nodes in (("users", rows.users), ("renders", rows.renders)):
                connection.executemany(_PUT_NODE.format(table), nodes)
            connection.executemany(_PUT_NODE.format("counters"), rows.counters)
            if rows.pool is not None:
                connection.execute(_PUT_NODE.format("pool"), (1, rows.pool))
            jobs = ((job, spec and spec(), data) for job, spec, data in rows.jobs)
            blocks = ((*key, spec and spec(), data) for *key, spec, data in rows.blocks)
            connection.executemany(_PUT_JOB, jobs)
            connection.executemany(_PUT_BLOCK, blocks)
            connection.executemany("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?)", rows.tasks)
            for table, key, ids in (
                ("users", "id", rows.deleted_users),
                ("renders", "id", rows.deleted_renders),
                ("jobs", "id", rows.deleted_jobs),
                ("blocks", "job", rows.deleted_jobs),
                ("tasks", "job", rows.deleted_jobs),
            ):
                statement = f"DELETE FROM {table} WHERE {key} = ?"  # noqa: S608 - the names above
                connection.executemany(statement, ((each,) for each in ids))
            removed = ((job,) for job in rows.deleted_jobs)
            connection.executemany("INSERT OR REPLACE INTO removed VALUES (?)", removed)

    def forget_removed(self, jobs: Iterable[int]) -> None:
        """Note that the texts of deleted jobs are gone. Raises `StoreError`."""
        if self._connection is None:
            return
        with self._transaction(self._connection) as connection:
            keys = ((job,) for job in jobs)
            connection.executemany("DELETE FROM removed WHERE job = ?", keys)

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with self._explained():
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                # Some errors, as that of a full disk, have ended the transaction already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StoreInUse(self.path, "another farm has it open") from None
            if "no such" in str(error):  # a table or a column
                raise DamagedRecords(self.path, error) from None
            raise StoreError(self.path, str(error)) from error
        except sqlite3.DatabaseError as error:
            raise DamagedRecords(self.path, str(error)) from None
        except MemoryError as error:  # SQLite has it as well
            raise StoreError(self.path, "the host has no memory left") from error

    def close(self) -> None:
        """Close the file; what was written is in it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

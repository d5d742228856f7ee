"""The log of a command is written by another thread: whole, in order, and never in the way."""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trio_afrender.cli import logging_setup
from trio_afrender.cli.log_format import JsonLines
from trio_afrender.cli.logging_setup import logging_to, open_daemon_log
from trio_afrender.cli.terminal import print_line, send_lines_to
from trio_afrender.config.settings import LogSettings
from trio_afrender.errors import ConfigError

logger = logging.getLogger("trio_afrender.test")


def test_every_record_is_written_in_order_before_the_end() -> None:
    written: list[str] = []
    with logging_to(written.append, logging.INFO, times=False):
        for number in range(2000):
            logger.info("line %s", number)
        logger.debug("below the level")
    assert written == [f"INFO line {number}" for number in range(2000)]


def test_a_record_of_several_lines_is_written_line_by_line() -> None:
    written: list[str] = []
    with logging_to(written.append, logging.INFO, times=False):
        logger.warning("first\nsecond")
    assert written == ["WARNING first", "second"]


def test_a_terminal_that_blocks_holds_up_no_caller() -> None:
    written: list[str] = []
    free = threading.Event()

    def write(line: str) -> None:
        free.wait()
        written.append(line)

    limit = logging_setup._LIMIT
    with logging_to(write, logging.INFO, times=False):
        for number in range(limit + 1000):
            logger.info("%s", number)  # returns although nothing is written
        assert written == []
        free.set()
    assert limit <= len(written) <= limit + 1
    assert written[0] == "INFO 0"


@pytest.fixture(autouse=True)
def restored_lines() -> Iterator[None]:
    yield
    send_lines_to(None)


def read_json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_json_line_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    session = logging.getLogger("trio_afrender.agent.session")
    with open_daemon_log("agent", LogSettings(format="json"), logging.INFO):
        session.warning("no link to the server: %s; trying again", "refused")
        print_line("warning: from a command")
        error = ValueError("caf\u00e9")
        task = logging.getLogger("trio_afrender.task.run")
        task.error("task %s: internal error", "1.0.2", exc_info=error)
    print_line("trio_afrender: an error after the end")
    records = {record["message"]: record for record in read_json(capsys.readouterr().err)}
    link = records["no link to the server: refused; trying again"]
    printed, failed = records["from a command"], records["task 1.0.2: internal error"]
    last = records["an error after the end"]
    assert set(link) == {"time", "level", "event", "message", "fields", "program", "pid", "logger"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", link["time"])
    assert (link["level"], link["event"], link["fields"]) == ("warning", "link-lost", {"reason": "refused"})  # fmt: skip
    assert (link["program"], link["pid"]) == ("agent", os.getpid())
    assert (printed["event"], printed["message"]) == ("message", "from a command")
    assert printed["level"] == "warning"
    assert (failed["event"], failed["fields"]) == ("internal-error", {"task": "1.0.2"})
    assert failed["exception"].endswith("ValueError: caf\u00e9")
    assert last["level"] == "error"


def format_json(name: str, text: str, *values: object, error: Exception | None = None) -> str:
    """Return the line of a record that no logger gets: pytest reports what loggers get, and cannot
    send texts with lone surrogates between processes."""
    info = (type(error), error, None) if error is not None else None
    record = logging.LogRecord(name, logging.WARNING, "", 0, text, values, info)
    prepared = logging_setup._Dropping(queue.Queue()).prepare(record)
    [line] = JsonLines("agent").format(prepared)
    return line


def test_bytes_that_are_no_text_stay_one_line_of_ascii() -> None:
    name = "a\udcff\n\x1b[31m\x00.exr"
    logger_name = "trio_afrender.task.file_spool"
    line = format_json(logger_name, "run %s: %s is not sent: %s", "r1", name, "gone")
    assert line.isascii()
    assert "\n" not in line
    record = json.loads(line)
    assert record["fields"] == {"run": "r1", "file": "a\\xff\n\x1b[31m\x00.exr", "reason": "gone"}
    assert "a\\xff\n" in record["message"]
    error = ValueError("caf\udce9 \ud800")
    failed = json.loads(format_json("trio_afrender.x", "it failed", error=error))
    assert failed["exception"].endswith(r"ValueError: caf\xe9 \ud800")


def test_lines_of_text_have_a_date_and_say_their_zone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/Caracas")
    time.tzset()
    try:
        with open_daemon_log("agent", LogSettings(), logging.INFO):
            logger.info("text")
        with open_daemon_log("agent", LogSettings(), logging.INFO, times=False):
            logger.info("text")
    finally:
        monkeypatch.undo()
        time.tzset()
    first, second = capsys.readouterr().err.splitlines()
    stamp, _, rest = first.partition("Z ")
    assert rest == second == "INFO text"
    written = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal_gets_priorities(
    form: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    with open_daemon_log("agent", LogSettings(format=form), logging.DEBUG):
        logger.debug("d")
        logger.info("i")
        logger.warning("first\nsecond")
        logger.error("e")
        logger.critical("c")
    print_line("warning: printed")
    lines = capfd.readouterr().err.splitlines()
    priorities = "7 6 4 4 3 2 4" if form == "text" else "7 6 4 3 2 4"
    assert [line[:3] for line in lines] == [f"<{number}>" for number in priorities.split()]
    if form == "text":
        assert lines[1:4] == ["<6>i", "<4>first", "<4>second"]


def test_stderr_that_is_not_the_journal_gets_none(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with open_daemon_log("agent", LogSettings(), logging.INFO, times=False):
        logger.info("i")
    assert capfd.readouterr().err == "INFO i\n"


def test_a_file_is_divided_at_its_size_and_few_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    settings = LogSettings(file=path, file_bytes=64 * 1024, files=2)
    with open_daemon_log("agent", settings, logging.INFO):
        for number in range(5000):
            logger.info("line %05d %s", number, "x" * 60)
    print_line("printed")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(each.stat().st_size <= 64 * 1024 for each in tmp_path.iterdir())
    if sys.platform != "win32":  # has no modes
        assert all(each.stat().st_mode & 0o777 == 0o600 for each in tmp_path.iterdir())
    lines = [line for part in ("log.2", "log.1", "log") for line in (tmp_path / part).read_text().splitlines()]  # fmt: skip
    numbers = [int(line.split()[4]) for line in lines[:-1]]
    assert numbers == list(range(5000 - len(numbers), 5000))
    assert lines[-1].endswith("Z printed")
    # stderr has what the command prints, and not the records.
    assert capsys.readouterr().err == "printed\n"


def test_a_file_that_was_renamed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open_daemon_log("agent", LogSettings(file=path), logging.INFO):
        logger.info("one")
        wait_for_text(path, "one")
        path.rename(tmp_path / "old")
        logger.info("two")
        wait_for_text(path, "two")
        path.unlink()
        logger.info("three")
        wait_for_text(path, "three")
    assert "two" not in (tmp_path / "old").read_text()


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_link_stays_a_link_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "log").symlink_to(tmp_path / "there" / "log")
    settings = LogSettings(file=tmp_path / "log", file_bytes=64 * 1024, files=1)
    with open_daemon_log("agent", settings, logging.INFO):
        for _ in range(2000):
            logger.info("%s", "x" * 60)
    assert (tmp_path / "log").is_symlink()
    assert sorted(each.name for each in (tmp_path / "there").iterdir()) == ["log", "log.1"]


def test_a_file_without_older_ones_does_not_grow(tmp_path: Path) -> None:
    settings = LogSettings(file=tmp_path / "log", file_bytes=64 * 1024, files=0)
    with open_daemon_log("agent", settings, logging.INFO):
        for number in range(4000):
            logger.info("%s %s", number, "x" * 60)
    assert [each.name for each in tmp_path.iterdir()] == ["log"]
    assert settings.file is not None
    assert settings.file.stat().st_size <= 64 * 1024
    assert settings.file.read_text().splitlines()[-1].endswith(f"3999 {'x' * 60}")


def test_a_log_continues_after_a_file_that_could_not_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    settings = LogSettings(file=path, file_bytes=64 * 1024, files=0)
    remove, tried = os.unlink, threading.Event()

    def refuse(name: str) -> None:
        if os.fspath(name) != str(path):
            remove(name)
        elif tried.is_set():
            monkeypatch.undo()
            remove(name)
        else:
            tried.set()
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    monkeypatch.setattr(os, "unlink", refuse)
    with open_daemon_log("agent", settings, logging.INFO):
        for number in range(1000):
            logger.info("%s %s", number, "x" * 60)
    assert tried.is_set()
    assert path.read_text().splitlines()[-1].endswith(f"999 {'x' * 60}")
    assert capsys.readouterr().err.splitlines() == [
        f"warning: the log file {path}: Permission denied",
        f"the log file {path} is written again",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="no such links")
def test_a_link_to_a_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        (tmp_path / "log").symlink_to(f"/proc/self/fd/{writer}")  # as /dev/stdout
        with open_daemon_log("agent", LogSettings(file=tmp_path / "log"), logging.INFO):
            logger.info("one")
    finally:
        os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read().endswith("INFO one\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs there")
def test_files_that_lead_nowhere_are_errors(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    for name, problem in (
        ("loop", "Too many levels of symbolic links"),
        ("fifo", "No such device or address"),  # nothing reads from it: an open would wait for ever
    ):
        with pytest.raises(ConfigError, match=f"/{name}: {problem}"):
            with open_daemon_log("agent", LogSettings(file=tmp_path / name), logging.INFO):
                pass


def test_a_full_disk_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    with open_daemon_log("agent", LogSettings(file=Path("/dev/full")), logging.INFO):
        for _ in range(100):
            logger.info("lost")
    assert capsys.readouterr().err == "warning: the log file /dev/full: No space left on device\n"


IS_FOLDER = "Permission denied" if sys.platform == "win32" else "Is a directory"


@pytest.mark.parametrize(
    ("name", "problem"), [("", IS_FOLDER), ("no/folder/log", "No such file or directory")]
)
def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path, name: str, problem: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError, match=re.escape(f"--log-file {path}: {problem}")):
        with open_daemon_log("agent", LogSettings(file=path), logging.INFO):
            raise AssertionError("was opened")

"""The log of a command is written by another thread: whole, in order, and never in the way."""

from __future__ import annotations

import logging
import threading

from trio_afrender.cli import logging_setup
from trio_afrender.cli.logging_setup import logging_to

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

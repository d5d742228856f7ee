"""Every record of the log has a stable event, with named values, and the page lists all of them."""

from __future__ import annotations

import logging
import re

from support.log_events_table import PAGE, find_calls, find_constant_kinds, find_kinds, make_table

from trio_afrender.cli.log_events import EVENTS, KINDS, describe_record

VALUES = re.compile(r"%[-#0 +.\d]*[sdragf]")


def test_each_text_that_is_logged_has_an_event() -> None:
    """A new log call needs a line in `cli/log_events.py`; a reworded one a new key for its event."""
    missing = {
        (module, text) for module, text, _ in find_calls() if text not in EVENTS.get(module, {})
    }
    assert not missing, "add them to cli/log_events.py"


def test_no_event_is_left_of_a_text_that_is_logged_no_more() -> None:
    logged = {(module, text) for module, text, _ in find_calls()}
    assert {(module, text) for module, texts in EVENTS.items() for text in texts} == logged


def test_the_values_of_each_text_have_names() -> None:
    for module, text, count in find_calls():
        _, *names = EVENTS[module][text].split()
        assert len(names) == count == len(VALUES.findall(text)), (module, text)
        assert len(set(names)) == len(names), (module, text)


def test_names_of_events_are_words_with_hyphens() -> None:
    events = [words for texts in EVENTS.values() for words in texts.values()]
    for words in [*events, *KINDS.values()]:
        event, *names = words.split()
        assert re.fullmatch("[a-z]+(-[a-z]+)*", event)
        assert all(re.fullmatch("[a-z]+(_[a-z]+)*", name) for name in names)


def test_kinds_of_limited_lines_are_those_of_the_source() -> None:
    assert set(find_constant_kinds()) <= set(KINDS), "add them to cli/log_events.py"
    assert set(KINDS) <= set(find_kinds())


def test_the_page_has_the_table() -> None:
    assert f"\n{make_table()}\n" in PAGE.read_text()


def test_a_record_without_an_event_is_other() -> None:
    record = logging.LogRecord("trio_afrender.x", logging.INFO, "", 0, "new %s", ("a",), None)
    assert describe_record(record) == ("other", {})

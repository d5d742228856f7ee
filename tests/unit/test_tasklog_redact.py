"""No part of a secret is shown, however the text is split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.tasklog.redact import REDACTION_MARK, Redactor, find_masks, find_secrets

secret_lists = st.lists(st.text("ab", min_size=1, max_size=9), max_size=4)
texts = st.text("abc", max_size=60)
cuts = st.lists(st.integers(min_value=0, max_value=60), max_size=8)


def redact_slowly(text: str, secrets: list[str]) -> str:
    """Redact by marking single characters: a slow and simple reference."""
    owner = [-1] * len(text)
    spans = sorted(
        (at, at + len(secret))
        for secret in secrets
        if len(secret) >= 6
        for at in range(len(text))
        if text.startswith(secret, at)
    )
    number, reach = -1, 0
    for start, stop in spans:
        if start >= reach:
            number += 1
        reach = max(reach, stop)
        owner[start:stop] = [number] * (stop - start)
    shown, last = "", -1
    for char, number in zip(text, owner, strict=True):
        shown += char if number < 0 else REDACTION_MARK if number != last else ""
        last = number
    return shown


@given(texts, secret_lists, cuts)
def test_any_chunking_gives_the_same_text(text: str, secrets: list[str], at: list[int]) -> None:
    expected = redact_slowly(text, secrets)
    assert Redactor(secrets).redact(text) == expected
    redactor = Redactor(secrets)
    edges = [0, *sorted(min(cut, len(text)) for cut in at), len(text)]
    shown = "".join(redactor.feed(text[start:stop]) for start, stop in pairwise(edges))
    assert expected.startswith(shown)
    assert shown + redactor.finish() == expected
    assert redactor.feed(text) + redactor.finish() == expected


def test_text_that_cannot_be_a_secret_is_not_held_back() -> None:
    redactor = Redactor(["hunter22"])
    assert redactor.feed("login hun") == "login "
    assert redactor.feed("gry ") == "hungry "
    assert redactor.feed("hunter2") == ""
    assert redactor.feed("2!") == f"{REDACTION_MARK}!"
    assert redactor.finish() == ""


def test_the_longest_match_is_replaced() -> None:
    redactor = Redactor(["abcdef", "abcdefgh"])
    assert redactor.redact("abcdefgh abcdefg") == f"{REDACTION_MARK} {REDACTION_MARK}g"
    assert redactor.feed("abcdefg") == ""
    assert redactor.feed("h.") == f"{REDACTION_MARK}."


def test_short_and_empty_values_are_not_redacted() -> None:
    redactor = Redactor(["short", ""])
    assert redactor.feed("short") == "short"
    assert redactor.finish() == ""


@given(st.text("ab", max_size=12), secret_lists)
def test_open_ends(text: str, secrets: list[str]) -> None:
    redactor = Redactor(secrets)
    known = [secret for secret in secrets if len(secret) >= 6]
    ends = [
        at
        for at in range(len(text))
        if any(s.startswith(text[at:]) and s != text[at:] for s in known)
    ]
    assert redactor.open_end(text) == min(ends, default=len(text))
    starts = [
        at
        for at in range(1, len(text) + 1)
        if any(s.endswith(text[:at]) and s != text[:at] for s in known)
    ]
    assert redactor.open_start(text) == max(starts, default=0)


@pytest.mark.parametrize("name", ["AF_TOKEN", "DB_PASSWORD_2", "api_key", "Client_Secret"])
def test_secrets_are_found_by_name(name: str) -> None:
    patterns = ("*TOKEN*", "*PASSWORD*", "*SECRET*", "*_KEY")
    environment = {name: " hunter22\n", "PATH": "/usr/bin:/bin", "KEYBOARD": "qwertz"}
    assert find_secrets(environment, patterns) == ("hunter22",)


def test_secrets_are_listed_once_and_the_longest_first() -> None:
    environment = {"A_KEY": "123456", "B_KEY": "1234567", "C_KEY": "123456", "D_KEY": "12345"}
    assert find_secrets(environment, ["*_KEY"]) == ("1234567", "123456")


def test_data_keeps_its_length() -> None:
    redactor = Redactor(["hunter22", "hunter22-longer", "grüße-an"])
    data = b"\x00hunter22-longer\xffhunter22" + "grüße-an".encode()
    assert redactor.cover(data) == b"\x00" + b"*" * 15 + b"\xff" + b"*" * 8 + b"*" * 10


def test_masks_that_the_output_names() -> None:
    text = (
        "::add-mask::hunter22\n  ::add-mask::second one\r\n::add-mask::abc\nx ::add-mask::inside\n"
    )
    assert find_masks(text) == ("hunter22", "second one"), "not short ones, not in a line of text"
    redactor = Redactor(["known-secret"])
    assert redactor.learn(text)
    assert not redactor.learn(text)
    assert redactor.learned == ("hunter22", "second one")
    assert redactor.redact("hunter22 known-secret") == f"{REDACTION_MARK} {REDACTION_MARK}"
    redactor.learn("".join(f"::add-mask::secret-number-{n}\n" for n in range(10_000)))
    assert len(redactor.learned) == 200, "each costs a search in every text"
    assert not redactor.learn("::add-mask::one-secret-more")


@given(st.text("ab", max_size=40), st.lists(st.text("ab", min_size=6, max_size=9), max_size=4))
def test_spans_are_those_of_all_occurrences(text: str, secrets: list[str]) -> None:
    hidden: set[int] = set()
    for secret in secrets:
        for at in range(len(text)):
            if text.startswith(secret, at):
                hidden.update(range(at, at + len(secret)))
    found = Redactor(secrets).spans(text)
    assert [at for start, end in found for at in range(start, end)] == sorted(hidden)


def test_secrets_that_overlap_with_themselves_cost_no_more_than_others() -> None:
    """There are two hundred million occurrences; a list of them would take all memory of the host."""
    redactor = Redactor(["a" * length for length in range(6, 206)])
    text = "a" * 1_000_000
    assert redactor.spans(text) == [(0, len(text))]
    assert redactor.redact(f"-{text}-") == f"-{REDACTION_MARK}-"

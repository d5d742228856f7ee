r"""Rules that tell what kind of error a failed run had: its output and how it ended, to a class.

    [[rule]]
    class = "licence"
    texts = ["no seat of foo"]
    pattern = 'foo: error -\d+ .*seat'
    note = "All seats of foo are taken."
    host = false

Rules are text, TOML or JSON, so that they can be changed while the agent runs. `load_rules` makes
them from it, `classify` asks them. A rule holds if any of its texts or its pattern is found (upper and
lower case are the same, ^ and $ are ends of lines), or if the run ended by any of its exit codes
(``exit = [3]``) or signals. One that cannot be used is left out with a message, alone.

A class is a word that people and scripts can count by; the built-in ones are licence, disk-full,
missing-asset, out-of-memory, crash, network and setup. `host` says that the host is to blame: that
another one may well do better.
"""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from functools import cache
from typing import TypeVar

import attrs

from trio_afrender.errors import ConfigError
from trio_afrender.plugins.builtin_error_rules import BUILT_IN

__all__ = ("ErrorClass", "ErrorRule", "ErrorRules", "built_in", "classify", "load_rules")

MAX_TAIL = 64 * 1024
"""Characters of output that are looked at, counted from its end."""
MAX_LINE = 1000
"""Characters of a line that are looked at: patterns may take the square of it, or worse."""
MAX_RULES = 1000

T = TypeVar("T", int, str)

_CLASS = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?:[^()\\]|\\.)[+*]\??\)(?:[+*]|\{\d*,\})")
"""A group that repeats and ends with what repeats: a line that is not matched is tried for ever."""
_KINDS: dict[str, type] = {
    "class": str,
    "texts": list,
    "pattern": str,
    "note": str,
    "host": bool,
    "exit": list,
    "signal": list,
}
_MANY: dict[type, str] = {int: "numbers", str: "texts"}


@attrs.frozen(slots=True)
class ErrorClass:
    """What a failed run had."""

    name: str
    note: str
    """A sentence for the log, or empty."""
    host_to_blame: bool


@attrs.frozen(slots=True, kw_only=True)
class ErrorRule:
    """Holds when the pattern is found, or the run ended by one of the codes or signals."""

    found: ErrorClass
    texts: tuple[str, ...] = ()
    """In lower case."""
    pattern: re.Pattern[str] | None = None
    exits: frozenset[int] = frozenset()
    signals: frozenset[int] = frozenset()

    def holds(self, text: str, lowered: str, code: int | None, signal: int | None) -> bool:
        if code in self.exits or signal in self.signals:
            return True
        if any(one in lowered for one in self.texts):
            return True
        return self.pattern is not None and self.pattern.search(text) is not None


@attrs.frozen(slots=True)
class ErrorRules:
    """Rules in the order in which they are asked, and what is wrong with those left out."""

    rules: tuple[ErrorRule, ...] = ()
    problems: tuple[str, ...] = ()


def load_rules(text: str, *, name: str = "error rules") -> ErrorRules:
    """Make rules from TOML, or from JSON if the text begins with a brace; the built-in ones follow.

    With ``builtin = false`` there are only those of the text. Of a class the first rule that holds
    counts, so that a rule of the text overrides the built-in ones of its class. Raises `ConfigError`
    if the text is neither; `name` is what messages call it.
    """
    table = _parse(text, name)
    listed = table.pop("rule", [])
    builtin = table.pop("builtin", True)
    problems = [f'{name}: unknown key "{key}"' for key in table]
    if not isinstance(builtin, bool):
        problems.append(f"{name}: builtin must be true or false")
    if not isinstance(listed, list):
        raise ConfigError(f"{name}: rule must be a list of tables, [[rule]]")
    if len(listed) > MAX_RULES:
        problems.append(f"{name}: only the first {MAX_RULES} of {len(listed)} rules are used")
    rules = []
    for number, one in enumerate(listed[:MAX_RULES], 1):
        try:
            rules.append(_make_rule(one))
        except ValueError as error:
            problems.append(f"{name}: rule {number} is left out: {error}")
    if builtin is not False:
        rules.extend(built_in().rules)
    return ErrorRules(tuple(rules), tuple(problems))


@cache
def built_in() -> ErrorRules:
    """The rules for those who have none of their own."""
    listed = tomllib.loads(BUILT_IN)["rule"]
    return ErrorRules(tuple(_make_rule(one) for one in listed))


def classify(
    rules: ErrorRules,
    tail: str,
    exit_code: int | None = None,
    signal: int | None = None,
    *,
    killed_by_us: bool = False,
) -> list[ErrorClass]:
    """What a failed run had, each class once, in the order of the rules; empty when nobody knows.

    `tail` is the end of its output. Nothing is found in a run that we have killed ourselves: why
    it ended is known then. Patterns of users run here and may take long in spite of the limits
    on what they see, so call this where that harms nobody.
    """
    if killed_by_us:
        return []
    text = _clip(tail)
    lowered = text.lower()
    found: dict[str, ErrorClass] = {}
    for rule in rules.rules:
        if rule.found.name not in found and rule.holds(text, lowered, exit_code, signal):
            found[rule.found.name] = rule.found
    return list(found.values())


def _clip(tail: str) -> str:
    lines = tail[-MAX_TAIL:].replace("\r", "\n").split("\n")
    return "\n".join(line if len(line) <= MAX_LINE else line[:MAX_LINE] for line in lines)


def _parse(text: str, name: str) -> dict[str, object]:
    try:
        table = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: {error}") from None
    return dict(table)


def _make_rule(item: object) -> ErrorRule:
    """Raises ValueError with a sentence that says what is wrong."""
    if not isinstance(item, dict):
        raise ValueError("it is no table")  # noqa: TRY004 - what people write, not a call
    for key, value in item.items():
        kind = _KINDS.get(key)
        if kind is None:
            raise ValueError(f'unknown key "{key}"')
        if not isinstance(value, kind):
            raise ValueError(f"{key} must be {_name(kind)}")  # noqa: TRY004 - as above
    word = item.get("class", "")
    if not _CLASS.fullmatch(word):
        raise ValueError(f'class must be a word such as "disk-full", got "{word}"')
    texts = tuple(sorted(text.lower() for text in _listed(item, "texts", str)))
    exits, signals = _listed(item, "exit", int), _listed(item, "signal", int)
    pattern = item.get("pattern", "")
    if not (texts or pattern or exits or signals):
        raise ValueError("it needs texts, a pattern, exit codes or signals")
    return ErrorRule(
        found=ErrorClass(word, item.get("note", ""), item.get("host", False)),
        texts=texts,
        pattern=_compile(pattern) if pattern else None,
        exits=exits,
        signals=signals,
    )


def _name(kind: type) -> str:
    return {str: "a text", bool: "true or false"}.get(kind, "a list")


def _listed(item: dict[str, object], key: str, kind: type[T]) -> frozenset[T]:
    listed = item.get(key, [])
    if not isinstance(listed, list) or not all(type(one) is kind for one in listed):
        raise ValueError(f"{key} must be a list of {_MANY[kind]}")
    if not all(map(str, listed)):
        raise ValueError(f"{key} has an empty text, which is found everywhere")
    return frozenset(listed)


def _compile(pattern: str) -> re.Pattern[str]:
    if _NESTED.search(pattern):
        raise ValueError(f"pattern {pattern!r} repeats what repeats, which may take for ever")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what a set may mean one day
            made = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from None
    if made.search(""):
        raise ValueError(f"pattern {pattern!r} is found everywhere")
    return made

r"""Error classes of failed runs, derived by rules from the exit status and the end of the output.

    [[rule]]
    class = "licence"
    texts = ["no seat of foo"]
    pattern = 'foo: error -\d+ .*seat'
    note = "All seats of foo are taken."
    host = false

Rules are TOML or JSON text, so that a studio can change them while the agent runs. A rule matches
if one of its texts or its pattern occurs in the output (case is ignored, ^ and $ match at line
ends), or if the run ended with one of its exit codes (``exit = [3]``) or signals. A rule that cannot
be used is left out with a message; the others stay in use.

A class is a word that people and scripts can count; the built-in ones are licence, disk-full,
missing-asset, out-of-memory, crash, network and setup. `host` states that the host is the cause, so
another host may succeed.

`load_rules` parses rules, `classify` applies them, `explain_end` does both for a run's log. All of it
is to run in the plugin host: a studio's patterns are as little trusted as its parsers.
"""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from functools import cache
from pathlib import Path
from typing import TypeVar

import attrs

from trio_afrender.errors import ConfigError
from trio_afrender.tasklog.interfaces import LogReader

__all__ = (
    "ErrorClass",
    "ErrorRule",
    "ErrorRules",
    "built_in",
    "classify",
    "explain_end",
    "load_rules",
)

MAX_TAIL = 64 * 1024
"""Characters of output that rules see, counted from its end; `explain_end` reads as many bytes."""
MAX_LINE = 1000
"""Characters of a line that rules see: a pattern's time may grow with their square or faster."""
MAX_RULES = 1000

T = TypeVar("T", int, str)

_BUILTIN_FILE = Path(__file__).with_name("builtin_error_rules.toml")
_CLASS = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?:[^()\\]|\\.)[+*]\??\)(?:[+*]|\{\d*,\})")
"""A repeated group that ends with a repetition: backtracking on a line that does not match takes
time exponential in the length of the line."""
_KINDS: dict[str, type] = {
    "class": str,
    "texts": list,
    "pattern": str,
    "note": str,
    "host": bool,
    "exit": list,
    "signal": list,
}
_PLURALS: dict[type, str] = {int: "numbers", str: "texts"}


@attrs.frozen(slots=True)
class ErrorClass:
    """The class of error that a failed run had."""

    name: str
    note: str
    """A sentence for the log, or empty."""
    host_is_cause: bool


@attrs.frozen(slots=True, kw_only=True)
class ErrorRule:
    """Matches output that has a text or the pattern, or a run that ended by a code or signal."""

    found: ErrorClass
    texts: tuple[str, ...] = ()
    """In lower case."""
    pattern: re.Pattern[str] | None = None
    exits: frozenset[int] = frozenset()
    signals: frozenset[int] = frozenset()

    def matches(self, text: str, lowered: str, code: int | None, signal: int | None) -> bool:
        """Whether the rule applies to output `text`, also given in lower case, and an exit status."""
        if code in self.exits or signal in self.signals:
            return True
        if any(one in lowered for one in self.texts):
            return True
        return self.pattern is not None and self.pattern.search(text) is not None


@attrs.frozen(slots=True)
class ErrorRules:
    """Rules in the order in which they are tried, and the problems of those left out."""

    rules: tuple[ErrorRule, ...] = ()
    problems: tuple[str, ...] = ()


def load_rules(text: str, *, name: str = "error rules") -> ErrorRules:
    """Parse rules from TOML, or from JSON if the text begins with a brace; append the built-in ones.

    ``builtin = false`` in the text leaves the built-in rules out. Of each class the first matching
    rule counts, so a rule of the text overrides the built-in ones of its class. Raises `ConfigError`
    if the text is neither TOML nor JSON; `name` denotes it in messages.
    """
    try:
        parsed = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: {error}") from None
    table = dict(parsed)
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
    for number, item in enumerate(listed[:MAX_RULES], 1):
        try:
            rules.append(_make_rule(item))
        except ValueError as error:
            problems.append(f"{name}: rule {number} is left out: {error}")
    if builtin is not False:
        rules.extend(built_in().rules)
        problems.extend(built_in().problems)
    return ErrorRules(tuple(rules), tuple(problems))


@cache
def built_in() -> ErrorRules:
    """The built-in rules. Read from their file at the first call: most hosts never need them."""
    try:
        text = _BUILTIN_FILE.read_text(encoding="utf-8")
    except OSError as error:  # the package was replaced or removed while the agent runs
        return ErrorRules((), (f"the built-in error rules cannot be read: {error}",))
    return ErrorRules(tuple(_make_rule(item) for item in tomllib.loads(text)["rule"]))


def classify(
    rules: ErrorRules,
    tail: str,
    exit_code: int | None = None,
    signal: int | None = None,
    *,
    killed_by_us: bool = False,
) -> list[ErrorClass]:
    """The classes of a failed run, each once, in the order of the rules; empty if no rule matches.

    `tail` is the end of its output. The result is empty for a run that the agent killed: the
    reason for its end is known then. Patterns of users run here and may take long in spite of the
    limits on their input, so call this only where a time limit applies.
    """
    if killed_by_us:
        return []
    # A progress bar redraws its line with \r: each of its states counts as a line.
    lines = tail[-MAX_TAIL:].replace("\r", "\n").split("\n")
    text = "\n".join(line[:MAX_LINE] for line in lines)
    lowered = text.lower()
    found: dict[str, ErrorClass] = {}
    for rule in rules.rules:
        if rule.found.name not in found and rule.matches(text, lowered, exit_code, signal):
            found[rule.found.name] = rule.found
    return list(found.values())


_Stamp = tuple[str, int, int]
"""Path, modification time in ns, size: a file with the same stamp is not read again."""
_loaded: dict[_Stamp, ErrorRules] = {}


def explain_end(
    reader: LogReader, rules_file: str, code: int | None, signal: int | None
) -> tuple[tuple[ErrorClass, ...], tuple[str, ...]]:
    """The error classes of a run, from its log and exit status, and the problems of the rules.

    `rules_file` is the path of a studio's rules, read again when it has changed; empty: the
    built-in rules alone. A file that cannot be read is one of the problems, and the built-in rules
    are applied.
    """
    rules = _read_rules(rules_file) if rules_file else built_in()
    size = reader.size()
    data = reader.read(max(0, size - MAX_TAIL), MAX_TAIL).data
    found = classify(rules, data.decode("utf-8", "replace"), code, signal)
    return tuple(found), rules.problems


def _read_rules(path: str) -> ErrorRules:
    try:
        facts = Path(path).stat()
        stamp = (path, facts.st_mtime_ns, facts.st_size)
        if stamp not in _loaded:
            text = Path(path).read_text(encoding="utf-8")
            _loaded.clear()  # a process has one rules file, whose former states are of no use
            _loaded[stamp] = load_rules(text, name=path)
        return _loaded[stamp]
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        problem = f"{path}: {error}: the built-in rules are used"
        return ErrorRules(built_in().rules, (problem, *built_in().problems))


def _make_rule(item: object) -> ErrorRule:
    """Raises ValueError with a sentence for a person."""
    if not isinstance(item, dict):
        raise ValueError("it is no table")  # noqa: TRY004 - about a file's text, not an argument
    for key, value in item.items():
        kind = _KINDS.get(key)
        if kind is None:
            raise ValueError(f'unknown key "{key}"')
        if not isinstance(value, kind):
            wanted = {str: "a text", bool: "true or false"}.get(kind, "a list")
            raise ValueError(f"{key} must be {wanted}")  # noqa: TRY004 - as above
    word = item.get("class", "")
    if not _CLASS.fullmatch(word):
        raise ValueError(f'class must be a word such as "disk-full", got "{word}"')
    texts = tuple(sorted(text.lower() for text in _read_list(item, "texts", str)))
    exits, signals = _read_list(item, "exit", int), _read_list(item, "signal", int)
    pattern = item.get("pattern", "")
    if not (texts or pattern or exits or signals):
        raise ValueError("it needs texts, a pattern, exit codes or signals")
    return ErrorRule(
        found=ErrorClass(word, item.get("note", ""), item.get("host", False)),
        texts=texts,
        pattern=_compile_pattern(pattern) if pattern else None,
        exits=exits,
        signals=signals,
    )


def _read_list(item: dict[str, object], key: str, kind: type[T]) -> frozenset[T]:
    listed = item.get(key, [])
    # By exact type: a bool is an int to isinstance.
    if not isinstance(listed, list) or not all(type(one) is kind for one in listed):
        raise ValueError(f"{key} must be a list of {_PLURALS[kind]}")
    if not all(map(str, listed)):
        raise ValueError(f"{key} has an empty text, which matches everything")
    return frozenset(listed)


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    if _NESTED.search(pattern):
        raise ValueError(
            f"pattern {pattern!r} repeats a repetition, which may take an unlimited time"
        )
    try:
        with warnings.catch_warnings():
            # "Possible nested set": about syntax that a later version of Python may read otherwise.
            warnings.simplefilter("ignore", FutureWarning)
            made = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from None
    if made.search(""):
        raise ValueError(f"pattern {pattern!r} matches everything")
    return made

r"""Error classes of failed runs, derived by rules from the exit status and the end of the output.

    [[rule]]
    class = "licence"
    texts = ["no seat of foo"]
    pattern = 'foo: error -\d+ .*seat'
    unless = ['demo seat']
    note = "All seats of foo are taken."
    host = false

Rules are TOML or JSON text, so that a studio can change them while the agent runs. A rule matches
if one of its texts or patterns occurs in the output (case is ignored, ^ and $ match at line ends)
or if one line has a pattern of each list in `all_of`, as whole words (``all_of = [["seat", "seats"],
["taken", "gone"]]``), or if the run ended with one of its exit codes (``exit = [3]``) or signals. Lines
in which a pattern of `unless` occurs do not count. With ``words = true`` paths, names in quotes and
commands that a shell repeats are not searched, and texts count as whole words only. A rule that
cannot be used is left out with a message; the others stay in use.

A class is a word that people and scripts can count; the built-in ones are licence, disk-full,
permission, missing-asset, out-of-memory, crash, network and setup. `host` states that the host is the
cause, so another host may succeed. A found class quotes the line that matched.

`load_rules` parses rules, `classify` applies them, `explain_end` does both for a run's log. All of it
is to run in the plugin host: a studio's patterns are as little trusted as its parsers.
"""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import attrs

from trio_afrender.errors import ConfigError
from trio_afrender.plugins.interfaces import ErrorClass
from trio_afrender.tasklog.interfaces import LogReader
from trio_afrender.text import without_escapes

__all__ = (
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
MAX_COUNTED = 256 * 1024 * 1024
"""Bytes of output in which lines are counted, to number those of its end."""
COUNTED_AT_ONCE = 1024 * 1024
CONSEQUENCE = "crash"
CAUSES_OF_CRASHES = ("licence", "out-of-memory", "disk-full", "setup")
"""Classes that explain a crash: a line that is about one of them is the cause, even if the parser
decided by the line about the crash."""

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
    "all_of": list,
    "unless": list,
    "words": bool,
    "note": str,
    "host": bool,
    "exit": list,
    "signal": list,
}
_PLURALS: dict[type, str] = {int: "numbers", str: "texts"}
_NAMES = re.compile(
    r"""
    ^[ \t]*(?:\+{1,3}\ |(?:running|executing|launching|command(?:\ line)?)\b[^\n]{0,20}:\ )[^\n]*
    | (?<!\w) (?: "[^"\n]*" | '[^'\n]*' ) (?!\w)
    | \b [a-z][a-z0-9+.-]{1,20} :// [^\s"'<>]*
    | (?<!\w) (?: [a-z]: [\\/] | \\\\ | ~?/ | \.{1,2}/ ) [^\s"'<>|,;()]*
    | \b [\w.-]{1,100} [/\\] [^\s"'<>|,;()]* \.\w{2,8} \b
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
"""Commands that a shell or a wrapper repeats, texts in quotes, URLs and paths."""
_QUOTED_NAME = re.compile(
    r"""
    (?: [/\\~] | \.{1,2}[/\\] | [a-z]:[\\/] | [a-z]+:// ) .*
    | \S* [/\\] \S*
    | (?: .* [/\\] .* | \S+ (?:\ \S+){0,3} ) \.\w{1,8}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What stands in quotes and is a path or the name of a file, not a message."""


class _Output:
    """The end of a run's output. `text` and `words` have the same positions."""

    def __init__(self, tail: str, first_line: int) -> None:
        lines: list[str] = []
        numbers: list[int] = []
        for number, line in enumerate(without_escapes(tail[-MAX_TAIL:]).split("\n"), first_line):
            # A progress bar redraws its line with \r: each of its states is searched like a line.
            states = line.removesuffix("\r").split("\r")
            lines.extend(state[:MAX_LINE] for state in states)
            numbers.extend([number] * len(states))
        self.text: str = "\n".join(lines)
        self.lowered: str = _lower(self.text)
        self._numbers = numbers if first_line else ()

    @cached_property
    def words(self) -> str:
        """The text with a filler in place of names and paths, which are not about the error."""
        return _NAMES.sub(_hide, self.text)

    @cached_property
    def lowered_words(self) -> str:
        return _lower(self.words)

    def line_at(self, position: int) -> tuple[int, int]:
        """Start and end of the line at a position."""
        end = self.text.find("\n", position)
        return self.text.rfind("\n", 0, position) + 1, len(self.text) if end < 0 else end

    def quote(self, found: ErrorClass, position: int) -> ErrorClass:
        """Return the class with the line at a position; a negative one is none."""
        if position < 0:
            return found
        number = self._numbers[self.text.count("\n", 0, position)] if self._numbers else 0
        start, end = self.line_at(position)
        return attrs.evolve(found, line=number, quote=self.text[start:end].strip())


def _lower(text: str) -> str:
    """Like `str.lower`, with as many characters: the lower case of a few has two."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower()[0] for c in text)


def _hide(found: re.Match[str]) -> str:
    text = found.group()
    if text[0] in "\"'" and not _QUOTED_NAME.fullmatch(text[1:-1]):
        return text[0] + _NAMES.sub(_hide, text[1:-1]) + text[-1]  # a message, with names maybe
    return "\0" * len(text)


@attrs.frozen(slots=True, kw_only=True)
class ErrorRule:
    """Matches output that has a text or a pattern, or a run that ended by a code or signal."""

    found: ErrorClass
    texts: tuple[str, ...] = ()
    """In lower case."""
    patterns: tuple[tuple[re.Pattern[str], ...], ...] = ()
    """Of each tuple the first one matches if the others match in the same line."""
    unless: re.Pattern[str] | None = None
    """The rule does not count in lines in which this occurs."""
    words: bool = False
    """Whether names and paths are not searched, and texts match whole words only."""
    exits: frozenset[int] = frozenset()
    signals: frozenset[int] = frozenset()

    def find(self, output: _Output) -> int:
        """The position of the first match in the output, or -1."""
        text = output.words if self.words else output.text
        lowered = output.lowered_words if self.words else output.lowered
        first = len(text) + 1
        for wanted in self.texts:
            # Only before the best match so far: the first line that matches is the one to quote.
            at = lowered.find(wanted, 0, first)
            while at >= 0 and not self._counts(output, lowered, at, len(wanted)):
                at = lowered.find(wanted, at + 1, first)
            first = at if at >= 0 else first
        for pattern, *others in self.patterns:
            match = pattern.search(text)
            while match and match.start() < first:
                start, end = output.line_at(match.start())
                if not self._is_exempt(output, match.start()) and all(
                    other.search(text, start, end) for other in others
                ):
                    first = match.start()
                else:
                    match = pattern.search(text, max(end, match.start() + 1))
        return first if first <= len(text) else -1

    def _counts(self, output: _Output, lowered: str, at: int, length: int) -> bool:
        if self.words:
            around = lowered[at - 1 : at] + lowered[at + length : at + length + 1]
            if any(char.isalnum() or char in "_/\\" for char in around):
                return False
        return not self._is_exempt(output, at)

    def _is_exempt(self, output: _Output, at: int) -> bool:
        if self.unless is None:
            return False
        return self.unless.search(output.text, *output.line_at(at)) is not None


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


def built_in() -> ErrorRules:
    """The built-in rules. Read from their file at the first call: most hosts never need them."""
    try:
        return _read_built_in()
    # The package was replaced or removed while the agent runs, or no descriptor is free for a moment.
    except OSError as error:
        return ErrorRules((), (f"the built-in error rules cannot be read: {error}",))


@cache
def _read_built_in() -> ErrorRules:
    """Raises `OSError`, which is not remembered."""
    text = _BUILTIN_FILE.read_text(encoding="utf-8")
    return ErrorRules(tuple(_make_rule(item) for item in tomllib.loads(text)["rule"]))


def classify(
    rules: ErrorRules,
    tail: str,
    exit_code: int | None = None,
    signal: int | None = None,
    *,
    first_line: int = 1,
) -> list[ErrorClass]:
    """The classes of a failed run, each once, in the order of the rules; empty if no rule matches.

    `tail` is the end of its output, `first_line` the number of the tail's first line, 0 if that is
    unknown. Patterns of users run here and may take long in spite of the limits on their input, so
    call this only where a time limit applies.
    """
    output = _Output(tail, first_line)
    found: dict[str, ErrorClass] = {}
    for rule in rules.rules:
        name = rule.found.name
        if name not in found and (position := rule.find(output)) >= 0:
            found[name] = output.quote(rule.found, position)
        elif name not in found and (exit_code in rule.exits or signal in rule.signals):
            found[name] = rule.found
    return list(found.values())


_Stamp = tuple[str, int, int]
"""Path, modification time in ns, size: a file with the same stamp is not read again."""
_loaded: dict[_Stamp, ErrorRules] = {}


def explain_end(
    reader: LogReader,
    rules_file: str,
    code: int | None,
    signal: int | None,
    *,
    deciding: tuple[int, str] = (0, ""),
    upto: int | None = None,
    last_lines: int = 0,
) -> tuple[tuple[ErrorClass, ...], tuple[str, ...]]:
    """The error classes of a run, from its log and exit status, and the problems of the rules.

    `rules_file` is the path of a studio's rules, read again when it has changed; empty: the
    built-in rules alone. A file that cannot be read is one of the problems, and the built-in rules
    are applied. `deciding` is the line by which the parser decided, with its number: its classes
    come first. Of the log only what precedes the offset `upto` counts, None: all; and of that only
    the last lines, 0: all.
    """
    rules = _read_rules(rules_file) if rules_file else built_in()
    found = classify(rules, deciding[1], first_line=deciding[0]) if deciding[1] else []
    size = reader.size() if upto is None else min(upto, reader.size())
    start, data = _read_end(reader, size)
    skipped = _start_of_last(data, last_lines) if last_lines else 0
    names = {each.name for each in found}
    tail = data[skipped:].decode("utf-8", "replace")
    others = [each for each in classify(rules, tail, code, signal) if each.name not in names]
    if any(each.line for each in others):
        # Only now, because all of the log is read for it.
        number = _count_lines(reader, start + skipped)
        # 0 stays 0: the number is unknown.
        others = [
            attrs.evolve(each, line=number and each.line and each.line + number - 1)
            for each in others
        ]
    if names == {CONSEQUENCE}:
        causes = [each for each in others if each.name in CAUSES_OF_CRASHES]
        found = [*causes, *found, *(each for each in others if each not in causes)]
    else:
        found += others
    return tuple(found), rules.problems


def _read_end(reader: LogReader, size: int) -> tuple[int, bytes]:
    """The last `MAX_TAIL` bytes before the offset `size`, and their offset; less after a gap."""
    start = at = max(0, size - MAX_TAIL)
    data = b""
    while at < size:
        chunk = reader.read(at, size - at)
        if chunk.offset > at:
            start, data = chunk.offset, b""  # bytes are missing: lines before and after do not join
        data += chunk.data
        if not chunk.data:
            break
        at = chunk.end
    return start, data


def _count_lines(reader: LogReader, upto: int) -> int:
    """The number of the line at the offset `upto`, from 1; 0 if the log is too long to be counted."""
    missing = reader.missing(upto)
    if upto - missing.bytes > MAX_COUNTED:
        return 0
    count, at = 1 + missing.lines, 0
    while at < upto:
        chunk = reader.read(at, min(COUNTED_AT_ONCE, upto - at))
        if not chunk.data:
            break
        at = chunk.end
        count += chunk.data.count(b"\n", 0, max(0, upto - chunk.offset))
    return count


def _start_of_last(data: bytes, lines: int) -> int:
    """The offset in `data` of its last lines."""
    start = len(data.rstrip(b"\r\n"))
    for _ in range(lines):
        start = data.rfind(b"\n", 0, start)
        if start < 0:
            return 0
    return start + 1


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
    texts = tuple(sorted(_lower(text) for text in _read_list(item, "texts", str)))
    exits, signals = _read_list(item, "exit", int), _read_list(item, "signal", int)
    pattern, all_of = item.get("pattern", ""), item.get("all_of", [])
    if not (texts or pattern or all_of or exits or signals):
        raise ValueError("it needs texts, a pattern, exit codes or signals")
    if not all(isinstance(words, list) and words for words in all_of):
        raise ValueError("all_of must be a list of lists of texts")
    patterns: list[tuple[re.Pattern[str], ...]] = []
    if pattern:
        patterns.append((_compile_pattern(pattern),))
    if all_of:
        lists = [_read_list({"all_of": words}, "all_of", str) for words in all_of]
        whole_words = (rf"(?<!\w)(?:{_join(words)})(?!\w)" for words in lists)
        patterns.append(tuple(map(_compile_pattern, whole_words)))
    unless = _read_list(item, "unless", str)
    return ErrorRule(
        found=ErrorClass(word, item.get("note", ""), item.get("host", False)),
        texts=texts,
        patterns=tuple(patterns),
        unless=_compile_pattern(_join(unless)) if unless else None,
        words=item.get("words", False),
        exits=exits,
        signals=signals,
    )


def _join(patterns: Iterable[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in sorted(patterns))


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

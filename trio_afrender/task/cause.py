"""The sentence with which the reasons of a failed run begin: what went wrong, not how it ended.

A renderer that prints an error and is then stopped for it ends by a signal; one whose frame is
missing ends with exit code 0. The end of the process is the last part of the sentence, if it is one.
Pure.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

import attrs

from trio_afrender.plugins.interfaces import ErrorClass, ParserState
from trio_afrender.task.status_rules import RunFacts, StopKind
from trio_afrender.text import without_escapes

__all__ = (
    "PARSER_STOPS",
    "describe_class",
    "describe_missing",
    "name_cause",
    "quote",
)

MAX_QUOTE = 300
"""Characters of a line that is quoted."""
# Conventions of POSIX shells; the shell prints the reason itself, but often far from the end.
SHELL_HINTS = {
    126: "the shell found the command but may not execute it",
    127: "the shell did not find the command",
}
VERDICTS = ("fatalerror", "error", "badresult")
"""Flags of a parser by which a run fails, the strongest first."""
VERDICT_NAMES = {"fatalerror": "fatal error", "error": "error", "badresult": "bad result"}
MAX_NAMES = 5
"""Missing files named in one sentence."""


def name_cause(
    facts: RunFacts, parsed: ParserState, classes: Sequence[ErrorClass], finding: str = ""
) -> str:
    """Return why a run has failed, in one sentence.

    `finding` is what the checks after the end of the process found. The result is empty if there is
    nothing to say: the run was stopped on request, or has not failed.
    """
    stop = facts.stop
    if stop is not None and stop.kind.requested:
        return ""
    if stop is not None and stop.kind not in PARSER_STOPS:
        # What the rule observed, and what the program printed before it hung or grew.
        return "; ".join((stop.text, *_name_classes(classes)))
    if facts.finishedsuccess:
        # The line may be the one by which the parser decided that the work is done.
        parsed = attrs.evolve(parsed, deciding_line=0, deciding_text="")
    end = _name_end(facts)
    verdict = next((flag for flag in VERDICTS if getattr(facts, flag)), "")
    shown = _name_verdict(verdict, parsed, classes) if verdict else _name_classes(classes)
    if not facts.assets_ok:
        shown = ()  # the finding names the same files
    # With a good end and no verdict the checks decided, whatever the output says.
    parts = [finding, *shown] if not (end or verdict) else [*shown, end, finding]
    if end and classes and not classes[0].quote:
        note = classes[0].note  # it explains the exit status
        parts.append((note[:1].lower() + note[1:]).rstrip("."))
    elif end and not shown:
        parts.append(quote(0, parsed.report))  # the first line that the program marks as an error
    return "; ".join(filter(None, parts))


# Windows has few of them, and this agent names its own ends there, as those of a farm's other hosts.
_UNIX_SIGNALS = {1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
_SIGNALS = _UNIX_SIGNALS | {each.value: each.name for each in signal.Signals}
PARSER_STOPS = (StopKind.PARSER_ERROR, StopKind.PARSER_FATAL_ERROR, StopKind.PARSER_SUCCESS)


def _name_verdict(
    verdict: str, parsed: ParserState, classes: Sequence[ErrorClass]
) -> tuple[str, ...]:
    """Name the line by which the parser decided, else what the output says of the cause."""
    decided = quote(parsed.deciding_line, parsed.deciding_text or parsed.report)
    if not decided:
        unknown = f"{VERDICT_NAMES[verdict]} reported by the parser"
        return _name_classes(classes) or (unknown,)
    same = [one for one in classes if one.line and one.line == parsed.deciding_line]
    name = same[0].name if same else VERDICT_NAMES[verdict]
    if same and same[0] is not classes[0]:
        return (*_name_classes(classes), f"{name}: {decided}")  # the classes are in order
    return (f"{name}: {decided}", *(() if same else _name_classes(classes)))


def _name_classes(classes: Sequence[ErrorClass]) -> tuple[str, ...]:
    """Name the first class that a line of the output shows."""
    return tuple(f"{one.name}: {quote(one.line, one.quote)}" for one in classes if one.quote)[:1]


def _name_end(facts: RunFacts) -> str:
    """Name the end of the process if it is a reason; empty if it was good, or made by a stop."""
    if facts.stop is not None:
        return ""
    status = facts.exit
    if status is None:
        return "the process cannot be ended"
    if status.signal is not None:
        name = _SIGNALS.get(status.signal, "unknown")
        return f"the process was ended by signal {status.signal} ({name})"
    if facts.exit_ok:
        return ""
    if status.code is None:
        return f"the process ended with {status}"
    hint = SHELL_HINTS.get(status.code, "" if status.code else "the service does not accept it")
    return f"exit code {status.code}: {hint}" if hint else f"exit code {status.code}"


def quote(number: int, text: str) -> str:
    """Return a line of the output between quotes, with its number if it has one."""
    plain = " ".join(without_escapes(text).split())
    if not plain:
        return ""
    cut = plain if len(plain) <= MAX_QUOTE else f"{plain[: MAX_QUOTE - 3]}..."
    return f'"{cut}" (line {number} of the output)' if number else f'"{cut}"'


def describe_class(found: ErrorClass, cause: str = "") -> str:
    """Return an error class with its note, and the line in which it was found unless `cause` has it."""
    host = "the host is the cause" if found.host_is_cause else ""
    quoted = quote(found.line, found.quote)
    parts = (found.note.rstrip("."), host, "" if quoted in cause else quoted)
    return f"{found.name}: {'; '.join(filter(None, parts))}"


def describe_missing(count: int, names: Sequence[str]) -> str:
    """Return how many files the program missed, with the names of the first."""
    shown = list(names[:MAX_NAMES])
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    verb = "file is" if count == 1 else "files are"
    return f"{count} {verb} missing that the task needs: {', '.join(shown)}{more}"

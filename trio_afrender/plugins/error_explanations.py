"""What kind of error a failed run had, asked of rules that people may change at any time.

Runs in the plugin host: patterns of a studio are as little to be trusted as its parsers.
"""

from __future__ import annotations

from pathlib import Path

from trio_afrender.errors import ConfigError
from trio_afrender.plugins.error_rules import (
    MAX_TAIL,
    ErrorClass,
    ErrorRules,
    built_in,
    classify,
    load_rules,
)
from trio_afrender.tasklog.interfaces import LogReader

__all__ = ("explain_end",)

_Stamp = tuple[str, int, int]
_loaded: dict[_Stamp, ErrorRules] = {}


def explain_end(
    reader: LogReader, rules_file: str, code: int | None, signal: int | None
) -> tuple[tuple[ErrorClass, ...], tuple[str, ...]]:
    """Classes of what the end of the log and of the run speak of, and what is wrong with the rules.

    `rules_file` empty: the built-in rules alone. One that cannot be read is a problem, and the
    built-in rules are asked.
    """
    rules = _rules_of(rules_file)
    size = reader.size()
    data = reader.read(max(0, size - MAX_TAIL), MAX_TAIL).data
    found = classify(rules, data.decode("utf-8", "replace"), code, signal)
    return tuple(found), rules.problems


def _rules_of(path: str) -> ErrorRules:
    """The rules of a file as it is now; loaded again when it has changed."""
    if not path:
        return built_in()
    try:
        facts = Path(path).stat()
        stamp = (path, facts.st_mtime_ns, facts.st_size)
        if stamp not in _loaded:
            text = Path(path).read_text(encoding="utf-8")
            _loaded.clear()
            _loaded[stamp] = load_rules(text, name=path)
        return _loaded[stamp]
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        return ErrorRules(built_in().rules, (f"{path}: {error}: the built-in rules are used",))

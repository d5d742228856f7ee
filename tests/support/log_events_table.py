"""The table of events of docs/logging.md, made from `cli.log_events`, and the log calls of the source.

    python tests/support/log_events_table.py

writes it into the page, in place of the table that it has.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from trio_afrender.cli.log_events import EVENTS, KINDS

__all__ = ("PAGE", "find_calls", "find_constant_kinds", "find_kinds", "make_table")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "logging.md"
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_PASS_ON = ("info", "warn", "self._log", "self._log_session")
"""Functions that add source and level to a kind."""
OTHER_PROCESSES = ("supervisor", "testing", "tasklog/writer.py")
"""Their records are not in the log of a command: of the supervisor, and of tests."""


def make_table() -> str:
    """Return a table of Markdown with a row for each event."""
    fields: dict[str, set[str]] = defaultdict(set)
    for texts in EVENTS.values():
        for words in texts.values():
            event, *names = words.split()
            fields[event].update(names)
    for event in KINDS.values():
        fields[event].add("source")
    fields["repeated"] = {"source", "of", "left_out"}
    rows = [
        f"| `{event}` | {' '.join(f'`{name}`' for name in sorted(names))} |\n"
        for event, names in sorted(fields.items())
    ]
    return f"| event | fields |\n|---|---|\n{''.join(rows)}"


@cache
def _sources() -> tuple[tuple[str, ast.Module], ...]:
    return tuple(_parse_sources())


def _parse_sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "trio_afrender").rglob("*.py")):
        name = str(path.relative_to(ROOT / "trio_afrender"))
        if not name.startswith(OTHER_PROCESSES):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def _log_calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            if node.func.attr in METHODS and receiver.endswith(("log", "logger", "lines")):
                yield receiver, node


def find_calls() -> Iterator[tuple[str, str, int]]:
    """Yield module, text and number of values of each call of a logger."""
    for name, tree in _sources():
        module = name.removesuffix(".py").replace("/", ".")
        for receiver, call in _log_calls(tree):
            if receiver.endswith("lines") or module == "transport.repeated_lines":
                continue  # named by their kind
            assert isinstance(call.func, ast.Attribute)
            arguments = call.args[1:] if call.func.attr == "log" else call.args
            text = arguments[0]
            assert isinstance(text, ast.Constant), f"{name}: {ast.unparse(call)}"
            yield module, str(text.value), len(arguments) - 1


def find_kinds() -> Iterator[str]:
    """Yield what can be a kind of `RepeatedLines`: the ends of texts in the packages that use it."""
    for name, tree in _sources():
        if name.startswith(("gateway/", "transport/", "web/")):
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value.rpartition(": ")[2]


def find_constant_kinds() -> Iterator[str]:
    """Yield the kinds that are given to `RepeatedLines` as constants, also through functions of a module."""
    for name, tree in _sources():
        for receiver, call in _log_calls(tree):
            if receiver.endswith("lines") and len(call.args) > 2:
                yield from _as_kind(call.args[2])
        if name.startswith(("gateway/", "transport/", "web/")):
            yield from _find_passed_on(tree)


def _find_passed_on(tree: ast.Module) -> Iterator[str]:
    pairs = {
        ast.unparse(node.targets[0]): node.value.elts[0]
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and node.value.elts
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _PASS_ON:
            for argument in node.args:
                if isinstance(argument, ast.Starred):
                    yield from _as_kind(pairs[ast.unparse(argument.value)])
                    break
                if isinstance(argument, ast.Constant):
                    yield from _as_kind(argument)
                    break


def _as_kind(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value).rpartition(": ")[2]


if __name__ == "__main__":
    page = PAGE.read_text()
    before, _, rest = page.partition("\n| event | fields |\n")
    _, _, after = rest.partition("\n\n")
    PAGE.write_text(f"{before}\n{make_table()}\n{after}")

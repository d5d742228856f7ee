"""What programs print when a frame is bad, and what only looks like it.

`tests/data/parser_outputs.tsv` has outputs of many programs with what the parser must find;
`tests/data/parser_harmless.txt` lines that mean nothing in any program.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.parsers import PARSERS, follow, load

from parsers._messages import Messages, make_scanner
from parsers._rules import RuleParser, _tables_of
from parsers._text import text_of

DATA = Path(__file__).parents[1] / "data"
OUTPUTS = [
    row.split("\t")
    for row in (DATA / "parser_outputs.tsv").read_text("utf-8").splitlines()
    if not row.startswith("#")
]
HARMLESS = (DATA / "parser_harmless.txt").read_text("utf-8").splitlines()
KINDS = ("fatal_errors", "fatal", "errors", "aborts", "bad", "assets", "markers", "warnings")


def _tables(name: str) -> tuple[Messages, ...]:
    made = load(name)
    return _tables_of(made) if issubclass(made, RuleParser) else ()


@pytest.mark.parametrize("row", OUTPUTS, ids=lambda row: f"{row[1]}: {row[0]}, {row[6]}")
def test_outputs(row: list[str]) -> None:
    _, name, frames, flags, percent, missing, _, output, *command = row
    data = (
        output.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")
    )
    whole = data.encode()
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    for chunks in ([whole], whole.splitlines(keepends=True), pieces):
        made = load(name)()
        if command:
            before = made.setTaskInfo
            made.setTaskInfo = lambda info, before=before: before(  # type: ignore[method-assign,misc]
                {**info, "command": text_of(command[0])}
            )
        outcome, _ = follow(made, chunks, int(frames))
        assert ",".join(sorted(outcome.flags)) == flags.strip("-")
        assert outcome.percent == int(percent)
        assert ", ".join(outcome.missing_assets[1]) == missing.strip("-")


@pytest.mark.parametrize("name", PARSERS)
def test_harmless_lines_mean_nothing(name: str) -> None:
    scanner = make_scanner(_tables(name))
    assert [line for line in HARMLESS if scanner.judge(line) is not None] == []


@pytest.mark.parametrize("name", [name for name in PARSERS if not name.startswith("blender")])
def test_no_text_is_excluded_by_the_words_of_tables(name: str) -> None:
    # Blender's words are chosen so that the report of an error counts, not the lines before it.
    words = make_scanner(_tables(name))._triggers
    for table in _tables(name):
        for kind in KINDS:
            for text in getattr(table, kind):
                plain = text if isinstance(text, str) else f"{text.token} {text.pattern.pattern}"
                plain = plain.lower().replace("e(?:rror|rror)", "error")
                assert any(word in plain for word in words), (kind, text)

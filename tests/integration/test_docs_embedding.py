"""Each program of docs/embedding.md does as it stands there what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from trio_afrender.agent import run_events

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedding.md"
TEXT = PAGE.read_text(encoding="utf-8")


@attrs.frozen
class Program:
    heading: str
    code: str
    prints: str


def programs() -> list[Program]:
    found = []
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
        codes = [text for kind, text in blocks if kind == "python"]
        outputs = [text for kind, text in blocks if kind == "text"]
        assert len(codes) == len(outputs), "each program is followed by what it prints"
        heading = section.partition("\n")[0]
        found += [Program(heading, *pair) for pair in zip(codes, outputs, strict=True)]
    return found


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.heading)
def test_a_program_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program.code)
    hidden = ("CGRU_", "AF_", "TRIO_AFRENDER")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False, env={**environment, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == program.prints


def test_there_are_programs() -> None:
    assert len(programs()) >= 4


def test_the_limits_of_the_page() -> None:
    assert f"One with {run_events.MAX_OUTCOMES:,} unread outcomes" in TEXT
    assert f"the last {run_events.MAX_LOG_LINES} lines and 1 MiB" in TEXT
    assert run_events.MAX_LOG_SIZE == 1024 * 1024
    assert f"Beyond {run_events.MAX_OUTPUT // 1024 // 1024} MiB of unread output" in TEXT

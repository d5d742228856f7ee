"""What a person reads of failed tasks: `run`, its report, and `why`, with real processes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.cli import run_command

JOB = Path(__file__).parents[1] / "data" / "error_classes" / "licence_job.json"
LINES = (
    "A license for nuke was not found",
    "A license for nuke was not found",
    "[Redshift] Maxon licensing error",
    "license checkout failed",
)


async def test_no_licence_in_four_ways(tmp_path: Path) -> None:
    """Seen by the parser or not, and stopped for it or ended by itself: the class is never lost."""
    job = tmp_path / "job.json"
    shutil.copy(JOB, job)
    report, store = tmp_path / "report.json", tmp_path / "kept"
    words = ("run", job, "--report", report, "--keep", "--store", store)
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 1
    quotes = [f'licence: "{line}" (line 1 of the output)' for line in LINES]
    # The second one's line has no end, so it decides only when the process has ended: a whole one is
    # enough to stop a process that takes 50 ms to exit.
    ends = ["", "; exit code 100", "", "; exit code 1"]
    for quote, end in zip(quotes, ends, strict=True):
        # When it happens, and in the summary.
        assert err.count(f": {quote}{end}, 1 try\n") == 2 or quotes.count(quote) > 1
    tasks = json.loads(report.read_text())["tasks"]
    for task, quote, end in zip(tasks, quotes, ends, strict=True):
        assert [step["event"] for step in task["why"]][:2] == ["cause", "class"]
        assert task["why"][0]["text"] == quote + end
        assert task["why"][1]["text"] == "licence: There was no licence for the program"
        assert f"Why:\n  cause: {quote}{end}\n  class: licence: " in task["log"]
    [directory] = store.iterdir()
    for block, (quote, end) in enumerate(zip(quotes, ends, strict=True)):
        name = f"{tasks[0]['job']}.{block}.0"
        why = ("why", name, "--store", directory / "store")
        code, out, _ = await run_command(*why, home=tmp_path)
        assert code == 0
        lines = out.splitlines()
        assert lines[1] == f"  failed: {quote}{end}"
        assert "  Why:" in lines
        step = r"    \+\d+\.\d\ds class: licence: There was no licence for the program"
        assert any(re.fullmatch(step, line) for line in lines)
        code, out, _ = await run_command(*why, "--json", home=tmp_path)
        [facts] = json.loads(out)
        assert facts["why"] == tasks[block]["why"]


@pytest.mark.parametrize(
    ("files", "command", "cause"),
    [
        (["out/frame.@####@.exr"], "mkdir out; echo x > out/frame.0006.exr", "frame.0007.exr is missing in {}/out"),
        (["frame.@#@.exr"], "printf xx | tee frame.6.exr > frame.7.exr", "frame.6.exr has 2 bytes, not at least 3, in {}, and 1 more has a wrong size"),
        (["a.txt"], "echo texture wood.png not found; exit 4", 'missing-asset: "texture wood.png not found" (line 1 of the output); exit code 4'),
    ],
)  # fmt: skip
async def test_a_failed_check_is_the_first_thing_shown(
    tmp_path: Path, files: list[str], command: str, cause: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    block = {
        "name": "b",
        "service": "generic",
        "flags": 129,
        "frame_first": 6,
        "frame_last": 7,
        "frames_per_task": 2,
        "working_directory": str(work),
        "files": files,
        "file_size_min": 3 if "wrong size" in cause else -1,
        "command": command,
    }
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"job": {"name": "j", "blocks": [block]}}))
    report = tmp_path / "report.json"
    words = ("run", job, "--report", report, "--retries", "0")
    code, _, err = await run_command(*words, home=tmp_path)
    assert code == 1
    text = cause.format(work)
    failures = [line for line in err.splitlines() if line.startswith("failed: ")]
    # When it happens, and in the summary.
    assert failures == [f"failed: b / frame 6-7: {text}, 1 try"] * 2
    [task] = json.loads(report.read_text())["tasks"]
    assert task["why"][0]["text"] == text

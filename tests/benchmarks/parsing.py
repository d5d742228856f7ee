"""Speed of each parser on its program's output, beside a bare search of the same text.

``python tests/benchmarks/parsing.py [megabytes] [runs] [parser ...]`` prints a Markdown table. The
text of a parser is its recorded logs, repeated, in a batch of 1 MiB of whole lines, as the agent
feeds it. Recorded logs are short and dense: nearly every line matches a rule. So there is a second
text with nine lines of other output after each of those. The bare loop does
``text.lower().find()`` over the same batches in the same run; ratios are to that.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "unit")]  # with the tables of cases

from support.parsers import NAMES, PARSERS, all_cases, load, read  # noqa: E402 - found by the path above

BATCH = 1024 * 1024
FRAMES = 100


PLAIN = "".join(
    f"[{9 - number}] reading /ps/textures/wood/plank_{number:04d}.tx, {number}.2 of 64.0 MB in cache\n"
    for number in range(9)
)


def make_batch(name: str, plain: str) -> str:
    """Return 1 MiB of a parser's logs, with `plain` after each line."""
    logs = sorted({case.log for case in all_cases() if case.parser == name}) or list(NAMES)
    lines = [line for log in logs for line in read(log).decode("utf-8", "replace").splitlines()]
    once = "".join(f"{line}\n{plain}" for line in lines)
    text = (once * (BATCH // len(once) + 2))[:BATCH]
    return text[: text.rfind("\n") + 1]


def run_parser(name: str, batch: str, times: int) -> float:
    """Return the seconds that a new parser takes for the batch, fed `times` times."""
    made = load(name)()
    made.setTaskInfo({"frames_num": FRAMES, "wdir": ""})
    start = time.perf_counter()
    for _ in range(times):
        made.parse({"data": batch, "mode": "RUN", "pid": 1, "resources": ""})
        made.getFiles()
    return time.perf_counter() - start


def run_bare(batch: str, times: int) -> float:
    """Return the seconds of a search in the batch, `times` times."""
    start = time.perf_counter()
    for _ in range(times):
        batch.lower().find("\0no such text")
    return time.perf_counter() - start


def measure(name: str, plain: str, megabytes: int, runs: int) -> tuple[float, float, float]:
    """Return best and median MB/s of a parser, and the ratio of its median to the bare loop's."""
    batch = make_batch(name, plain)
    size = len(batch.encode())
    times = max(1, megabytes * 1_000_000 // size)
    bare, parsed = [], []
    for _ in range(runs):  # in turns, so that other load affects both
        bare.append(run_bare(batch, times))
        parsed.append(run_parser(name, batch, times))
    middle = statistics.median(parsed)
    total = size * times / 1e6
    return total / min(parsed), total / middle, statistics.median(bare) / middle


def rows(names: list[str], megabytes: int, runs: int) -> Iterator[str]:
    yield "| parser | its logs, best MB/s | median | of bare | one line in ten, best MB/s | median | of bare |"
    yield "|---|---|---|---|---|---|---|"
    for name in names:
        figures = (measure(name, plain, megabytes, runs) for plain in ("", PLAIN))
        cells = (f"{best:.0f} | {median:.0f} | {ratio:.3f}" for best, median, ratio in figures)
        yield f"| `{name}` | {' | '.join(cells)} |"


def main(arguments: list[str]) -> None:
    megabytes, runs = (*map(int, arguments[:2]), *(10, 5)[len(arguments[:2]) :])
    for row in rows(arguments[2:] or list(PARSERS), megabytes, runs):
        sys.stdout.write(row + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

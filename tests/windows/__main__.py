"""Make Wine's Python and run the tests that Windows can pass with it: `make windows-test`.

    python tests/windows [--quick] [PYTEST ARGUMENTS]

With ``--quick`` only what is Windows' own; with arguments for pytest only that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from windows.acceptance import run_acceptance
from windows.wine_python import ROOT, WineError, WinePython, make_wine_python

FOLDER = ROOT / ".wine"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "windows.unix_only")
OWN = tuple(
    f"tests/integration/{path.name}"
    for path in sorted((ROOT / "tests" / "integration").glob("test_windows_*.py"))
)
UNAVAILABLE = 3
"""The exit code where Wine is not available."""


def main() -> int:
    """Return 0 if all passed, 1 if some failed, `UNAVAILABLE` without Wine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only what is Windows' own")
    options, arguments = parser.parse_known_args()
    begun = time.monotonic()
    try:
        python = make_wine_python(FOLDER)
    except WineError as error:
        say(f"windows-test: {error}")
        return UNAVAILABLE
    python.copy_source()
    say(f"Wine's Python is in {FOLDER} ({time.monotonic() - begun:.0f} s)")
    with python.opened():
        if arguments:
            return python.run(*PYTEST, *arguments)
        failed = run_suites(python, quick=options.quick)
        failed += run_acceptance(python, say)
    say(f"{failed} failed, {time.monotonic() - begun:.0f} s")
    return min(failed, 1)


def run_suites(python: WinePython, *, quick: bool) -> int:
    """Run the suites; return how many of them failed."""
    suites: list[tuple[str, ...]] = [OWN]
    if not quick:
        suites = [("tests/integration",), ("tests/simulated",), ("tests/unit",)]
    failed = 0
    for suite in suites:
        say(f"-- {suite[0]}")
        failed += python.run(*PYTEST, *suite) != 0
    return failed


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

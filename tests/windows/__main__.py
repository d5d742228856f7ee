"""Make Wine's Python and run the tests that Windows can pass with it: `make windows-test`.

    python tests/windows [--quick] [PYTEST ARGUMENTS]

With ``--quick`` only what is Windows' own; with arguments for pytest only that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from zipfile import BadZipFile

sys.path.insert(0, str(Path(__file__).parents[1]))

from windows.acceptance import run_acceptance
from windows.wine_python import (
    ROOT,
    WineError,
    WinePython,
    install_packages,
    limited,
    make_wine_python,
)

FOLDER = ROOT / ".wine"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "windows.unix_only")
OWN = (
    *(f"tests/integration/test_windows_{each}.py" for each in ("trees", "nasty_trees", "must_die")),
    *(f"tests/unit/test_{each}.py" for each in ("windows_rules", "window_closer")),
    *(f"tests/unit/test_{each}.py" for each in ("doctor_windows", "cmd_words", "code_page_text")),
)
UNAVAILABLE = 3
"""The exit code where Wine is not available."""
MAKING, QUICK, FULL = 480, 600, 3600
"""Seconds for making Wine's Python, without Debian's packages, and for the tests; none needs half."""


def main() -> int:
    """Return 0 if all passed, 1 if some failed or did not end, `UNAVAILABLE` without Wine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only what is Windows' own")
    options, arguments = parser.parse_known_args()
    begun = time.monotonic()
    try:
        install_packages()
        with limited(MAKING, WineError(f"Wine's Python was not made within {MAKING} s")):
            python = make_wine_python(FOLDER)
            python.copy_source()
    except (WineError, OSError, BadZipFile) as error:
        sys.stderr.write(f"windows-test: skipped: {error}\n")
        return UNAVAILABLE
    say(f"Wine's Python is in {FOLDER} ({time.monotonic() - begun:.0f} s)")
    limit = QUICK if options.quick else FULL
    try:
        with limited(limit, TimeoutError(f"the tests did not end within {limit} s")):
            failed = run_tests(python, arguments, quick=options.quick)
    except (WineError, TimeoutError) as error:
        say(f"FAILED {error}")
        failed = 1
    say(f"{failed} failed, {time.monotonic() - begun:.0f} s")
    return min(failed, 1)


def run_tests(python: WinePython, arguments: list[str], *, quick: bool) -> int:
    """Run the suites and the checks, or only what pytest is asked for; return how many failed."""
    suites: list[tuple[str, ...]] = [OWN]
    if not quick:
        suites = [("tests/integration",), ("tests/simulated",), ("tests/unit",)]
    failed = 0
    with python.opened():
        if arguments:
            return int(python.run(*PYTEST, *arguments) != 0)
        for suite in suites:
            say(f"-- {' '.join(suite)}")
            failed += python.run(*PYTEST, *suite) != 0
        return failed + run_acceptance(python, say)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

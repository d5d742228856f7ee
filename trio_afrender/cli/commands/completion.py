"""``trio_afrender completion``: prints the completion script of a shell, or the manual page."""

from __future__ import annotations

import sys
from argparse import Namespace

from trio_afrender.cli.manual_page import make_manual
from trio_afrender.cli.shell_completion import make_completion

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Print it to stdout and return 0."""
    text = make_manual() if options.shell == "man" else make_completion(options.shell)
    sys.stdout.write(text)
    return 0

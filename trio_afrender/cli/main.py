"""The entry point: runs a command and turns its errors into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from trio_afrender.cli.arguments import make_parser, parse
from trio_afrender.cli.standard_streams import (
    ReaderGone,
    finish_streams,
    prepare_streams,
)
from trio_afrender.cli.terminal import clean, print_line, send_lines_to
from trio_afrender.errors import (
    AfRenderError,
    ConfigError,
    LinkLost,
    LinkRefused,
    PluginError,
    ProtocolError,
    StoreError,
    StoreInUse,
    is_exhausted,
)
from trio_afrender.version import __version__

__all__ = ("main",)

FAILED, USAGE, NO_SERVER, INTERRUPTED, READER_GONE = 1, 2, 3, 130, 141
"""The last two are those of programs that SIGINT or SIGPIPE ended."""
HELP_WORDS = ("--help", "-h", "help", "-", "--", "-?", "?", "/?")
"""First arguments that print the help; those without letters are afrender's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 some task failed, 2 bad usage or
    input, 3 no server or refused, 130 interrupted, 141 the reader of stdout has gone."""
    prepare_streams()
    send_lines_to(None)
    words = list(sys.argv[1:] if argv is None else argv)
    # Python warns of masks of jobs such as "[[a]" that a later version may read differently.
    warnings.filterwarnings("ignore", "Possible (nested )?set", FutureWarning)
    debug = "--debug" in words
    try:
        code = _run_command([word for word in words if word != "--debug"])
        # Here, not at exit: an error of a closed pipe would be reported outside of our control.
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    # The second one is how a nursery passes Ctrl-C on, which is no `Exception`.
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the one place where errors become exit codes
        if debug:
            traceback.print_exception(error)
        return _explain(error, debug=debug)
    finally:
        finish_streams()
    return code


def _run_command(words: Sequence[str]) -> int:
    if words[:1] == ["--version"]:
        sys.stdout.write(f"trio_afrender {__version__}\n")
        return 0
    if words and words[0] in HELP_WORDS:
        make_parser()[0].print_help()
        return 0
    options = parse(words)
    # Already here, and not only where the settings are read: errors of settings are lines of JSON too.
    if (
        hasattr(options, "log_format")
        and (options.log_format or os.environ.get("TRIO_AFRENDER__LOG__FORMAT")) == "json"
    ):
        import_module("trio_afrender.cli.logging_setup").print_json(options.command)
    # Imported only when needed: --help, --version and wrong arguments do not wait for trio.
    name = getattr(options, "module", options.command.partition(" ")[0])
    code: int = import_module(f"trio_afrender.cli.commands.{name}").run(options)
    return code


def _explain(error: BaseException, *, debug: bool) -> int:
    """Print an error as one sentence to stderr; return the exit code."""
    leaves = list(_leaves(error))
    if any(isinstance(leaf, ReaderGone) for leaf in leaves):
        return READER_GONE
    known = next((leaf for leaf in leaves if isinstance(leaf, AfRenderError)), None)
    if known is None and any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return INTERRUPTED
    if known is None and isinstance(leaves[0], FileNotFoundError) and _is_folder_gone():
        print_line("trio_afrender: the current folder was deleted: change to another one")
        return USAGE
    if known is None:
        hint = "" if debug else "; --debug shows where"
        text = f"{type(leaves[0]).__name__}: {clean(str(leaves[0]))}"
        print_line(f"trio_afrender: internal error: {text}{hint}")
        return FAILED
    print_line(*(f"trio_afrender: {clean(line)}" for line in str(known).split("\n")))
    if isinstance(known, PluginError) and known.details and not debug:
        print_line("(--debug shows the traceback)")
    if isinstance(known, LinkRefused | LinkLost | ProtocolError | StoreInUse):
        return NO_SERVER
    # Not 2: a service manager does not restart a program with bad usage.
    if (isinstance(known, StoreError) and known.temporary) or is_exhausted(known):
        return FAILED
    return USAGE if isinstance(known, ConfigError | StoreError | PluginError) else FAILED


def _is_folder_gone() -> bool:
    """Whether the current folder was deleted: then a relative path leads nowhere."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

"""The entry point: runs a command and turns its errors into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence

from trio_afrender.cli.arguments import COMMANDS, HELP, HELP_WORDS, parse, suggest
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import (
    AfRenderError,
    ConfigError,
    LinkLost,
    LinkRefused,
    PluginError,
    ProtocolError,
    StoreError,
    StoreInUse,
)
from trio_afrender.version import __version__

__all__ = ("main",)

FAILED, USAGE, NO_SERVER, INTERRUPTED = 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 some task failed, 2 bad usage or
    input, 3 no server or refused, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Python warns of masks of jobs such as "[[a]" that a later version may read differently.
    warnings.filterwarnings("ignore", "Possible (nested )?set", FutureWarning)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        code = _run(words)
        # Here, not at exit: an error of a closed pipe would be reported outside of our control.
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our stdout closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the one place where errors become exit codes
        if debug:
            traceback.print_exception(error)
        return _explain(error, debug=debug)
    return code


def _run(words: list[str]) -> int:
    if words and words[0] in HELP_WORDS:
        sys.stdout.write(HELP)
        return 0
    if words[:1] == ["--version"]:
        sys.stdout.write(f"trio_afrender {__version__}\n")
        return 0
    command = _take_command(words)
    options = parse(command, words)
    # Imported only when needed: --help, --version and wrong arguments do not wait for trio.
    match command:
        case "run":
            from trio_afrender.cli.commands.run import run
        case "submit":
            from trio_afrender.cli.commands.submit import run
        case "gateway":
            from trio_afrender.cli.commands.gateway import run
        case "check":
            from trio_afrender.cli.commands.check import run
        case "resources":
            from trio_afrender.cli.commands.resources import run
        case "why":
            from trio_afrender.cli.commands.why import run
        case "doctor":
            from trio_afrender.cli.commands.doctor import run
        case "config":
            from trio_afrender.cli.commands.config import run
        case _:
            from trio_afrender.cli.commands.agent import run
    return run(options)


def _take_command(words: list[str]) -> str:
    """Remove the command from the arguments and return it; without a command it is agent."""
    first = words[0] if words else ""
    if first in COMMANDS:
        return words.pop(0)
    if first == "-res":  # afrender's option
        words.pop(0)
        return "resources"
    if first.startswith("-") or first in ("", "nimby", "NIMBY"):
        return "agent"
    hint = suggest(first, (*COMMANDS, "nimby", "NIMBY"))
    if first.endswith(".json"):
        hint = f', did you mean "trio_afrender run {first}"?'
    raise ConfigError(f'no command "{first}"{hint} (see trio_afrender --help)')


def _explain(error: BaseException, *, debug: bool) -> int:
    """Print an error as one sentence to stderr; return the exit code."""
    known = [leaf for leaf in _leaves(error) if isinstance(leaf, AfRenderError)]
    if known:
        print_line(f"trio_afrender: {clean(str(known[0]))}")
        if isinstance(known[0], PluginError) and known[0].details and not debug:
            print_line("(--debug shows the traceback)")
        return _exit_code(known[0])
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in _leaves(error)):
        return INTERRUPTED
    first = next(_leaves(error))
    hint = "" if debug else "; --debug shows where"
    print_line(f"trio_afrender: internal error: {type(first).__name__}: {clean(str(first))}{hint}")
    return FAILED


def _exit_code(error: AfRenderError) -> int:
    if isinstance(error, LinkRefused | LinkLost | ProtocolError | StoreInUse):
        return NO_SERVER
    if isinstance(error, StoreError) and error.temporary:
        return FAILED  # not 2: a service manager does not restart a program with bad usage
    if isinstance(error, ConfigError | StoreError | PluginError):
        return USAGE
    return FAILED


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

"""The command line: its commands, their options and help texts, errors with suggestions.

Imports nothing slow, so that ``--help`` and errors are instant.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from trio_afrender.config.settings import CGRU, OTHERS
from trio_afrender.errors import ConfigError

__all__ = ("COMMANDS", "HELP", "HELP_WORDS", "parse", "split_overrides", "suggest")

COMMANDS = ("agent", "run", "submit", "gateway", "check", "config", "doctor", "resources", "why")
HELP_WORDS = ("--help", "-h", "help", "-", "--", "-?", "?", "/?")
"""First arguments that print the help; those without letters are afrender's."""
HELP = """\
usage: trio_afrender [agent] [nimby|NIMBY] --server URL [options]
       trio_afrender run JOB.json [options]
       trio_afrender submit JOB.json [--server af://HOST:PORT] [options]
       trio_afrender gateway --listen wss://HOST:PORT --tokens FILE [options]
       trio_afrender check [parser|service|meter NAME ...] [options]
       trio_afrender config [KEY ...] [options]
       trio_afrender resources [options]
       trio_afrender doctor [options]
       trio_afrender why JOB.BLOCK.TASK [options]

A render agent for Afanasy farms.

  agent     register this host with a farm's server and run its tasks (the default)
  run       run a job file on this machine, with an embedded farm
  submit    send a job file to an afserver
  gateway   connect agents that use websockets to an afserver
  check     test a parser on a log, a service on a task, a meter, or all plugins
  config    print every setting and where it comes from
  resources print what a render reports of this host; --watch repeats it
  doctor    print the problems of this host and the command that fixes each
  why       print the outcome of a task on this host, and the reasons

  COMMAND --help   the options of a command
  --version        print the version
  --debug          with any command: show the traceback of an error

Exit codes: 0 done, 1 some task failed, 2 bad usage or input, 3 no server or refused.
"""

NIMBIES = ("nimby", "NIMBY")
CHECKED = ("parser", "service", "meter")
_LONG_OPTION = re.compile("-[A-Za-z](?!v*$)[A-Za-z_]+")
"""An option with one dash and several letters, as afrender has; ``-vv`` is none."""
_KEY = re.compile(r"[a-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+|trio_afrender(\.[a-z_]+)+")
_AFRENDER_OPTIONS = {
    "-hostname": "--name",
    "-username": "--user",
    "-V": "-v",
    "--Verbose": "-v",
}
"""Options of afrender, and what they are called here."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def parse(command: str, words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command. Raises `ConfigError`; ``--help`` exits."""
    words, overrides = split_overrides([_AFRENDER_OPTIONS.get(word, word) for word in words])
    if command == "check":
        command = _take_kind(words)
    parser = _PARSERS[command]()
    known = [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001 - argparse has no public list
    # argparse would read "-hostnam" as "-h" with the value "ostnam", and print the help.
    unknown = [word for word in words if _LONG_OPTION.fullmatch(word) and word not in known]
    if not unknown:
        options, unknown = parser.parse_known_args(words)
    if unknown:
        hint = suggest(unknown[0].partition("=")[0], (*known, *_AFRENDER_OPTIONS))
        parser.error(f'unknown argument "{unknown[0]}"{hint}')
    options.overrides = overrides
    if hasattr(options, "nimbies"):
        _merge_nimby(options)
    return options


def _merge_nimby(options: argparse.Namespace) -> None:
    """Set `nimby` from the argument and the options for it; NIMBY is stronger than nimby.

    `config` takes both among its keys.
    """
    keys = getattr(options, "keys", [])
    given = {getattr(options, "nimby", None), *(options.nimbies or ()), *keys} & set(NIMBIES)
    if given:
        options.nimby = "NIMBY" if "NIMBY" in given else "nimby"
    if keys:
        options.keys = [key for key in keys if key not in NIMBIES]


def _take_kind(words: list[str]) -> str:
    """Remove the kind of plugin from the arguments of ``check``; return the command with it."""
    first = words[0] if words else ""
    if first in ("", *CHECKED) or first.startswith("-"):
        return f"check {words.pop(0)}" if first in CHECKED else "check"
    hint = suggest(first, CHECKED) or f": expected {', '.join(CHECKED)}, or nothing for all"
    raise ConfigError(f'no kind of plugin "{first}"{hint} (see trio_afrender check --help)')


def split_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate ``--<key> <value>`` from the other arguments; the first value of a key counts.

    A key of the config files is recognized by its underscore, which options do not have, or by its
    name. Raises `ConfigError` for a key without a value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    left = iter(words)
    for word in left:
        name, equals, value = word.removeprefix("--").partition("=")
        is_key = name in CGRU or name in OTHERS or _KEY.fullmatch(name) is not None
        if not (word.startswith("--") and is_key):
            rest.append(word)
            continue
        if not equals:
            try:
                value = next(left)
            except StopIteration:
                raise ConfigError(f"--{name}: expected a value") from None
        overrides.setdefault(name, value)
    return rest, overrides


def suggest(word: str, known: Sequence[str]) -> str:
    """Return ``, did you mean "x"?`` with the nearest known word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f', did you mean "{close[0]}"?' if close else ""


def _make(command: str, text: str) -> _Parser:
    parser = _Parser(
        prog=f"trio_afrender {command}",
        description=text,
        allow_abbrev=False,
        epilog="Any key of the config files can be set, too, as in --af_render_nice 5 or "
        "--trio_afrender.max_tasks 2.",
    )
    parser.add_argument(
        "--config",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a config file that is read after CGRU's own files; can be repeated",
    )
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="print more messages; -vv: all"
    )
    return parser


def _agent() -> _Parser:
    parser = _make(
        "agent", "Register this host as a render with a farm's server and run its tasks."
    )
    parser.add_argument(
        "nimby",
        nargs="?",
        choices=NIMBIES,
        help="take only the owner's jobs (nimby), or none (NIMBY)",
    )
    _add_render(parser)
    add = parser.add_argument
    add(
        "-cmd",
        "--cmd",
        metavar="COMMAND",
        help="only run this command, in the shell and environment of tasks",
    )
    add(
        "-nor",
        "--no-redirect",
        action="store_true",
        help="tasks print to this terminal; their output is neither parsed nor sent",
    )
    _add_supervisor(parser)
    add("-log_nodate", "--log-nodate", action="store_true", help="no times in the log")
    return parser


def _add_render(parser: _Parser) -> None:
    """Add the options that describe a render. ``-nimby`` and ``-NIMBY`` can be given together."""
    add = parser.add_argument
    for word in NIMBIES:
        add(
            f"-{word}",
            action="append_const",
            dest="nimbies",
            const=word,
            help=f"the same as {word}, as in afrender",
        )
    add("--server", metavar="URL", help="af://HOST:PORT, wss://HOST:PORT; ws:// only to this host")
    add("--name", help="the render's name (default: AF_HOSTNAME, else this computer's name)")
    add("--user", help="the owner's name (default: AF_USERNAME, else your login name)")
    add("--token-file", type=Path, metavar="FILE", help="a file with the server's token; mode 0600")
    add(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates to trust instead of the system's (PEM)",
    )
    add(
        "--allow-plain",
        action="store_true",
        help="allow ws:// to other hosts; the network can read the token then",
    )
    _add_folders(parser, "the folder for state, logs and folders of tasks (af_store_folder)")


def _run() -> _Parser:
    parser = _make("run", "Run a job file on this machine, with an embedded farm.")
    add = parser.add_argument
    add("job", type=Path, metavar="JOB.json", help="a job in Afanasy's JSON format")
    add("--agents", type=_count, default=1, metavar="N", help="number of renders (default: 1)")
    add(
        "--retries",
        type=_number,
        default=1,
        metavar="N",
        help="further attempts of a task after an error (default: 1)",
    )
    add("--report", metavar="FILE", help="write the outcome of every task as JSON; - for stdout")
    add("--sheet", metavar="FILE", help="put all thumbnails on one picture, .png or .jpg")
    add("--no-progress", action="store_true", help="print the summary only")
    add("--keep", action="store_true", help="keep the folders of tasks, logs and thumbnails")
    _add_folders(parser, "the folder for logs and folders of tasks (default: a temporary one)")
    _add_supervisor(parser)
    return parser


def _submit() -> _Parser:
    parser = _make("submit", "Send a job file, as `run` takes it, to an afserver.")
    add = parser.add_argument
    add("job", type=Path, metavar="JOB.json", help="a job in Afanasy's JSON format")
    add("--server", metavar="URL", help="af://HOST:PORT (default: af_servername, af_serverport)")
    add(
        "--user",
        help="the job's user, if the file names none (default: AF_USERNAME, else your login name)",
    )
    add("--wait", action="store_true", help="show the progress until the job ends, as run does")
    add(
        "--report",
        metavar="FILE",
        help="with --wait: write the outcome of every task as JSON; - for stdout",
    )
    add("--no-progress", action="store_true", help="with --wait: print the summary only")
    return parser


def _gateway() -> _Parser:
    parser = _make("gateway", "Connect agents that use websockets to an afserver, as its renders.")
    add = parser.add_argument
    add("--listen", metavar="URL", help="wss://HOST:PORT for agents; 0.0.0.0: all addresses")
    add("--server", metavar="URL", help="af://HOST:PORT (default: af_servername, af_serverport)")
    add(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="a file of lines NAME-OR-PATTERN TOKEN; mode 0600",
    )
    add("--cert", type=Path, metavar="FILE", help="the certificate and its chain (PEM)")
    add("--key", type=Path, metavar="FILE", help="the key, if it is not in the file of --cert")
    add(
        "--allow-plain",
        action="store_true",
        help="allow ws:// on other than loopback addresses; the network can read tokens then",
    )
    add(
        "--host-name",
        action="append",
        dest="names",
        default=[],
        metavar="NAME",
        help="another host name that agents use for this host; can be repeated",
    )
    add(
        "--max-agents",
        type=_agents,
        default=10_000,
        metavar="N",
        help="the most agents at once (default: 10000)",
    )
    add(
        "--rate",
        type=_rate,
        default=50.0,
        metavar="N",
        help="messages per second allowed to an agent (default: 50)",
    )
    add("--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus at this address")
    add("--store", type=Path, metavar="DIR", help="the folder for the ids of renders")
    add("-log_nodate", "--log-nodate", action="store_true", help="no times in the log")
    return parser


def _add_supervisor(parser: _Parser) -> None:
    parser.add_argument(
        "--no-supervisor",
        action="store_true",
        help="run tasks as children of the agent, so that they end with it",
    )


def _config() -> _Parser:
    parser = _make("config", "Print every setting of a render and where it comes from.")
    parser.add_argument(
        "keys",
        nargs="*",
        metavar="KEY",
        help="print only these keys, * and ? as in a shell (default: all); "
        "nimby and NIMBY are arguments of the agent",
    )
    _add_render(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(nimby=None)
    return parser


def _resources() -> _Parser:
    parser = _make("resources", "Measure this host as a render does, and print the figures.")
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON; with --watch a line each time")
    add(
        "--watch",
        nargs="?",
        type=_period,
        const=2.0,
        metavar="SECONDS",
        help="repeat every SECONDS (default: 2) until Ctrl-C, with small curves on a terminal",
    )
    return parser


def _doctor() -> _Parser:
    parser = _make("doctor", "Print the problems of this host as a render, and how to fix them.")
    _add_render(parser)
    add = parser.add_argument
    add("--unit", default="", metavar="NAME", help="the systemd unit that runs the agent")
    add("--json", action="store_true", help="print JSON")
    return parser


def _why() -> _Parser:
    parser = _make("why", "Print the outcome of a task on this host, and the reasons for it.")
    add = parser.add_argument
    add("task", metavar="TASK", help="JOB.BLOCK.TASK, or the id of a run")
    add("--name", metavar="NAME", help="the render (default: all of this host)")
    add("--store", type=Path, metavar="DIR", help="the store folder (af_store_folder)")
    add("--json", action="store_true", help="print JSON")
    return parser


def _check() -> _Parser:
    parser = _make_check("", "Load, create and call every plugin, and print their problems.")
    parser.epilog = (
        "`check parser NAME LOG`, `check service NAME TASK.json` and `check meter NAME` test one "
        "plugin; each has its own --help."
    )
    return parser


def _check_parser() -> _Parser:
    parser = _make_check(
        "parser", "Replay a log through a parser and print the effect of each line."
    )
    _add_limit(parser)
    add = parser.add_argument
    add("name", metavar="NAME", help="the parser")
    add("logs", metavar="LOG", nargs="+", help="the output of a task; - for stdin")
    add("--frames", type=_frames, default=1, metavar="N", help="frames of the task (default: 1)")
    cutting = parser.add_mutually_exclusive_group()
    cutting.add_argument(
        "--chunk",
        default="line",
        metavar="SIZE",
        help="how to divide the log into chunks: a number of bytes, line (default), whole, random "
        "or random:SEED",
    )
    cutting.add_argument(
        "--speed",
        metavar="LINES",
        help="divide it as if the program printed LINES lines per second",
    )
    add(
        "--folder",
        default="",
        metavar="DIR",
        help="the task's working folder (default: the current folder)",
    )
    add("--html", type=Path, metavar="FILE", help="write the log as a page, coloured by the parser")
    return parser


def _check_service() -> _Parser:
    parser = _make_check(
        "service", "Print the command and settings that a service makes for a task."
    )
    _add_limit(parser)
    parser.add_argument("name", metavar="NAME", help="the service")
    parser.add_argument(
        "task",
        type=Path,
        metavar="TASK.json",
        help="a file with keys of taskInfo, or a job, of which the first task of each block is used",
    )
    return parser


def _check_meter() -> _Parser:
    parser = _make_check("meter", "Update a meter several times and print its properties.")
    parser.add_argument("name", metavar="NAME", help="the meter")
    return parser


def _add_limit(parser: _Parser) -> None:
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="the time limit for everything (default: 60); 0: no limit",
    )


def _make_check(kind: str, text: str) -> _Parser:
    parser = _make(f"check {kind}".rstrip(), text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(kind=kind)
    _add_plugins(parser)
    return parser


_N = TypeVar("_N", int, float)


def _within(kind: type[_N], least: float, most: float, expected: str) -> Callable[[str], _N]:
    """Return a function that converts an argument to a number from `least` to `most`."""

    def number(text: str) -> _N:  # argparse prints this name in its error
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
        return value

    return number


def _add_folders(parser: _Parser, store: str) -> None:
    parser.add_argument("--store", type=Path, metavar="DIR", help=store)
    _add_plugins(parser)


def _add_plugins(parser: _Parser) -> None:
    parser.add_argument(
        "--plugins",
        action="append",
        type=Path,
        metavar="DIR",
        help="a folder with services and parsers of your own; can be repeated",
    )


_number = _within(int, 0, 1000, "0 to 1000")
_count = _within(int, 1, 64, "1 to 64")
_agents = _within(int, 1, 100_000, "1 to 100000")
_frames = _within(int, 1, 2**31 - 1, "1 or more")
_rate = _within(float, 1, 1e6, "1 to 1000000 messages a second")
_seconds = _within(float, 0, 1e6, "0 or more seconds")
_period = _within(float, 0.1, 86_400, "0.1 to 86400 seconds")
_PARSERS = {
    "agent": _agent,
    "run": _run,
    "submit": _submit,
    "gateway": _gateway,
    "config": _config,
    "resources": _resources,
    "doctor": _doctor,
    "why": _why,
    "check": _check,
    "check parser": _check_parser,
    "check service": _check_service,
    "check meter": _check_meter,
}

"""What can stand on the command line, and what to say to what cannot. Imports nothing slow."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from trio_afrender.config.keys import CGRU, OTHERS
from trio_afrender.errors import ConfigError

__all__ = ("parse", "split_overrides", "suggest")

NIMBIES = ("nimby", "NIMBY")
CHECKED = ("parser", "service", "meter")
_LONG_WORD = re.compile("-[A-Za-z](?!v*$)[A-Za-z_]+")
"""An option with one dash and several letters; ``-vv`` is none."""
_KEY = re.compile(r"[a-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+|trio_afrender(\.[a-z_]+)+")
_OLD_WORDS = {
    "-hostname": "--name",
    "-username": "--user",
    "-V": "-v",
    "--Verbose": "-v",
}
"""How Afanasy's users type these."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def parse(command: str, words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command. Raises `ConfigError`; ``--help`` exits."""
    words, overrides = split_overrides([_OLD_WORDS.get(word, word) for word in words])
    if command == "check":
        command = _take_kind(words)
    parser = _PARSERS[command]()
    known = [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001 - argparse has no other way to ask
    # argparse would take "-hostnam" for "-h" with something glued to it.
    unknown = [word for word in words if _LONG_WORD.fullmatch(word) and word not in known]
    if not unknown:
        options, unknown = parser.parse_known_args(words)
    if unknown:
        hint = suggest(unknown[0].partition("=")[0], (*known, *_OLD_WORDS))
        parser.error(f'unknown argument "{unknown[0]}"{hint}')
    options.overrides = overrides
    if hasattr(options, "nimbies"):
        _settle_nimby(options)
    return options


def _settle_nimby(options: argparse.Namespace) -> None:
    """Of all the words for it, NIMBY wins."""
    keys = getattr(options, "keys", [])
    given = {getattr(options, "nimby", None), *(options.nimbies or ()), *keys} & set(NIMBIES)
    if given:
        options.nimby = "NIMBY" if "NIMBY" in given else "nimby"
    if keys:
        options.keys = [key for key in keys if key not in NIMBIES]


def _take_kind(words: list[str]) -> str:
    """Take the kind of plugin out of the words behind ``check``. Raises `ConfigError`."""
    first = words[0] if words else ""
    if first in ("", *CHECKED) or first.startswith("-"):
        return f"check {words.pop(0)}" if first in CHECKED else "check"
    hint = suggest(first, CHECKED) or f": expected {', '.join(CHECKED)}, or none of them for all"
    raise ConfigError(f'check: no kind "{first}"{hint}; see trio_afrender check --help')


def split_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take ``--<key> <value>`` out of the arguments; of several for one key the first.

    Options of ours have no underscores, keys of config files do.
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
    """Return ``, did you mean "x"?`` or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f', did you mean "{close[0]}"?' if close else ""


def _make(command: str, text: str) -> _Parser:
    parser = _Parser(
        prog=f"trio_afrender {command}",
        description=text,
        allow_abbrev=False,
        epilog="Any key of the config files can be given too, as --af_render_nice 5 or "
        "--trio_afrender.max_tasks 2.",
    )
    parser.add_argument(
        "--config",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="another config file, over CGRU's own; may be given again",
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="tell more; -vv: all")
    return parser


def _agent() -> _Parser:
    parser = _make("agent", "Be a render: register with a farm's server and run its tasks.")
    parser.add_argument(
        "nimby",
        nargs="?",
        choices=NIMBIES,
        help="start for the owner's jobs only (nimby), or for nobody's (NIMBY)",
    )
    _add_render(parser)
    add = parser.add_argument
    add("-cmd", "--cmd", metavar="COMMAND", help="run this by the shell of tasks, and nothing else")
    add(
        "-nor",
        "--no-redirect",
        action="store_true",
        help="tasks print here; the server gets none of it, and no parser",
    )
    _add_supervisor(parser)
    add("-log_nodate", "--log-nodate", action="store_true", help="no times in the log")
    return parser


def _add_render(parser: _Parser) -> None:
    """What one may say about a render; Afanasy's ``-nimby`` and ``-NIMBY`` may stand together."""
    add = parser.add_argument
    for word in NIMBIES:
        add(
            f"-{word}",
            action="append_const",
            dest="nimbies",
            const=word,
            help="the same, as afrender has it",
        )
    add("--server", metavar="URL", help="af://HOST:PORT, wss://HOST:PORT; ws:// only to this host")
    add("--name", help="the render's name (default: AF_HOSTNAME, else this computer's)")
    add("--user", help="the owner's name (default: AF_USERNAME, else your login)")
    add("--token-file", type=Path, metavar="FILE", help="the server's token; mode 0600")
    add("--ca-file", type=Path, metavar="FILE", help="certificates to trust, not the system's")
    add("--allow-plain", action="store_true", help="allow ws:// to other hosts, token readable")
    _add_folders(parser, "where tasks have their folders and logs")


def _run() -> _Parser:
    parser = _make("run", "Run a job file on this machine, with a farm of its own.")
    add = parser.add_argument
    add("job", type=Path, metavar="JOB.json", help="Afanasy's job JSON")
    add("--agents", type=_count, default=1, metavar="N", help="how many renders to run (1)")
    add("--retries", type=_number, default=1, metavar="N", help="tries after an error (1)")
    add("--report", metavar="FILE", help="write the outcome of every task as JSON; - for stdout")
    add("--sheet", metavar="FILE", help="put all thumbnails on one picture, .png or .jpg")
    add("--no-progress", action="store_true", help="only the summary")
    add("--keep", action="store_true", help="keep the folders of tasks, logs, thumbnails")
    _add_folders(parser, "where tasks have their folders and logs (default: a temporary folder)")
    _add_supervisor(parser)
    return parser


def _submit() -> _Parser:
    parser = _make("submit", "Send a job file, the same that `run` takes, to an afserver.")
    add = parser.add_argument
    add("job", type=Path, metavar="JOB.json", help="Afanasy's job JSON")
    add("--server", metavar="URL", help="af://HOST:PORT (default: af_servername, af_serverport)")
    add("--user", help="whose job it is, if it names nobody (default: AF_USERNAME, your login)")
    add("--wait", action="store_true", help="follow it to its end, as run does")
    add("--report", metavar="FILE", help="with --wait: the outcome of every task; - for stdout")
    add("--no-progress", action="store_true", help="with --wait: only the summary")
    return parser


def _gateway() -> _Parser:
    parser = _make("gateway", "Let agents that connect by websocket be renders of an afserver.")
    add = parser.add_argument
    add("--listen", metavar="URL", help="wss://HOST:PORT for agents; 0.0.0.0 is all addresses")
    add("--server", metavar="URL", help="af://HOST:PORT (default: af_servername, af_serverport)")
    add("--tokens", type=Path, metavar="FILE", help="lines of NAME-OR-PATTERN TOKEN; mode 0600")
    add("--cert", type=Path, metavar="FILE", help="the certificate and its chain (PEM)")
    add("--key", type=Path, metavar="FILE", help="its key, if that is in a file of its own")
    add("--allow-plain", action="store_true", help="allow ws:// beyond this host, tokens readable")
    add(
        "--host-name",
        action="append",
        dest="names",
        default=[],
        metavar="NAME",
        help="a name by which agents reach this host; may be given again",
    )
    add("--max-agents", type=_agents, default=10_000, metavar="N", help="at most (10000)")
    add("--rate", type=_rate, default=50.0, metavar="N", help="messages a second an agent (50)")
    add("--metrics", metavar="HOST:PORT", help="serve counters to Prometheus there")
    add("--store", type=Path, metavar="DIR", help="where ids of renders are kept")
    add("-log_nodate", "--log-nodate", action="store_true", help="no times in the log")
    return parser


def _add_supervisor(parser: _Parser) -> None:
    parser.add_argument(
        "--no-supervisor",
        action="store_true",
        help="hold tasks in the agent's own process: they end with it",
    )


def _config() -> _Parser:
    parser = _make("config", "Print every setting of a render and where it comes from.")
    parser.add_argument(
        "keys",
        nargs="*",
        metavar="KEY",
        help="only these; * and ? stand for letters (all). nimby and NIMBY mean what they do to an agent",
    )
    _add_render(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(nimby=None)
    return parser


def _resources() -> _Parser:
    parser = _make("resources", "Measure this host as a render does, and print it.")
    add = parser.add_argument
    add("--json", action="store_true", help="as JSON; with --watch a line each time")
    add(
        "--watch",
        nargs="?",
        type=_period,
        const=2.0,
        metavar="SECONDS",
        help="measure every so many seconds (2) until Ctrl-C, with small curves on a terminal",
    )
    return parser


def _doctor() -> _Parser:
    parser = _make("doctor", "Say what is wrong with this host as a render, and what mends it.")
    _add_render(parser)
    add = parser.add_argument
    add("--unit", default="", metavar="NAME", help="the systemd unit that runs the agent")
    add("--json", action="store_true", help="as JSON")
    return parser


def _why() -> _Parser:
    parser = _make("why", "Say what became of a task on this host, and why.")
    add = parser.add_argument
    add("task", metavar="TASK", help="as JOB.BLOCK.TASK, or the id of a run")
    add("--name", metavar="NAME", help="the render; without it all of this host")
    add("--store", type=Path, metavar="DIR", help="the store folder (af_store_folder)")
    add("--json", action="store_true", help="as JSON")
    return parser


def _check() -> _Parser:
    parser = _make_check("", "Load, make and use every plugin; say what is wrong with which.")
    parser.epilog = (
        "check parser NAME LOG, check service NAME TASK.json and check meter NAME try one; "
        "each has its own --help."
    )
    return parser


def _check_parser() -> _Parser:
    parser = _make_check("parser", "Replay a log through a parser: which line did what.")
    _add_limit(parser)
    add = parser.add_argument
    add("name", metavar="NAME", help="the parser")
    add("logs", metavar="LOG", nargs="+", help="what a task has printed; - for stdin")
    add("--frames", type=_frames, default=1, metavar="N", help="frames of the task (1)")
    cutting = parser.add_mutually_exclusive_group()
    cutting.add_argument(
        "--chunk",
        default="line",
        metavar="SIZE",
        help="how to cut the log: bytes, line (as usual), whole, random or random:SEED",
    )
    cutting.add_argument(
        "--speed",
        metavar="LINES",
        help="cut it as if the program printed so many lines a second",
    )
    add("--folder", default="", metavar="DIR", help="the task's working folder (this one)")
    add("--html", type=Path, metavar="FILE", help="write the log as a page, coloured by the parser")
    return parser


def _check_service() -> _Parser:
    parser = _make_check("service", "Show what a service makes of a task.")
    _add_limit(parser)
    parser.add_argument("name", metavar="NAME", help="the service")
    parser.add_argument(
        "task",
        type=Path,
        metavar="TASK.json",
        help="keys of taskInfo, or a job: the first task of each block",
    )
    return parser


def _check_meter() -> _Parser:
    parser = _make_check("meter", "Update a meter some times and show its properties.")
    parser.add_argument("name", metavar="NAME", help="the meter")
    return parser


def _add_limit(parser: _Parser) -> None:
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="for all of it (60); 0: none",
    )


def _make_check(kind: str, text: str) -> _Parser:
    parser = _make(f"check {kind}".rstrip(), text)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(kind=kind)
    _add_plugins(parser)
    return parser


_N = TypeVar("_N", int, float)


def _within(kind: type[_N], least: float, most: float, expected: str) -> Callable[[str], _N]:
    """A reader of numbers from `least` to `most`."""

    def number(text: str) -> _N:  # argparse puts this name into its message
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
        help="a folder with services and parsers of your own; may be given again",
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

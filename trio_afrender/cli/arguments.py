"""The command line: its commands, their options and help texts, errors with suggestions.

Imports nothing slow, so that ``--help`` and errors are instant.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from trio_afrender.cli.job_arguments import (
    JOB,
    add_check_job,
    add_run_options,
    add_submit_options,
)
from trio_afrender.cli.steering_arguments import add_steering_commands
from trio_afrender.config.settings import CGRU, OTHERS, OURS, PREFIX
from trio_afrender.errors import ConfigError
from trio_afrender.text import find_near, suggest
from trio_afrender.user_files import expand_home

__all__ = ("NIMBIES", "make_parser", "parse", "split_overrides")

USAGE = """\
trio_afrender [agent] [nimby|NIMBY] --server URL [options]
       trio_afrender run JOB.json [options]
       trio_afrender farm [JOB.json ...] [options]
       trio_afrender web [--server af://HOST:PORT] [options]
       trio_afrender submit JOB.json [--server af://HOST:PORT] [options]
       trio_afrender gateway --listen wss://HOST:PORT --tokens FILE [options]
       trio_afrender check [job FILE | parser|service|meter NAME ...] [options]
       trio_afrender config [KEY ...] [options]
       trio_afrender resources [options]
       trio_afrender doctor [options]
       trio_afrender why JOB.BLOCK.TASK [options]
       trio_afrender token NAME [--expires DATE] [--out FILE]
       trio_afrender unit [agent|gateway|farm] [--user] [options]
       trio_afrender completion bash|zsh|fish|man
       trio_afrender renders|jobs|tasks|output|log ... [options]
       trio_afrender set KIND NAME ... key=value ... [options]
       trio_afrender pause|start|stop|restart|skip|retry|delete ... [options]
       trio_afrender nimby|NIMBY|free|eject|sleep|wake|recover|exit|reboot|shutdown RENDER ..."""
ENDING = """\
  COMMAND --help   the options of a command
  --version        print the version
  --debug          with any command: show the traceback of an error

Exit codes: 0 done, 1 some task failed, 2 bad usage or input, 3 no server or refused.
"""
COMMAND_ENDING = (
    "Any key of the config files can be set, too, as in --af_render_nice 5 or "
    "--trio_afrender.max_tasks 2."
)
FARM_LIMITS = (
    "The farm is for one machine and listens on loopback only. For more hosts run an afserver, and "
    "connect agents to it natively (--server af://HOST) or through `trio_afrender gateway`."
)
NIMBIES = ("nimby", "NIMBY")
CHECKED = ("job", "parser", "service", "meter")
UNITS = ("agent", "gateway", "farm")
COMPLETED = ("bash", "zsh", "fish")
"""Those of `cli.systemd_units` and `cli.shell_completion`, which are not imported for ``--help``."""
_LONG_OPTION = re.compile("-[A-Za-z](?!v*$)[A-Za-z_]+")
"""An option with one dash and several letters, as afrender has; ``-vv`` is none."""
_KEY = re.compile(r"[a-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+|trio_afrender(\.[A-Za-z0-9_]+)+")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line, with its `command`.

    Raises `ConfigError`; ``--help`` after a command exits.
    """
    commands = make_parser()[1]
    before, after = _split_at_command(words, commands)
    command, rest = _take_command(after, [*commands, *NIMBIES])
    rest, overrides = split_overrides([*before, *rest])
    parser = commands[command]
    known = parser._option_string_actions  # noqa: SLF001 - argparse has no public list
    # Before argparse, which reads "-hostnam" as "-h" with the value "ostnam" and prints the help, and
    # which reports the value of a mistyped option as an argument too many.
    index = 0
    while index < len(rest) and rest[index] != "--":
        word = rest[index]
        name = word.partition("=")[0]
        is_long = _LONG_OPTION.fullmatch(word) or (word.startswith("--") and len(word) > 2)
        if is_long and name not in known:
            parser.error(f'unknown argument "{name}"{_hint(name, command, commands)}')
        index += 1 + _count_values(word, rest[index + 1 : index + 2], known)
    options, unknown = parser.parse_known_args(rest)
    if unknown and not unknown[0].startswith("-"):
        parser.error(f'one argument too many: "{unknown[0]}"')
    if unknown:
        parser.error(f'unknown argument "{unknown[0]}"{_hint(unknown[0], command, commands)}')
    options.command = command.removesuffix(" RENDER")
    options.overrides = overrides
    return options


def _split_at_command(
    words: Sequence[str], commands: Mapping[str, argparse.ArgumentParser]
) -> tuple[list[str], Sequence[str]]:
    """Separate the options that stand before the command."""
    known = {
        name: action
        for parser in [*commands.values(), commands["agent"]]
        for name, action in parser._option_string_actions.items()  # noqa: SLF001 - as above
    }
    index = 0
    while index < len(words) and words[index].startswith("-") and words[index] != "-res":
        word = words[index]
        name = word.partition("=")[0]
        is_long = _LONG_OPTION.fullmatch("-" + name.lstrip("-"))
        if name not in known and is_long and not _is_key(name.lstrip("-")):
            return [], words  # a typo, of which the agent's options are the nearest
        index += 1 + _count_values(word, words[index + 1 : index + 2], known)
    command, following = [*words[index : index + 2], "", ""][:2]
    if not command or (command in NIMBIES and (not following or following.startswith("-"))):
        return [], words
    return list(words[:index]), words[index:]


def _count_values(
    word: str, next_words: Sequence[str], options: Mapping[str, argparse.Action]
) -> int:
    """Return how many of the next words are the value of the option `word`: 0 or 1."""
    if "=" in word:
        return 0
    action = options.get(word)
    if action is None:
        return int(word.startswith("--") and _is_key(word[2:]))
    if action.nargs == "?":
        return int(bool(next_words) and not next_words[0].startswith("-"))
    return int(action.nargs is None)


def _hint(option: str, command: str, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the end of an error about an unknown option: the nearest one, or whose option it is."""
    if not option.startswith("-"):
        return ""
    options = {
        name: parser._option_string_actions  # noqa: SLF001 - as above
        for name, parser in commands.items()
    }
    owners = [name for name, known in options.items() if option in known]
    if owners:
        return f": it is an option of {', '.join(owners)}, not of {command}"
    key = PREFIX + option.lstrip("-").replace("-", "_")
    if key in OURS and "--config" in options[command]:
        return f', did you mean "--{key}"?'
    # Without the dashes, which would make all options alike; of one name those with as many dashes.
    alike = "--" if option.startswith("--") else "-"
    names = sorted(options[command], key=lambda name: name.startswith("--") == (alike == "--"))
    spelled = {name.lstrip("-"): name for name in names if len(name) > 2}
    near = find_near(option.lstrip("-"), spelled, cutoff=0.6)
    return "".join(f', did you mean "{spelled[name]}"?' for name in near)


def _take_command(words: Sequence[str], known: Collection[str]) -> tuple[str, Sequence[str]]:
    """Separate the command from its arguments; without a command it is ``agent``."""
    first, second = [*words[:2], "", ""][:2]
    if first == "check" and second and not second.startswith("-"):
        if second in CHECKED:
            return f"check {second}", words[2:]
        hint = suggest(second, CHECKED) or f": expected {', '.join(CHECKED)}, or nothing for all"
        raise ConfigError(f'no kind of plugin "{second}"{hint} (see trio_afrender check --help)')
    if first == "-res":  # afrender's option
        return "resources", words[1:]
    if first in NIMBIES and second and not second.startswith("-"):
        return f"{first} RENDER", words[1:]
    if first.startswith("-") or first in ("", *NIMBIES):
        return "agent", words
    if first in known and " " not in first:
        return first, words[1:]
    hint = suggest(first, known)
    if first.endswith(".json"):
        hint = f', did you mean "trio_afrender run {first}"?'
    raise ConfigError(f'no command "{first}"{hint} (see trio_afrender --help)')


def _is_key(name: str) -> bool:
    """Whether an option names a key of the config files: by its underscore, or as it is known."""
    return name in CGRU or name in OTHERS or _KEY.fullmatch(name) is not None


def split_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate ``--<key> <value>`` from the other arguments; of equal keys the last value counts.

    Raises `ConfigError` for a key without a value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    left = iter(words)
    for word in left:
        name, equals, value = word.removeprefix("--").partition("=")
        if not (word.startswith("--") and _is_key(name)):
            rest.append(word)
            continue
        if not equals:
            try:
                value = next(left)
            except StopIteration:
                raise ConfigError(f"--{name}: expected a value") from None
        overrides[name] = value
    return rest, overrides


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


class _Nimby(argparse.Action):
    """Stores ``nimby`` or ``NIMBY``, of which NIMBY is stronger."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        word = option_string.lstrip("-") if option_string else values
        if word and namespace.nimby != "NIMBY":
            namespace.nimby = word


_N = TypeVar("_N", int, float)


def _within(kind: type[_N], least: float, most: float, expected: str) -> Callable[[str], _N]:
    """Return a function that converts an argument to a number from `least` to `most`."""

    def number(text: str) -> _N:  # argparse prints this name in its error
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
        return value

    return number


_PERIOD = _within(float, 0.1, 86_400, "0.1 to 86400 seconds")


def _option(*names: str, **settings: Any) -> _Parser:  # noqa: ANN401 - as argparse takes them
    """Return a parser with one option, which several commands take over from it."""
    parser = _Parser(add_help=False)
    parser.add_argument(*names, **settings)
    return parser


_PAGE = "127.0.0.1:8080"
"""Where a page is served by default."""
# A shell leaves the ~ of --store=~/x as it is.
_FILE: Mapping[str, Any] = {"type": expand_home, "metavar": "FILE"}
_FOLDER: Mapping[str, Any] = {"type": expand_home, "metavar": "DIR"}


_COMMON = _option(
    "--config",
    action="append",
    default=[],
    **_FILE,
    help="a config file that is read after CGRU's own files; can be repeated",
)
_COMMON.add_argument(
    "-v", "--verbose", action="count", default=0, help="print more messages; -vv: all"
)
_COMMON.add_argument(
    "-V", "--Verbose", action="count", dest="verbose", default=0, help=argparse.SUPPRESS
)
_JSON = _option("--json", action="store_true", help="print JSON")
_LOG = _option("-log_nodate", "--log-nodate", action="store_true", help="no times in the log")
_LOG.add_argument(
    "--log-format", choices=("text", "json"), help="lines of text (default), or a JSON object each"
)
_LOG.add_argument(
    "--log-file", **_FILE, help="write the log to this file, in parts of log.file_bytes"
)
_METRICS = _option(
    "--metrics", metavar="HOST:PORT", help="serve figures for Prometheus at this address"
)
_AFSERVER = _option(
    "--server", metavar="URL", help="af://HOST:PORT (default: af_servername, af_serverport)"
)
_FARM_SERVER = _option(
    "--server",
    metavar="URL",
    help="af://HOST:PORT (default: the farm that is open on this machine, else af_servername)",
)
_NO_SUPERVISOR = _option(
    "--no-supervisor",
    action="store_true",
    help="stop tasks as soon as the agent has gone; without it they continue for the next agent",
)
_PLUGINS = _option(
    "--plugins",
    action="append",
    **_FOLDER,
    help="a folder with services and parsers of your own; can be repeated",
)
_LIMIT = _option(
    "--limit",
    type=_within(float, 0, 1e6, "0 to 1000000 seconds"),
    default=60.0,
    metavar="SECONDS",
    help="the time limit for everything (default: 60); 0: no limit",
)


def _make_render_options() -> _Parser:
    """Return the options that describe a render."""
    parser = _Parser(add_help=False, parents=[_PLUGINS])
    add = parser.add_argument
    for word in NIMBIES:
        text = f"the same as {word}, as in afrender"
        add(f"-{word}", action=_Nimby, dest="nimby", nargs=0, help=text)
    add("--server", metavar="URL", help="af://HOST:PORT, wss://HOST:PORT; ws:// only to this host")
    text = "the render's name (default: AF_HOSTNAME, else this computer's name)"
    add("--name", "-hostname", help=text)
    add("--user", "-username", help="the owner's name (default: AF_USERNAME, else your login name)")
    add("--token-file", **_FILE, help="a file with the server's token; mode 0600")
    add("--ca-file", **_FILE, help="certificates to trust instead of the system's (PEM)")
    text = "allow ws:// to other hosts; the network can read the token then"
    add("--allow-plain", action="store_true", help=text)
    text = "the folder for state, logs and folders of tasks (af_store_folder)"
    add("--store", **_FOLDER, help=text)
    return parser


def make_parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser that prints the help of the program, and that of each command.

    ``check job``, ``check parser``, ``check service`` and ``check meter`` count as commands.
    """
    program = _Parser(
        prog="trio_afrender",
        usage=USAGE,
        description="A render agent for Afanasy farms.",
        epilog=ENDING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    commands = program.add_subparsers(prog="trio_afrender", metavar="COMMAND ...", title="commands")

    def add_command(name: str, text: str, *parents: _Parser, hidden: bool = False) -> _Parser:
        shown: dict[str, Any] = {} if hidden else {"help": text}
        return commands.add_parser(
            name,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=COMMAND_ENDING,
            allow_abbrev=False,
            parents=[_COMMON, *parents],
            **shown,
        )

    _add_farm_commands(add_command)
    add_steering_commands(add_command, _option, _FARM_SERVER, _PERIOD)
    _add_host_commands(add_command)
    _add_install_commands(add_command)
    _add_check_commands(add_command)
    return program, commands.choices


def _add_farm_commands(add_command: Callable[..., _Parser]) -> None:
    render = _make_render_options()
    text = "register this host as a render with a farm's server and run its tasks (the default)"
    add = add_command("agent", text, render, _NO_SUPERVISOR, _LOG, _METRICS).add_argument
    text = "take only the owner's jobs (nimby), or none (NIMBY)"
    add("nimby", nargs="?", action=_Nimby, choices=NIMBIES, help=text)
    text = "only run this command, in the shell and environment of tasks"
    add("-cmd", "--cmd", metavar="COMMAND", help=text)
    text = "tasks print to this terminal; their output is neither parsed nor sent"
    add("-nor", "--no-redirect", action="store_true", help=text)

    text = "run a job file on this machine, with an embedded farm"
    run = add_command("run", text, _PLUGINS, _NO_SUPERVISOR)
    add_run_options(run, partial(_within, int))
    _add_page_options(run.add_argument, with_address=True)

    text = "keep a farm open on this machine, for the commands that look at farms and steer them"
    add_farm = add_command("farm", text, _PLUGINS, _NO_SUPERVISOR, _LOG, _METRICS)
    add_farm.epilog = f"{FARM_LIMITS} {COMMAND_ENDING}"
    add = add_farm.add_argument
    add("jobs", **{**JOB, "nargs": "*", "help": "jobs to submit when it is open"})
    text = "number of renders of its own (default: 1)"
    add("--agents", type=_within(int, 0, 64, "0 to 64"), default=1, metavar="N", help=text)
    text = "where other agents of this machine connect by websocket; loopback only"
    add("--listen", metavar="HOST:PORT", help=text)
    text = "Afanasy's JSON interface; loopback only (default: 127.0.0.1 and af_serverport)"
    add("--json", metavar="HOST:PORT", help=text)
    text = "the folder for jobs, states, outputs and settings, which survive a restart "
    text += "(default: in af_store_folder, one for each port)"
    add("--store", **_FOLDER, dest="folder", help=text)
    text = "move damaged records of the store away, and begin without them"
    add("--move-damaged", action="store_true", help=text)
    add("--gui", **_FOLDER, help="serve CGRU's own browser page from this folder of CGRU")

    _add_page_options(add, with_address=True)

    text = "serve a page with the jobs, renders and tasks of a farm to browsers, and steer it there"
    add = add_command("web", text, _FARM_SERVER, _LOG).add_argument
    text = f"where browsers connect (default: {_PAGE}); elsewhere than loopback with --cert"
    add("--listen", metavar="HOST:PORT", default=_PAGE, help=text)
    add("--open", action="store_true", help="open it in this user's browser")
    _add_page_options(add)

    text = "send a job file, as `run` takes it, to a farm: one open on this machine, or an afserver"
    add_submit_options(add_command("submit", text, _FARM_SERVER).add_argument)

    text = "connect agents that use websockets to an afserver, as its renders"
    add = add_command("gateway", text, _AFSERVER, _LOG, _METRICS).add_argument
    add("--listen", metavar="URL", help="wss://HOST:PORT for agents; 0.0.0.0: all addresses")
    add("--tokens", **_FILE, help="a file of lines NAME-OR-PATTERN TOKEN; mode 0600")
    add("--cert", **_FILE, help="the certificate and its chain (PEM)")
    add("--key", **_FILE, help="the key, if it is not in the file of --cert")
    text = "allow ws:// on other than loopback addresses; the network can read tokens then"
    add("--allow-plain", action="store_true", help=text)
    text = "another host name that agents use for this host; can be repeated"
    add("--host-name", action="append", dest="names", default=[], metavar="NAME", help=text)
    text = "the most agents at once (default: 10000)"
    count = _within(int, 1, 100_000, "1 to 100000")
    add("--max-agents", type=count, default=10_000, metavar="N", help=text)
    text = "the most agents at once with one token (default: half of --max-agents)"
    add("--max-agents-per-token", type=count, metavar="N", help=text)
    text = "messages per second allowed to an agent (default: 50)"
    rate = _within(float, 1, 1e6, "1 to 1000000 messages a second")
    add("--rate", type=rate, default=50.0, metavar="N", help=text)
    add("--store", **_FOLDER, help="the folder for the ids of renders")


def _add_page_options(add: Callable[..., object], *, with_address: bool = False) -> None:
    """Add the options of the page. `with_address`: of a command that serves it beside its work."""
    where = ""
    if with_address:
        where = "--web: "
        text = f"serve its page to browsers (default: {_PAGE})"
        add("--web", nargs="?", const=_PAGE, metavar="HOST:PORT", help=text)
    add("--cert", **_FILE, help=f"{where}the certificate and its chain (PEM), for https")
    add("--key", **_FILE, help=f"{where}the key, if it is not in the file of --cert")
    add(
        "--read-only",
        action="store_true",
        help=f"{where}the page shows the farm and changes nothing",
    )
    text = f"{where}another name by which browsers may address this host; can be repeated"
    add("--host-name", action="append", dest="names_of_host", default=[], metavar="NAME", help=text)


def _add_host_commands(add_command: Callable[..., _Parser]) -> None:
    render = _make_render_options()
    text = "print every setting of a render and where it comes from"
    add = add_command("config", text, render, _JSON).add_argument
    text = "print only these keys, * and ? as in a shell (default: all); "
    text += "nimby and NIMBY are arguments of the agent"
    add("keys", nargs="*", metavar="KEY", help=text)

    text = "measure this host as a render does, and print the figures; --watch repeats it"
    add = add_command("resources", text).add_argument
    add("--json", action="store_true", help="print JSON; with --watch a line each time")
    text = "repeat every SECONDS (default: 2) until Ctrl-C, with small curves on a terminal"
    add("--watch", nargs="?", type=_PERIOD, const=2.0, metavar="SECONDS", help=text)

    text = "print the problems of this host as a render, and the command that fixes each"
    add = add_command("doctor", text, render, _JSON).add_argument
    add("--unit", default="", metavar="NAME", help="the systemd unit that runs the agent")
    text = "run the commands that fix what needs no root, after a question for each"
    add("--fix", action="store_true", help=text)
    add("--yes", action="store_true", help="with --fix: do not ask")

    text = "print the outcome of a task on this host or at a farm, and the reasons for it"
    add = add_command("why", text, _JSON).add_argument
    add("task", metavar="TASK", help="JOB.BLOCK.TASK, or the id of a run")
    text = "ask this farm, af://HOST:PORT (default: this host, else the farm that is open on it)"
    add("--server", metavar="URL", help=text)
    add("--name", "-hostname", metavar="NAME", help="the render (default: all of this host)")
    add("--store", **_FOLDER, help="the store folder (af_store_folder)")


def _add_install_commands(add_command: Callable[..., _Parser]) -> None:
    text = "make a token for an agent, and its line for the gateway's file"
    add = add_command("token", text).add_argument
    add("name", metavar="NAME", help="the render's name, or a pattern of names (cloud-*)")
    text = "the day or minute in UTC from which it is invalid: 2027-01-31, 2027-01-31T18:00Z"
    add("--expires", metavar="DATE", help=text)
    text = "write the token to this new file (mode 0600), and print the line (default: print both)"
    add("--out", **_FILE, help=text)

    text = (
        "print a unit of systemd for an agent, a gateway or a farm, with the paths of this program"
    )
    add = add_command("unit", text).add_argument
    text = "what it starts (default: agent)"
    add("kind", nargs="?", choices=UNITS, default="agent", metavar="KIND", help=text)
    add(
        "--user",
        action="store_true",
        dest="of_user",
        help="for systemctl --user, not for the whole host",
    )
    add("--run-as", metavar="USER", help="the user and group of the unit (default: render)")
    text = "the server of the agent or the gateway (default: that of the settings)"
    add("--server", metavar="URL", help=text)
    text = "the token of an agent, the tokens of a gateway (default: in /etc/trio_afrender)"
    add("--token-file", **_FILE, help=text)
    add("--store", **_FOLDER, help="the folder for its state (default: that of the settings)")

    text = "print the completion script of a shell, or the manual page"
    add = add_command("completion", text).add_argument
    text = f"{', '.join(COMPLETED)}; man: the manual page"
    add("shell", choices=(*COMPLETED, "man"), metavar="SHELL", help=text)


def _add_check_commands(add_command: Callable[..., _Parser]) -> None:
    text = "call every plugin and print their problems, or test one parser, service or meter"
    add_command("check", text, _JSON, _PLUGINS).epilog = (
        "`check parser NAME LOG`, `check service NAME TASK.json` and `check meter NAME` test one "
        "plugin, `check job JOB.json` a job file; each has its own --help."
    )

    text = "replay a log through a parser and print the effect of each line"
    parser = add_command("check parser", text, _JSON, _PLUGINS, _LIMIT, hidden=True)
    add = parser.add_argument
    # Not `name`, which is the name of a render.
    add("plugin", metavar="NAME", help="the parser")
    add("logs", metavar="LOG", nargs="+", help="the output of a task; - for stdin")
    frames = _within(int, 1, 2**31 - 1, "1 to 2147483647")
    add("--frames", type=frames, default=1, metavar="N", help="frames of the task (default: 1)")
    cutting = parser.add_mutually_exclusive_group()
    text = "how to divide the log into chunks: a number of bytes, line (default), whole, random "
    text += "or random:SEED"
    cutting.add_argument("--chunk", default="line", metavar="SIZE", help=text)
    text = "divide it as if the program printed LINES lines per second"
    cutting.add_argument("--speed", metavar="LINES", help=text)
    text = "the task's working folder (default: the current folder)"
    add("--folder", default="", metavar="DIR", help=text)
    add("--html", **_FILE, help="write the log as a page, coloured by the parser")

    text = (
        "print all errors of a job file, or the commands, folders and files of its tasks in order"
    )
    add_check_job(add_command("check job", text, _JSON, _PLUGINS, _LIMIT, hidden=True).add_argument)

    text = "print the command and settings that a service makes for a task"
    add = add_command("check service", text, _JSON, _PLUGINS, _LIMIT, hidden=True).add_argument
    add("plugin", metavar="NAME", help="the service")
    text = "a file with keys of taskInfo, or a job, of which the first task of each block is used"
    add("task", type=expand_home, metavar="TASK.json", help=text)

    text = "update a meter several times and print its properties"
    parser = add_command("check meter", text, _JSON, _PLUGINS, hidden=True)
    parser.add_argument("plugin", metavar="NAME", help="the meter")

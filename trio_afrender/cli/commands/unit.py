"""``trio_afrender unit``: prints a unit of systemd for an agent, a gateway or a farm."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.systemd_units import UnitPlan, is_below_home, make_unit, unit_name
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import is_native
from trio_afrender.user_files import expand_home

__all__ = ("find_program", "run")

_PLACEHOLDER = "farm.example"
_PORT_OF_GATEWAY = 7443


def run(options: Namespace) -> int:
    """Print the unit to stdout, and what is left to do to stderr; return 0. Raises `ConfigError`."""
    if not hasattr(os, "fork"):
        raise ConfigError("unit: systemd is Linux's; for Windows there is examples/windows")
    if options.of_user and options.run_as:
        raise ConfigError("--run-as is for a unit of the host; one of --user runs as its user")
    if options.kind == "farm" and options.server:
        raise ConfigError("--server: a farm is a server itself and connects to none")
    if options.overrides:
        key = next(iter(options.overrides))
        raise ConfigError(f"--{key}: put it into a config file and give that with --config")
    program = find_program()
    settings = load_options(options)
    make = {"agent": _agent_words, "gateway": _gateway_words, "farm": _farm_words}[options.kind]
    plan = UnitPlan(
        kind=options.kind,
        program=program,
        arguments=tuple(make(options, str(settings["server"]))),
        user=options.of_user,
        run_as=options.run_as or "render",
        cgru_location=os.environ.get("CGRU_LOCATION", ""),
        switches_users=bool(settings["trio_afrender.tasks.user"]),
    )
    sys.stdout.write(make_unit(plan))
    # What a person has to do before the unit can be started.
    notes = []
    if any(_PLACEHOLDER in word for word in plan.arguments):
        what = "the name of this host" if plan.kind == "gateway" else "the server (--server URL)"
        notes.append(f"replace {_PLACEHOLDER} in ExecStart by {what}")
    if "--token-file" in plan.arguments:
        path = plan.arguments[plan.arguments.index("--token-file") + 1]
        notes.append(f"put the token into {path}, with mode 0600 and the user of the unit as owner")
    if is_below_home(plan) and not plan.user:
        notes.append(
            f"{plan.program[0]} is in a home folder: the user {plan.run_as} must be able to read it,"
            " or install the program for all users (docs/install.md)"
        )
    for note in notes:
        print_line(f"note: {clean(note)}")
    return 0


def find_program() -> tuple[str, ...]:
    """Return the command that starts this program from any folder."""
    beside = Path(sys.executable).parent / "trio_afrender"
    if beside.is_file():
        return (str(beside),)
    script = Path(sys.argv[0])
    if script.name == "trio_afrender" and script.is_file():
        return (str(script.absolute()),)
    return (sys.executable, "-m", "trio_afrender")


def _agent_words(options: Namespace, server: str) -> list[str]:
    # Spelled out: the unit runs as another user, who may not see the file that names the server.
    server = server or f"af://{_PLACEHOLDER}"
    words = [*_config_words(options), "--server", server]
    token = options.token_file
    if token is None and not is_native(server):
        token = Path(_etc(options), "token")
    return [*words, *_path("--token-file", token), *_path("--store", options.store)]


def _gateway_words(options: Namespace, server: str) -> list[str]:
    folder = _etc(options)
    return [
        *_config_words(options),
        *("--listen", f"wss://0.0.0.0:{_PORT_OF_GATEWAY}", "--host-name", _PLACEHOLDER),
        *("--cert", f"{folder}/farm.pem", "--key", f"{folder}/farm.key"),
        *_path("--tokens", options.token_file or Path(folder, "tokens")),
        *("--server", server or "af://127.0.0.1"),
        *_path("--store", options.store or Path("%S", unit_name("gateway"))),
    ]


def _farm_words(options: Namespace, server: str) -> list[str]:
    del server
    return [*_config_words(options), *_path("--store", options.store)]


def _config_words(options: Namespace) -> list[str]:
    return [word for path in options.config for word in _path("--config", path)]


def _etc(options: Namespace) -> str:
    return "%h/.config/trio_afrender" if options.of_user else "/etc/trio_afrender"


def _path(option: str, path: Path | None) -> list[str]:
    if path is None:
        return []
    specifier = str(path).startswith(("%h/", "%S/"))
    return [option, str(path if specifier else Path.cwd() / expand_home(path))]

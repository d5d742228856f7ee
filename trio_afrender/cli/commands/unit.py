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
    if options.run_as and not (options.run_as.isprintable() and " " not in options.run_as):
        raise ConfigError(f'--run-as "{options.run_as}": expected the name of a user')
    if options.kind == "farm" and options.server:
        raise ConfigError("--server: a farm is a server itself and connects to none")
    if options.overrides:
        key = next(iter(options.overrides))
        raise ConfigError(f"--{key}: put it into a config file and give that with --config")
    program = find_program()
    settings = load_options(options)
    plan = UnitPlan(
        kind=options.kind,
        program=program,
        arguments=_list_arguments(options, str(settings["server"])),
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


def _list_arguments(options: Namespace, server: str) -> tuple[str, ...]:
    """Return the arguments of the program. `server` is that of the settings, '' if none is set."""
    folder = "%h/.config/trio_afrender" if options.of_user else "/etc/trio_afrender"
    words = [word for path in options.config for word in _path("--config", path)]
    store, token = options.store, options.token_file
    if options.kind == "agent":
        # Spelled out: the unit runs as another user, who may not see the file that names the server.
        server = server or f"af://{_PLACEHOLDER}"
        if token is None and not is_native(server):
            token = Path(folder, "token")
        words += ["--server", server, *_path("--token-file", token)]
    elif options.kind == "gateway":
        words += ["--listen", f"wss://0.0.0.0:{_PORT_OF_GATEWAY}", "--host-name", _PLACEHOLDER]
        words += ["--cert", f"{folder}/farm.pem", "--key", f"{folder}/farm.key"]
        words += _path("--tokens", token or Path(folder, "tokens"))
        words += ["--server", server or "af://127.0.0.1"]
        store = store or Path("%S", unit_name("gateway"))
    return (*words, *_path("--store", store))


def _path(option: str, path: Path | None) -> list[str]:
    if path is None:
        return []
    specifier = str(path).startswith(("%h/", "%S/"))
    return [option, str(path if specifier else expand_home(path).absolute())]

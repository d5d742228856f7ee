"""Finds the farm that a command is for: ``--server``, else one open on this machine, else the config's."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from trio_afrender.afserver.client import Dialer
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.farm_record import find_open_farms
from trio_afrender.cli.load_settings import find_afserver, load_options
from trio_afrender.config import Config
from trio_afrender.config.load import Settings, make_config
from trio_afrender.errors import ConfigError, LinkLost

__all__ = ("ask_farm", "choose_farm", "complete_server", "find_remote_farm")

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")

_USE = "this command is for a farm with Afanasy's JSON interface"
_NO_FARM = "open a farm with `trio_afrender farm`, or give --server af://HOST:PORT"


def find_remote_farm(options: Namespace) -> RemoteFarm:
    """Return the farm of a command, without connecting. Raises `ConfigError`, `LinkLost`."""
    complete_server(options)
    settings = load_options(options)
    return choose_farm(settings, make_config(settings), given=bool(options.server))


def complete_server(options: Namespace) -> None:
    """Let the option ``--server`` be ``HOST:PORT`` too. Raises `ConfigError` for an empty one."""
    if options.server == "":  # as a variable of a shell that is not set: no other farm is meant
        raise ConfigError('--server "": give af://HOST:PORT')
    if options.server and "://" not in options.server:
        options.server = f"af://{options.server}"


def choose_farm(settings: Settings, config: Config, *, given: bool) -> RemoteFarm:
    """The same with loaded settings. `given`: the server is one of the command line."""
    farms = find_open_farms(Path(str(settings["af_store_folder"])))
    token = ""
    if not farms and not settings["server"]:
        raise LinkLost(f"no farm is open on this machine, and no server is set; {_NO_FARM}")
    if given or not farms:
        address = find_afserver(settings, _USE)
        # The token of a farm of our own, which no other server gets.
        known = [farm for farm in farms if farm.address == address]
        token = known[0].token if known else ""
    elif len(farms) == 1:
        address, token = farms[0].address, farms[0].token
    else:
        servers = " or ".join(f"--server {farm.address.url}" for farm in farms)
        raise ConfigError(f"{len(farms)} farms are open here: give {servers}")
    return RemoteFarm(
        dialer=Dialer(address, timeout=config.timing.connect),
        user_name=config.user_name,
        host_name=config.name,
        token=token,
    )


def ask_farm(do: Callable[[*_Args], Awaitable[_T]], *args: *_Args) -> _T:
    """Run an async function that asks a farm. The error of one that cannot be reached has what to do."""
    try:
        return trio.run(do, *args)
    except LinkLost as error:
        raise LinkLost(f"{error}; {_NO_FARM}") from error

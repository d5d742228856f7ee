"""Loads the settings of a command: files, environment, and the command's options."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.load import Settings, load_settings
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import NativeAddress, is_native, parse_native
from trio_afrender.user_files import expand_home

__all__ = ("find_afserver", "load_options")

_KEYS = {  # of Settings.values, by the name of the option
    "server": "trio_afrender.server",
    "name": "trio_afrender.name",
    "token_file": "trio_afrender.token_file",
    "ca_file": "trio_afrender.ca_file",
    "allow_plain": "trio_afrender.allow_plain",
    "nimby": "trio_afrender.nimby",
    "plugins": "trio_afrender.plugins",
    "log_format": "trio_afrender.log.format",
    "log_file": "trio_afrender.log.file",
    "store": "af_store_folder",
    "user": "user_name",
}


def load_options(options: Namespace) -> Settings:
    """Read all layers of settings, with `options` on top; print problems of files to stderr.

    Raises `ConfigError`.
    """
    given = {
        key: _to_text(value)
        for name, key in _KEYS.items()
        if (value := getattr(options, name, None)) not in (None, False)
    }
    if getattr(options, "no_supervisor", False):
        given["trio_afrender.supervisor"] = False
    try:
        settings = load_settings(
            environment=os.environ,
            files=options.config,
            arguments=options.overrides,
            options=given,
        )
    except ConfigError as error:
        _warn(error.problems)
        raise
    _warn(settings.problems)
    return settings


def _warn(problems: Iterable[str]) -> None:
    for problem in problems:
        print_line(f"warning: {clean(problem)}")


def find_afserver(settings: Settings, use: str) -> NativeAddress:
    """Return the address of the afserver; raise `ConfigError` if it is not set.

    `use` is a sentence that says why another server does not do.
    """
    server = str(settings["server"])
    if not server:
        raise ConfigError("no server: give --server af://HOST:PORT, or set af_servername")
    if not is_native(server):
        raise ConfigError(f'server "{server}": {use}, give --server af://HOST:PORT')
    return parse_native(server, cast("int", settings["af_serverport"]))


def _to_text(value: object) -> object:
    """Return paths as the settings have them: absolute, as strings."""
    if isinstance(value, Path):
        return str(expand_home(value).absolute())
    if isinstance(value, list):
        return [_to_text(item) for item in value]
    return value

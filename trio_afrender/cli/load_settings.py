"""From the options of a command to settings."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.load import Settings, load_settings

__all__ = ("load_options",)

_KEYS = {
    "server": "trio_afrender.server",
    "name": "trio_afrender.name",
    "token_file": "trio_afrender.token_file",
    "ca_file": "trio_afrender.ca_file",
    "allow_plain": "trio_afrender.allow_plain",
    "nimby": "trio_afrender.nimby",
    "plugins": "trio_afrender.plugins",
    "store": "af_store_folder",
    "user": "user_name",
}


def load_options(options: Namespace) -> Settings:
    """Read all layers, the command line on top; problems of files go to stderr.

    Raises `ConfigError`.
    """
    given = {
        key: _plain(value)
        for name, key in _KEYS.items()
        if (value := getattr(options, name, None)) not in (None, False)
    }
    if getattr(options, "no_supervisor", False):
        given["trio_afrender.supervisor"] = False
    settings = load_settings(
        environment=os.environ,
        files=options.config,
        arguments=options.overrides,
        options=given,
    )
    for problem in settings.problems:
        print_line(f"warning: {clean(problem)}")
    return settings


def _plain(value: object) -> object:
    """Paths as the config has them: absolute texts."""
    if isinstance(value, Path):
        return str(Path.cwd() / value.expanduser())
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value

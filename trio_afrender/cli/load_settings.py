"""Loads the settings of a command: files, environment, and the command's options."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.load import Settings, load_settings

__all__ = ("load_options",)

_KEYS = {  # of Settings.values, by the name of the option
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
    settings = load_settings(
        environment=os.environ,
        files=options.config,
        arguments=options.overrides,
        options=given,
    )
    for problem in settings.problems:
        print_line(f"warning: {clean(problem)}")
    return settings


def _to_text(value: object) -> object:
    """Return paths as the settings have them: absolute, as strings."""
    if isinstance(value, Path):
        return str(Path.cwd() / value.expanduser())
    if isinstance(value, list):
        return [_to_text(item) for item in value]
    return value

"""Checks of a job before it runs: plugin folders, services, parsers, ignored keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError, JobError, PluginNotFound
from trio_afrender.plugins.lookup import list_plugins, near

if TYPE_CHECKING:
    from trio_afrender.jobs.job_file import JobSpec  # an agent has no job files

__all__ = ("check_folders", "check_plugins", "print_warnings")

_NO_PARSER = ("", "none", "parser")


def check_folders(folders: Sequence[Path]) -> None:
    """Raise `ConfigError` for a plugin folder that does not exist."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"plugin folder {folder} does not exist")


def check_plugins(spec: JobSpec, folders: Sequence[Path]) -> None:
    """Raise `JobError` for a service that does not exist; warn on stderr of a missing parser.

    A task cannot start without its service. Without its parser it runs on an Afanasy farm, so it
    must run here, too.
    """
    services = {*list_plugins("service", folders), "service"}
    parsers = {*list_plugins("parser", folders), *_NO_PARSER}
    for number, block in enumerate(spec.blocks):
        if block.service not in services:
            raise JobError(f"blocks[{number}].service", _missing("service", block.service, folders))
    for number, block in enumerate(spec.blocks):
        if block.parser not in parsers:
            text = _missing("parser", block.parser, folders)
            print_line(f"warning: blocks[{number}].parser: {text}; its output is not parsed")


def _missing(kind: str, name: str, folders: Sequence[Path]) -> str:
    return str(PluginNotFound(kind, clean(name), near(kind, name, folders)))


def print_warnings(spec: JobSpec) -> None:
    """Print warnings to stderr: keys that the embedded farm ignores, and probable mistakes."""
    for path in spec.unhonoured:
        print_line(f"warning: {clean(path)} has no effect here")
    for note in spec.notes:
        print_line(f"warning: {clean(note)}")

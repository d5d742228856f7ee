"""Each command in README and docs is one that the command line takes."""

from __future__ import annotations

import pytest
from support.docs_commands import ShownCommand, list_commands

from trio_afrender.cli.arguments import parse

COMMANDS = [command for command in list_commands() if command.words != ("--version",)]
"""The version is printed before anything is parsed."""


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_shown_command_is_accepted(command: ShownCommand) -> None:
    parse(command.words)


def test_commands_are_found_in_readme_and_pages() -> None:
    pages = {command.page for command in COMMANDS}
    assert {"README.md", "docs/quickstart.md", "docs/steering.md", "docs/gateway.md"} <= pages
    assert len(COMMANDS) > 60

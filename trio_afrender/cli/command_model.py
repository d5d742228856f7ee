"""The commands of the command line as values, read from the parsers: for completions and the manual.

`trio_afrender.cli.arguments` is the only place where commands and options stand.
"""

from __future__ import annotations

import argparse

import attrs

from trio_afrender.cli.arguments import make_parser
from trio_afrender.config.settings import CGRU, OURS, SERVICES

__all__ = ("CommandModel", "OptionModel", "ValueModel", "list_commands")

_FILES = ("FILE", "JOB.json", "LOG", "TASK.json")
_FOLDERS = ("DIR",)
_RENDER_OF_COMMAND = " RENDER"
"""Ends the name of a parser whose command is also a command without an argument."""


@attrs.frozen(kw_only=True)
class ValueModel:
    """The value of an option, or a word of a command."""

    name: str
    """As the help shows it: FILE, SECONDS."""
    kind: str
    """``file``, ``folder``, ``words`` or ``text``."""
    words: tuple[str, ...] = ()
    """What it can be, if that is known."""
    optional: bool = False
    repeated: bool = False


@attrs.frozen(kw_only=True)
class OptionModel:
    """One option of a command, with its other spellings."""

    names: tuple[str, ...]
    help: str
    value: ValueModel | None
    """None: an option without a value."""
    repeated: bool


@attrs.frozen(kw_only=True)
class CommandModel:
    """One command: ``run``, ``check parser``."""

    name: str
    help: str
    epilog: str
    options: tuple[OptionModel, ...]
    words: tuple[ValueModel, ...]
    word_helps: tuple[str, ...]
    """The help of each of `words`."""


_DEBUG = OptionModel(
    names=("--debug",), help="show the traceback of an error", value=None, repeated=False
)


def list_commands() -> tuple[CommandModel, ...]:
    """Return all commands in the order of the help; the two-word ones come last."""
    found = []
    for parser_name, parser in make_parser()[1].items():
        name = parser_name.removesuffix(_RENDER_OF_COMMAND)
        actions = [
            action
            for action in parser._actions  # noqa: SLF001 - argparse has no public list
            if action.help is not argparse.SUPPRESS
        ]
        options = [
            OptionModel(
                names=tuple(action.option_strings),
                help=_read_help(parser, action),
                value=None if action.nargs == 0 else _read_value(action),
                repeated=type(action).__name__ in ("_AppendAction", "_CountAction"),
            )
            for action in actions
            if action.option_strings
        ]
        words = [action for action in actions if not action.option_strings]
        command = CommandModel(
            name=name,
            help=(parser.description or "").removesuffix("."),
            epilog=parser.epilog or "",
            options=(*options, _DEBUG),
            words=tuple(_read_value(action, name) for action in words),
            word_helps=tuple(_read_help(parser, action) for action in words),
        )
        found.append(command)
    return tuple(sorted(found, key=lambda command: " " in command.name))


def _read_help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": parser.prog}


def _read_value(action: argparse.Action, command: str = "") -> ValueModel:
    """Describe the value of an action; keys of settings are the words of ``config``."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    words = tuple(map(str, action.choices or ()))
    if command == "config":
        words = tuple(
            sorted(key for key, spec in {**CGRU, **OURS}.items() if spec.kind != SERVICES)
        )
    if words:
        kind = "words"
    elif metavar in _FILES:
        kind = "file"
    else:
        kind = "folder" if metavar in _FOLDERS else "text"
    return ValueModel(
        name=metavar,
        kind=kind,
        words=words,
        optional=action.nargs in ("?", "*"),
        repeated=action.nargs in ("*", "+"),
    )

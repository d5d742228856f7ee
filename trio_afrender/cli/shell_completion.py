"""Completion scripts for bash, zsh and fish, written from the commands of the command line.

The scripts hold every command and option, so the Tab key starts no Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from trio_afrender.cli.command_model import CommandModel, OptionModel, ValueModel, list_commands

__all__ = ("SHELLS", "make_completion")

PROGRAM = "trio_afrender"
DEFAULT_COMMAND = "agent"


def make_completion(shell: str) -> str:
    """Return the completion script for one of `SHELLS`."""
    return SHELLS[shell](list_commands())


def _first_words(commands: Iterable[CommandModel]) -> list[CommandModel]:
    return [command for command in commands if " " not in command.name]


def _second_words(commands: Iterable[CommandModel]) -> dict[str, list[str]]:
    """Return the second words of two-word commands, by the first."""
    found: dict[str, list[str]] = {}
    for command in commands:
        first, _, second = command.name.partition(" ")
        if second:
            found.setdefault(first, []).append(second)
    return found


# -- bash ---------------------------------------------------------------------------------------

_BASH = """\
# bash completion for {program}                                            -*- shell-script -*-

_{program}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    local command= first=2 options=
    COMPREPLY=()
    # Bash divides --option=value into three words.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]] && ((COMP_CWORD > 2)); then
        prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    if ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then
        COMPREPLY=($(compgen -W '{commands}' -- "$cur"))
        return
    fi
    command=${{COMP_WORDS[1]}}
    ((COMP_CWORD == 1)) && command={default} first=1
    [[ $command == -* ]] && command={default} first=1
{seconds}\
    case "$command $prev" in
{option_values}\
    esac
    case $command in
{options}\
    esac
    ((COMP_CWORD == 1)) && options+=' --version'
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    case $command in
{word_values}\
    esac
}}
_{program}_files() {{
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen "$@" -- "$cur"))
}}
complete -F _{program} {program}
"""


def _make_bash(commands: tuple[CommandModel, ...]) -> str:
    seconds = ""
    for first, words in _second_words(commands).items():
        pattern = "|".join(words)
        seconds += (
            f"    if [[ $command == {first} ]] && ((COMP_CWORD == 2)) && [[ $cur != -* ]]; then\n"
            f"        COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$cur\"))\n"
            "        return\n"
            "    fi\n"
            f"    [[ $command == {first} && ${{COMP_WORDS[2]}} == @({pattern}) ]] &&"
            f' command="{first} ${{COMP_WORDS[2]}}" first=3\n'
        )
    options, option_values = "", ""
    for command in commands:
        names = " ".join(name for option in command.options for name in option.names)
        options += f"        \"{command.name}\") options='{names}' ;;\n"
        for option in command.options:
            if option.value is not None and not option.value.optional:
                pattern = "|".join(f'"{command.name} {name}"' for name in option.names)
                option_values += f"        {pattern}) {_bash_values(option.value)}; return ;;\n"
    return _BASH.format(
        program=PROGRAM,
        default=DEFAULT_COMMAND,
        commands=" ".join(dict.fromkeys(command.name for command in _first_words(commands))),
        seconds=seconds,
        option_values=option_values,
        options=options,
        word_values="".join(_bash_words(commands)),
    )


def _bash_words(commands: Iterable[CommandModel]) -> Iterator[str]:
    for command in commands:
        plain = [value for value in command.words if value.kind != "text"]
        if not plain:
            continue
        last = command.words[-1]
        if len(command.words) == 1:
            yield f'        "{command.name}") {_bash_values(last)} ;;\n'
            continue
        # Options before the words move them; a script cannot count words without knowing them all.
        choose = "; ".join(
            f"((COMP_CWORD {'>=' if value is last else '=='} first + {number}))"
            f" && {_bash_values(value)}"
            for number, value in enumerate(command.words)
            if value.kind != "text"
        )
        yield f'        "{command.name}") {choose} ;;\n'


def _bash_values(value: ValueModel) -> str:
    match value.kind:
        case "file":
            return f"_{PROGRAM}_files -f"
        case "folder":
            return f"_{PROGRAM}_files -d"
        case "words":
            return f"COMPREPLY=($(compgen -W '{' '.join(value.words)}' -- \"$cur\"))"
    return "COMPREPLY=()"


# -- zsh ----------------------------------------------------------------------------------------

_ZSH = """\
#compdef {program}

_{program}_commands() {{
    local -a commands=(
{commands}\
    )
    _describe -t commands command commands
}}

_{program}() {{
    local command=$words[2]
    if (( CURRENT == 2 )) && [[ $command != -* ]]; then
        _{program}_commands
        return
    fi
    if [[ $command == -* ]]; then
        (( CURRENT == 2 )) && compadd -- --version
        command={default}
    else
        shift words
        (( CURRENT-- ))
    fi
{seconds}\
    case $command in
{cases}\
    esac
}}

# As an autoloaded function it is called at once; a script that is sourced only defines it.
if [[ $funcstack[1] == _{program} ]]; then
    _{program} "$@"
else
    compdef _{program} {program}
fi
"""


def _make_zsh(commands: tuple[CommandModel, ...]) -> str:
    seconds = ""
    for first, words in _second_words(commands).items():
        seconds += (
            f"    if [[ $command == {first} ]]; then\n"
            "        if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
            f"            compadd {' '.join(words)}\n"
            "            return\n"
            f"        elif [[ $words[2] == ({'|'.join(words)}) ]]; then\n"
            '            command="$command $words[2]"\n'
            "            shift words\n"
            "            (( CURRENT-- ))\n"
            "        fi\n"
            "    fi\n"
        )
    cases = ""
    for command in commands:
        specs = list(_zsh_options(command.options))
        for value in command.words:
            before = "*:" if value.repeated else "::" if value.optional else ":"
            specs.append(_zsh_quote(f"{before}{_zsh_value(value)}"))
        listed = "".join(f" \\\n                {spec}" for spec in specs)
        cases += f"        '{command.name}')\n            _arguments{listed} ;;\n"
    return _ZSH.format(
        program=PROGRAM,
        default=DEFAULT_COMMAND,
        commands="".join(
            f"        {_zsh_quote(f'{command.name}:{command.help}')}\n"
            for command in _first_words(commands)
        ),
        seconds=seconds,
        cases=cases,
    )


def _zsh_quote(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def _zsh_escape(text: str) -> str:
    return re.sub(r"([\\:\[\]])", r"\\\1", text)


def _zsh_options(options: Iterable[OptionModel]) -> Iterator[str]:
    for option in options:
        others = " ".join(option.names)
        for name in option.names:
            before = "*" if option.repeated else f"({others})"
            text = f"{before}{name}"
            if option.value is not None:
                # A long option takes its value as a word of its own, or after "=".
                text += "=" if name.startswith("--") and not option.value.optional else ""
            text += f"[{_zsh_escape(option.help)}]"
            if option.value is not None:
                text += f"{'::' if option.value.optional else ':'}{_zsh_value(option.value)}"
            yield _zsh_quote(text)


def _zsh_value(value: ValueModel) -> str:
    action = " "
    match value.kind:
        case "file":
            action = '_files -g "*.json(-.)"' if value.name.endswith(".json") else "_files"
        case "folder":
            action = "_files -/"
        case "words":
            action = f"({' '.join(value.words)})"
    return f"{_zsh_escape(value.name)}:{action}"


# -- fish ---------------------------------------------------------------------------------------

_FISH = """\
# fish completion for {program}

# Succeeds if the command line names the command $argv; without a command that is {default}.
function __{program}_is
    set -l words (commandline -opc)
    set -e words[1]
    set -l command {default}
    if set -q words[1]; and not string match -q -- '-*' $words[1]
        set command $words[1]
{seconds}\
    end
    test "$command" = "$argv"
end

# Succeeds if no command is given.
function __{program}_none
    set -l words (commandline -opc)
    test (count $words) -eq 1
end

complete -c {program} -f
complete -c {program} -n __{program}_none -l version -d 'print the version'
{lines}"""


def _make_fish(commands: tuple[CommandModel, ...]) -> str:
    seconds = "".join(
        f"        if test $command = {first}; and set -q words[2];"
        f" and contains -- $words[2] {' '.join(words)}\n"
        f'            set command "{first} $words[2]"\n'
        "        end\n"
        for first, words in _second_words(commands).items()
    )
    lines = [
        f"complete -c {PROGRAM} -n __{PROGRAM}_none -a {command.name} -d {_fish_quote(command.help)}"
        for command in _first_words(commands)
    ]
    for first, words in _second_words(commands).items():
        condition = _fish_quote(f"__{PROGRAM}_is {first}")
        lines.append(f"complete -c {PROGRAM} -n {condition} -a {_fish_quote(' '.join(words))}")
    for command in commands:
        condition = _fish_quote(f"__{PROGRAM}_is {command.name}")
        start = f"complete -c {PROGRAM} -n {condition}"
        lines += [f"{start} {_fish_option(option)}" for option in command.options]
        for value in command.words:
            if argument := _fish_value(value):
                lines.append(f"{start} {argument}")
    return _FISH.format(
        program=PROGRAM,
        default=DEFAULT_COMMAND,
        seconds=seconds,
        lines="".join(f"{line}\n" for line in lines),
    )


def _fish_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _fish_option(option: OptionModel) -> str:
    words = []
    for name in option.names:
        kind = "-l" if name.startswith("--") else "-s" if len(name) == 2 else "-o"
        words.append(f"{kind} {name.lstrip('-')}")
    if option.value is not None and not option.value.optional:
        words.append(f"-r {_fish_value(option.value) or '-x'}")
    return f"{' '.join(words)} -d {_fish_quote(option.help)}"


def _fish_value(value: ValueModel) -> str:
    match value.kind:
        case "file":
            return "-F"
        case "folder":
            return "-x -a '(__fish_complete_directories)'"
        case "words":
            return f"-x -a {_fish_quote(' '.join(value.words))}"
    return ""


SHELLS: Mapping[str, Callable[[tuple[CommandModel, ...]], str]] = {
    "bash": _make_bash,
    "zsh": _make_zsh,
    "fish": _make_fish,
}

"""The manual page of the program, in the language of man(7), from the commands of the command line."""

from __future__ import annotations

from trio_afrender.cli.command_model import ValueModel, list_commands
from trio_afrender.config.settings import CGRU
from trio_afrender.version import __version__

__all__ = ("make_manual",)

_DESCRIPTION = """\
A render agent for farms of CGRU Afanasy. It registers with a farm's server under a unique name, runs
the tasks that it is given as process trees, reads their output for progress and errors, and sends
results, thumbnails and the host's load.

Without a command it is the agent. The commands for jobs and farms run a job file on this machine,
keep a farm open, look at a farm and steer it.

Any key of the config files can be set on the command line, too, as in --af_render_nice 5 or
--trio_afrender.max_tasks 2."""
_EXITS = (
    ("0", "Done."),
    ("1", "Some task failed; a check found a fault; the answer to a question was no."),
    ("2", "Bad usage or input: an option, a job file, a setting, a token file, a store folder."),
    ("3", "No server, refused by the server, or another agent of this name runs on this host."),
)
_ENVIRONMENT = (
    ("CGRU_LOCATION", "The folder of CGRU; its config_default.json is read."),
    ("CGRU_CUSTOM_CONFIG", "A config file that is read after CGRU's."),
    ("CGRU_...", "Keys of the config files, as in CGRU_AF_SERVERNAME."),
    ("AF_HOSTNAME, AF_USERNAME", "The render's name and its owner."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd: the agent reports its state."),
)
_FILES = (
    ("~/.cgru/config.json", "The user's settings, read last of all files."),
    (
        f"{CGRU['af_store_folder'].default}/trio_afrender",
        "State, logs and folders of tasks (af_store_folder).",
    ),
)
_SIGNALS = (
    ("SIGTERM, SIGINT", "Running tasks finish, no others start. A second one stops them."),
    ("SIGUSR1", "The agent ends at once; its tasks continue under the next agent of this name."),
)


def make_manual() -> str:
    """Return the page ``trio_afrender.1``."""
    lines = [
        f'.TH TRIO_AFRENDER 1 "" "trio_afrender {__version__}" "User Commands"',
        *(".SH NAME", r"trio_afrender \- render agent for Afanasy farms"),
        *(".SH SYNOPSIS", r".B trio_afrender", r"[\fICOMMAND\fR] [\fIoptions\fR]"),
        *(".SH DESCRIPTION", *(_escape(line) or ".PP" for line in _DESCRIPTION.splitlines())),
        ".SH COMMANDS",
    ]
    for command in list_commands():
        # A heading in quotes: its blanks are part of it.
        lines.append(f'.SS "trio_afrender {_escape(command.name)}"')
        words = " ".join(map(_show, command.words))
        start = rf"\fBtrio_afrender {_escape(command.name)}\fR [\fIoptions\fR] {words}".rstrip()
        lines += [start, ".PP", f"{_escape(command.help)}."]
        for value, text in zip(command.words, command.word_helps, strict=True):
            lines += [".TP", rf"\fI{_escape(value.name)}\fR", _escape(text)]
        for option in command.options:
            if "--help" not in option.names:
                names = ", ".join(rf"\fB{_escape(name)}\fR" for name in option.names)
                value_text = f" {_show(option.value)}" if option.value is not None else ""
                lines += [".TP", f"{names}{value_text}", _escape(option.help)]
        if command.epilog and "Any key of the config files" not in command.epilog:
            lines += [".PP", _escape(command.epilog)]
    for title, rows in (
        ("EXIT STATUS", _EXITS),
        ("SIGNALS", _SIGNALS),
        ("ENVIRONMENT", _ENVIRONMENT),
        ("FILES", _FILES),
    ):
        lines.append(f".SH {title}")
        for name, text in rows:
            lines += [".TP", rf"\fB{_escape(name)}\fR", _escape(text)]
    pages = "systemd.service(5), systemctl(1); the pages in share/trio_afrender/docs."
    return "\n".join([*lines, ".SH SEE ALSO", _escape(pages), ""])


def _show(value: ValueModel) -> str:
    text = rf"\fI{_escape(value.name)}\fR" + (" ..." if value.repeated else "")
    return f"[{text}]" if value.optional else text


def _escape(text: str) -> str:
    """Return a text without meaning for the formatter: no requests, no breaks of hyphens."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    # A backquote would be printed as a curly one.
    escaped = escaped.replace("`", r"\(ga").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped

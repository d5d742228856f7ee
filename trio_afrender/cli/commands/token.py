"""``trio_afrender token``: makes a token for an agent, and its line for the gateway's file."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.safe_files import PLAIN
from trio_afrender.text import MAX_NODE_NAME
from trio_afrender.transport.tokens import make_token, parse_expiry, read_token_file
from trio_afrender.user_files import expand_home

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Make a token; print it, or write it to ``--out`` and print its line. Raises `ConfigError`."""
    name: str = options.name
    if not (name.isascii() and name.isprintable()) or " " in name or name.startswith("#"):
        raise ConfigError(
            f'NAME "{name}": expected the name of a render, or a pattern of names, in ASCII'
            " characters without spaces"
        )
    if not 0 < len(name) <= MAX_NODE_NAME:
        raise ConfigError(f"NAME: expected 1 to {MAX_NODE_NAME} characters, got {len(name)}")
    if options.expires is not None:
        try:
            expires = parse_expiry(options.expires)
        except ValueError as error:
            raise ConfigError(f'--expires "{options.expires}": {error}, in UTC') from error
        if expires <= time.time():
            raise ConfigError(f'--expires "{options.expires}": this time is over')
    token = make_token()
    # The gateway's file needs no more than this to know the token, and who reads it cannot use it.
    digest = hashlib.sha256(token.secret.encode()).hexdigest()
    line = " ".join(filter(None, (name, f"sha256:{digest}", options.expires)))
    if options.out is None:
        sys.stdout.write(f"{token.secret}\n")
        print_line(f"line for the gateway's file (--tokens): {line}")
        return 0
    path = expand_home(options.out).absolute()
    _write_token(path, token.secret)
    sys.stdout.write(f"{line}\n")
    mode = " (mode 0600)" if hasattr(os, "fchmod") else ""  # Windows has no modes
    print_line(
        f"token: {clean(str(path))}{mode}, for `trio_afrender agent --token-file`;"
        " the line is for the gateway's file (--tokens)"
    )
    return 0


def _write_token(path: Path, secret: str) -> None:
    """Write a new file. Raises `ConfigError`, also if an agent would refuse the file."""
    try:
        # A token that is replaced would lock out the agent that has the old one.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise ConfigError(f"--out {path}: it exists; remove it, or give another file") from None
    except OSError as error:
        raise ConfigError(f"--out {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
            if hasattr(os, "fchmod"):  # not on Windows, where the access list of the folder counts
                os.fchmod(descriptor, 0o600)  # whatever the umask took
            file.write(f"{secret}\n")
        read_token_file(path)
    except (OSError, ConfigError) as error:
        path.unlink(missing_ok=True)
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"--out {path}: {problem}") from error

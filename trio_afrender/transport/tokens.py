"""Bearer tokens: made, read from files that nobody else can read, compared without a clock.

A table knows a token by its SHA-256 only, and binds it to one render name or a pattern of
names. Looking one up takes the same time whether, where and how nearly it matches.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError

__all__ = (
    "TokenTable",
    "make_token",
    "may_use",
    "read_token_file",
    "read_tokens_file",
)

# What RFC 6750 lets a bearer token be; nothing in it can end a header line.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)
_SIZE_LIMIT = 4 * 1024 * 1024


def make_token() -> Token:
    """A token that nobody can guess."""
    return Token(secrets.token_urlsafe(32))


def may_use(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns (``*``, ``?``, ``[...]``) covers a render name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class TokenTable:
    """Which token opens the door for which render names."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, bytes]] = []

    @classmethod
    def single(cls, token: Token, pattern: str = "*") -> TokenTable:
        """A table with one token, for every name unless told otherwise."""
        table = cls()
        table.add(pattern, token)
        return table

    def add(self, pattern: str, token: Token) -> None:
        """Let a token in under the names that the pattern covers."""
        self.add_digest(pattern, hashlib.sha256(token.secret.encode()).digest())

    def add_digest(self, pattern: str, digest: bytes) -> None:
        """The same for a token of which only the SHA-256 is known."""
        self._entries.append((pattern, digest))

    def names_for(self, token: Token) -> tuple[str, ...]:
        """The patterns of names that a token may use; empty: nobody knows it."""
        digest = hashlib.sha256(token.secret.encode("utf-8", "surrogatepass")).digest()
        same = [hmac.compare_digest(digest, known) for _, known in self._entries]
        return tuple(pattern for (pattern, _), hit in zip(self._entries, same, strict=True) if hit)


def read_token_file(path: Path) -> Token:
    """The token in a file of ours with mode 0600. Raises ConfigError for any other file."""
    text = _read_private(path).strip()
    if not _TOKEN.fullmatch(text):
        what = "is empty" if not text else "does not hold one token of letters, digits and ._~+/-="
        raise ConfigError(f"token file {path} {what}")
    return Token(text)


def read_tokens_file(path: Path) -> TokenTable:
    """A server's tokens: lines of a name or pattern and a token or ``sha256:HEX``.

    Blank lines and lines that start with ``#`` are left out. Raises ConfigError.
    """
    table = TokenTable()
    known: set[str] = set()
    for number, line in enumerate(_read_private(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        if len(words) != 2:
            raise ConfigError(f"tokens file {path}, line {number}: expected NAME-OR-PATTERN TOKEN")
        pattern, secret = words
        hashed = _DIGEST.fullmatch(secret)
        if hashed:
            table.add_digest(pattern, bytes.fromhex(hashed[1]))
        elif _TOKEN.fullmatch(secret):
            table.add(pattern, Token(secret))
        else:
            raise ConfigError(f"tokens file {path}, line {number}: not a token")
        known.add(pattern)
    if not known:
        raise ConfigError(f"tokens file {path} holds no token, so no render could come in")
    return table


def _read_private(path: Path) -> str:
    """The text of a file that only we can read; judged after opening, so it cannot be swapped."""
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            data = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"token file {path}: {error.strerror or error}") from error
    if len(data) > _SIZE_LIMIT:
        raise ConfigError(f"token file {path} is larger than {_SIZE_LIMIT} bytes")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ConfigError(f"token file {path} holds more than plain ASCII text") from error


def _check_private(path: Path, status: os.stat_result) -> None:
    # A pipe is what a shell's <(...) or an inherited descriptor is: /dev/fd/N.
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
        raise ConfigError(f"token file {path} is not a file")
    if not hasattr(os, "geteuid"):
        return  # no modes to speak of where there are no such users
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"token file {path} belongs to somebody else (user id {status.st_uid})")
    if status.st_mode & 0o077:
        raise ConfigError(
            f"token file {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}): "
            "chmod 600"
        )

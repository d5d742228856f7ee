"""Bearer tokens: generate them, read them from private files, compare them in constant time.

A table stores only the SHA-256 of a token and binds it to one render name or a pattern of names. A
look-up takes the same time whether or not a token matches, and whichever entry it matches.
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
from trio_afrender.private_folder import find_unsafe

__all__ = (
    "TokenTable",
    "make_token",
    "may_use",
    "read_token_file",
    "read_tokens_file",
)

# The characters that RFC 6750 allows. None of them can end a header line.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)
_SIZE_LIMIT = 4 * 1024 * 1024


def make_token() -> Token:
    """Return a new random token of 256 bits."""
    return Token(secrets.token_urlsafe(32))


def may_use(patterns: Iterable[str], name: str) -> bool:
    """Return whether one of the patterns (``*``, ``?``, ``[...]``) matches a render name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class TokenTable:
    """The tokens that a server accepts, each with the render names that it is valid for."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, bytes]] = []

    @classmethod
    def single(cls, token: Token, pattern: str = "*") -> TokenTable:
        """Return a table with one token, valid for the names that `pattern` matches."""
        table = cls()
        table.add(pattern, token)
        return table

    def add(self, pattern: str, token: Token) -> None:
        """Accept a token for the names that `pattern` matches."""
        self.add_digest(pattern, hashlib.sha256(token.secret.encode()).digest())

    def add_digest(self, pattern: str, digest: bytes) -> None:
        """Accept a token of which only the SHA-256 is known."""
        self._entries.append((pattern, digest))

    def names_for(self, token: Token) -> tuple[str, ...]:
        """Return the patterns of names that a token is valid for; empty for an unknown token."""
        digest = hashlib.sha256(token.secret.encode("utf-8", "surrogatepass")).digest()
        # Every entry is compared before any result is used, so that the duration tells a client
        # nothing about the table.
        same = [hmac.compare_digest(digest, known) for _, known in self._entries]
        return tuple(pattern for (pattern, _), hit in zip(self._entries, same, strict=True) if hit)


def read_token_file(path: Path) -> Token:
    """Return the token in a file that only this user and root can read.

    Raises `ConfigError` for a file with other permissions or with anything but one token in it.
    """
    text = _read_private(path).strip()
    if not _TOKEN.fullmatch(text):
        what = "is empty" if not text else "does not hold one token of letters, digits and ._~+/-="
        raise ConfigError(f"token file {path} {what}")
    return Token(text)


def read_tokens_file(path: Path) -> TokenTable:
    """Return the tokens of a server: each line has a name or pattern, and a token or ``sha256:HEX``.

    Blank lines and lines that start with ``#`` are skipped. Raises `ConfigError`.
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
        raise ConfigError(f"tokens file {path} holds no token, so no render could connect")
    return table


def _check_folders(path: Path) -> None:
    """Raise `ConfigError` if another user could exchange the file at `path`."""
    if str(path).startswith(("/dev/", "/proc/")):
        return  # a descriptor of this process
    # The file too may be a link, as in the volumes of a Kubernetes secret.
    for folder in {path.parent, path.resolve().parent}:
        if unsafe := find_unsafe(folder, follow=True):
            where, problem = unsafe
            raise ConfigError(
                f"token file {path}: another user could exchange it, because {where} {problem} or"
                " move the file"
            )


def _read_private(path: Path) -> str:
    """Return the text of a file that only this user and root can read. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            # The open file is checked, not the path: the path may name another file a moment later.
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            # A pipe is allowed for a shell's <(...) and for inherited descriptors (/dev/fd/N).
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
                raise ConfigError(f"token file {path} is not a file")
            if hasattr(os, "geteuid"):  # not on Windows, which has no POSIX owners and modes
                if status.st_uid not in (os.geteuid(), 0):
                    owner = f"user id {status.st_uid}"
                    raise ConfigError(f"token file {path} belongs to another user ({owner})")
                if mode & 0o077:
                    raise ConfigError(
                        f"token file {path} can be read by others (mode {mode:04o}): chmod 600"
                    )
            _check_folders(path)
            data = file.read(_SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"token file {path}: {error.strerror or error}") from error
    if len(data) > _SIZE_LIMIT:
        raise ConfigError(f"token file {path} is larger than {_SIZE_LIMIT} bytes")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise ConfigError(f"token file {path} holds more than plain ASCII text") from error

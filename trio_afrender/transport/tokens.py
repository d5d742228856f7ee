"""Bearer tokens: generate them, read them from private files, compare them in constant time.

A table stores only the SHA-256 of a token and binds it to one render name or a pattern of names. A
look-up takes the same time whether or not a token matches, and whichever entry it matches. A token
may expire.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote

import attrs

from trio_afrender.config.settings import Token
from trio_afrender.errors import ConfigError
from trio_afrender.private_folder import find_unsafe

__all__ = (
    "MIN_TOKEN",
    "TokenGrant",
    "TokenTable",
    "make_token",
    "may_use",
    "parse_expiry",
    "read_token_file",
    "read_tokens_file",
)

# The characters that RFC 6750 allows. None of them can end a header line.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)
MIN_TOKEN = 16
"""Characters of a token: shorter ones can be found by trying."""
_TOO_SHORT = (
    f"holds a token of less than {MIN_TOKEN} characters, which can be found by trying; make one with"
    " `trio_afrender token NAME`"
)
_EXPIRIES = (
    ("%Y-%m-%d", r"\d{4}-\d\d-\d\d", timedelta(days=1)),
    ("%Y-%m-%dT%H:%MZ", r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", timedelta()),
)
"""Forms of an expiry: for `strptime`, which alone takes other spellings too, and what is added."""
_SIZE_LIMIT = 4 * 1024 * 1024


def make_token() -> Token:
    """Return a new random token of 256 bits."""
    return Token(secrets.token_urlsafe(32))


def may_use(patterns: Iterable[str], name: str) -> bool:
    """Return whether one of the patterns (``*``, ``?``, ``[...]``) matches a render name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@attrs.frozen(slots=True)
class TokenGrant:
    """What a client's token is valid for."""

    digest: bytes
    """The token's SHA-256, which identifies its holder."""
    patterns: tuple[str, ...] = ()
    """Patterns of render names; empty for an unknown or expired token."""
    expired: bool = False
    """Whether the token is known and is valid no more."""


class TokenTable:
    """The tokens that a server accepts, each with the render names that it is valid for.

    `clock` returns the Unix time, for tokens that expire.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: list[tuple[str, bytes, float]] = []

    @classmethod
    def single(cls, token: Token, pattern: str = "*") -> TokenTable:
        """Return a table with one token, valid for the names that `pattern` matches."""
        table = cls()
        table.add(pattern, token)
        return table

    def add(self, pattern: str, token: Token, expires: float = math.inf) -> None:
        """Accept a token for the names that `pattern` matches, until the Unix time `expires`.

        Raises `ConfigError` for a token that no client can send. An empty one would let clients in
        that send none.
        """
        if not token.sendable:
            raise ConfigError(
                f'the token for "{pattern}" is empty or has characters that no client can send'
            )
        self.add_digest(pattern, hashlib.sha256(token.secret.encode()).digest(), expires)

    def add_digest(self, pattern: str, digest: bytes, expires: float) -> None:
        """Accept a token of which only the SHA-256 is known."""
        self._entries.append((pattern, digest, expires))

    def replace(self, other: TokenTable) -> bool:
        """Accept the tokens of another table instead. Both have them from now on.

        Returns whether they are others than before.
        """
        before, self._entries = self._entries, other._entries
        return self._entries != before

    def find(self, token: Token) -> TokenGrant:
        """Look a client's token up."""
        digest = hashlib.sha256(token.secret.encode("utf-8", "surrogatepass")).digest()
        now = self._clock()
        # Every entry is compared before any result is used, so that the duration tells a client
        # nothing about the table.
        same = [hmac.compare_digest(digest, known) for _, known, _ in self._entries]
        found = [each for each, hit in zip(self._entries, same, strict=True) if hit]
        patterns = tuple(pattern for pattern, _, expires in found if now < expires)
        return TokenGrant(digest, patterns, expired=bool(found) and not patterns)

    def patterns_by_digest(self) -> dict[bytes, list[str]]:
        """Return the patterns of all tokens that are valid now.

        For sessions that have proven their tokens: unlike `find`, a look-up here takes a time that
        depends on the digest.
        """
        now, found = self._clock(), dict[bytes, list[str]]()
        for pattern, digest, expires in self._entries:
            if now < expires:
                found.setdefault(digest, []).append(pattern)
        return found


def read_token_file(path: Path) -> Token:
    """Return the token in a file that only this user and root can read.

    Raises `ConfigError` for a file with other permissions or with anything but one token in it.
    """
    text = _read_private(path).strip()
    if not _TOKEN.fullmatch(text):
        what = "is empty" if not text else "does not hold one token of letters, digits and ._~+/-="
        raise ConfigError(f"token file {path} {what}")
    if len(text) < MIN_TOKEN:
        raise ConfigError(f"token file {path} {_TOO_SHORT}")
    return Token(text)


def read_tokens_file(path: Path) -> TokenTable:
    """Return the tokens of a server. A line has a name or pattern, a token or ``sha256:HEX``, and
    for a token that expires the day or minute, in UTC.

    Blank lines and lines that start with ``#`` are skipped. Raises `ConfigError`.
    """
    table = TokenTable()
    known = False
    for number, line in enumerate(_read_private(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split()
        where = f"tokens file {path}, line {number}"  # the errors do not repeat the token
        if len(words) not in (2, 3):
            raise ConfigError(f"{where}: expected NAME-OR-PATTERN TOKEN [EXPIRY]")
        try:
            expires = parse_expiry(words[2]) if words[2:] else math.inf
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        if hashed := _DIGEST.fullmatch(words[1]):
            table.add_digest(words[0], bytes.fromhex(hashed[1]), expires)
        elif not _TOKEN.fullmatch(words[1]):
            raise ConfigError(f"{where}: not a token")
        elif len(words[1]) < MIN_TOKEN:
            raise ConfigError(f"{where}: {_TOO_SHORT}")
        else:
            table.add(words[0], Token(words[1]), expires)
        known = True
    if not known:
        raise ConfigError(f"tokens file {path} holds no token, so no render could connect")
    return table


def parse_expiry(text: str) -> float:
    """Return the Unix time from which a token is invalid: for a day, that of its end.

    Raises ValueError.
    """
    for form, pattern, rest in _EXPIRIES:
        if re.fullmatch(pattern, text, re.ASCII):
            with suppress(ValueError, OverflowError):
                day = datetime.strptime(text, form).replace(tzinfo=UTC)
                return (day + rest).timestamp()
    raise ValueError("expected an expiry like 2027-01-31 or 2027-01-31T18:00Z")


def _check_folders(path: Path) -> None:
    """Raise `ConfigError` if another user could exchange the file at `path`."""
    if str(path).startswith(("/dev/", "/proc/")):
        return  # a descriptor of this process
    # The file too may be a link, as in the volumes of a Kubernetes secret.
    for folder in {path.parent, path.resolve().parent}:
        if unsafe := find_unsafe(folder, follow=True):
            where, problem = unsafe
            raise ConfigError(
                f"token file {path}: another user could exchange it, because {where} {problem}"
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
                        f"token file {path} can be read by others (mode {mode:04o}):"
                        f" chmod 600 {quote(str(path))}"
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

"""Who looks at the page: one-time tokens, sessions behind cookies, seats of viewers, rates. No I/O.

Tokens and cookies are kept as SHA-256, so what is in memory opens nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from trio_afrender.transport.connection_seats import address_group

__all__ = ("PageSession", "RequestRates", "SessionTable", "TokenRefused", "ViewerSeats")

_MAX_SESSIONS = 1000
_MAX_USED = 1000
"""Used tokens that are remembered, to say why they are refused."""
_IDLE = 24 * 3600.0
"""Seconds without a request and without a stream after which a session is over."""
_MAX_ADDRESSES = 4096


class TokenRefused(Exception):
    """A token that opens no session. The message is for the person who has it."""


@attrs.define(slots=True, eq=False)
class PageSession:
    """A user in a browser, who may look, and perhaps steer."""

    name: str
    """For the log of actions."""
    steer: bool
    address: str
    used: float = 0.0
    """The clock at the last request."""
    local: bool = False
    """Whether it is the user of this program, without a link."""
    streams: int = 0
    """Streams of events that are open."""
    number: int = 0
    """Tells it from other sessions of that name; 0: of the user of this program."""

    @property
    def key(self) -> str:
        """What its requests are counted under."""
        return f"session {self.number}"


class SessionTable:
    """Tokens and sessions. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: dict[bytes, bool] = {}
        self._used: OrderedDict[bytes, None] = OrderedDict()
        self._sessions: OrderedDict[bytes, PageSession] = OrderedDict()
        self._last = 0

    def make_token(self, *, steer: bool) -> str:
        """Return a token that opens one session."""
        token = secrets.token_urlsafe(32)
        self._tokens[_digest(token)] = steer
        return token

    def redeem(self, token: str, address: str) -> tuple[str, PageSession]:
        """Use up a token; return the secret of a cookie and its session. Raises `TokenRefused`."""
        digest = _digest(token)
        steer = self._tokens.pop(digest, None)
        if steer is None:
            if digest in self._used:
                raise TokenRefused(
                    "this link was used already: each opens one session, and the terminal that"
                    " printed it has printed the next one"
                )
            raise TokenRefused(
                "this link is not one of this page: open the last one that the terminal printed"
            )
        self._used[digest] = None
        if len(self._used) > _MAX_USED:
            self._used.popitem(last=False)
        secret = secrets.token_urlsafe(32)
        kind = "a visitor" if steer else "a visitor who may look"
        self._last += 1
        name = f"{kind} at {address}"
        session = PageSession(name, steer, address, self._clock(), number=self._last)
        self._sessions[_digest(secret)] = session
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return secret, session

    def find(self, secret: str) -> PageSession | None:
        """Return the session of a cookie; None if there is none any more."""
        digest = _digest(secret)
        session = self._sessions.get(digest)
        if session is None:
            return None
        now = self._clock()
        if not session.streams and session.used + _IDLE <= now:
            del self._sessions[digest]
            return None
        session.used = now
        self._sessions.move_to_end(digest)
        return session

    @contextmanager
    def use(self, session: PageSession) -> Iterator[None]:
        """Count a session as used while the body runs: the page is open somewhere."""
        session.streams += 1
        try:
            yield
        finally:
            session.streams -= 1
            session.used = self._clock()


def _digest(secret: str) -> bytes:
    # Look-ups by digest take the same time for every wrong secret, as far as its writer can tell.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class ViewerSeats:
    """Places for viewers, in total and for each address. None is displaced: viewers stay for hours,
    and one that was displaced would come back at once."""

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        self._of: dict[str, int] = {}

    @property
    def taken(self) -> int:
        return sum(self._of.values())

    def refuse(self, address: str, *, local: bool) -> str:
        """Why there is no place for one more; '' if there is. `local` has no share of its own."""
        if self.taken >= self._total:
            return f"{self._total} viewers look at this page already, the most that it serves"
        if not local and self._of.get(address_group(address), 0) >= self._share:
            return f"{self._share} viewers look from {address} already, the most of one address"
        return ""

    @contextmanager
    def take(self, address: str) -> Iterator[None]:
        """Hold a place while the body runs."""
        group = address_group(address)
        self._of[group] = self._of.get(group, 0) + 1
        try:
            yield
        finally:
            self._of[group] -= 1
            if not self._of[group]:
                del self._of[group]


class RequestRates:
    """How many requests each address or session may make: `rate` a second over time, `burst` at
    once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_time(self, key: str) -> float:
        """Count a request; return the seconds to wait before the next try, 0: it is allowed."""
        now = self._clock()
        left, since = self._left.get(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        self._left.move_to_end(key)
        if len(self._left) > _MAX_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate

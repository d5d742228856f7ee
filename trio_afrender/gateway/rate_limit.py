"""Limits the rate of messages with a token bucket. No I/O."""

from __future__ import annotations

import attrs

__all__ = ("TokenBucket",)


@attrs.define(eq=False)
class TokenBucket:
    """Allows `rate` messages a second over time, and `burst` messages at once."""

    rate: float
    burst: float
    _level: float = attrs.field(init=False)
    _seen: float | None = None

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float) -> float:
        """Count one message; return the seconds to wait before it is handled."""
        if self._seen is not None:
            grown = max(now - self._seen, 0.0) * self.rate
            self._level = min(self._level + grown, self.burst)
        self._seen = now
        self._level -= 1.0
        return max(-self._level / self.rate, 0.0)

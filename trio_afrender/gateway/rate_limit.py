"""Limits the rate of messages and of their bytes with token buckets. No I/O."""

from __future__ import annotations

import attrs

__all__ = ("TokenBucket",)


@attrs.define(eq=False)
class TokenBucket:
    """Allows `rate` units (messages, bytes) a second over time, and `burst` units at once."""

    rate: float
    burst: float
    _level: float = attrs.field(init=False)
    _seen: float | None = None

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float, amount: float = 1.0) -> float:
        """Count a message of `amount` units; return the seconds to wait before it is handled."""
        if self._seen is not None:
            grown = max(now - self._seen, 0.0) * self.rate
            self._level = min(self._level + grown, self.burst)
        self._seen = now
        self._level -= amount
        return max(-self._level / self.rate, 0.0)

"""How fast one agent may speak: a bucket of tokens that fills at a steady rate. Pure."""

from __future__ import annotations

import attrs

__all__ = ("TokenBucket",)


@attrs.define(eq=False)
class TokenBucket:
    """Lets `rate` messages a second pass in the long run, and `burst` of them at once."""

    rate: float
    burst: float
    _level: float = attrs.field(init=False)
    _seen: float | None = None

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float) -> float:
        """Take one message out; return the seconds to wait before it may pass."""
        if self._seen is not None:
            grown = max(now - self._seen, 0.0) * self.rate
            self._level = min(self._level + grown, self.burst)
        self._seen = now
        self._level -= 1.0
        return max(-self._level / self.rate, 0.0)

"""From a share to the colours of a graph: green at ease, yellow half way, red at the end."""

from __future__ import annotations

__all__ = ("green_to_red", "share_between")


def share_between(value: float, low: float, high: float) -> float:
    """Where `value` stands between `low` (0.0) and `high` (1.0), never outside."""
    if high <= low:
        return 1.0 if value >= high else 0.0
    return min(max((value - low) / (high - low), 0.0), 1.0)


def green_to_red(share: float) -> tuple[int, int, int]:
    """The colour, each part 0..255."""
    share = min(max(share, 0.0), 1.0)
    return round(255 * min(2 * share, 1.0)), round(255 * min(2 - 2 * share, 1.0)), 0

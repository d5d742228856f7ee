"""Colours of a graph by a share: green for little, yellow half way, red for all."""

from __future__ import annotations

__all__ = ("green_to_red", "share_between")


def share_between(value: float, low: float, high: float) -> float:
    """Map `value` to 0.0 (at `low`) .. 1.0 (at `high`); values outside are clipped."""
    if high <= low:
        return 1.0 if value >= high else 0.0
    return min(max((value - low) / (high - low), 0.0), 1.0)


def green_to_red(share: float) -> tuple[int, int, int]:
    """Return red, green and blue, each 0 to 255; the share is clipped to 0.0 .. 1.0."""
    share = min(max(share, 0.0), 1.0)
    return round(255 * min(2 * share, 1.0)), round(255 * min(2 - 2 * share, 1.0)), 0

"""The settings of a page."""

from __future__ import annotations

import ssl

import attrs

__all__ = ("PageSettings",)


@attrs.frozen(slots=True, kw_only=True)
class PageSettings:
    """Where a page is served, and its limits."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""
    ssl_context: ssl.SSLContext | None = None
    """None: plain HTTP, which is for loopback addresses alone."""
    names: tuple[str, ...] = ()
    """Names by which browsers may address this host, beside its own."""
    read_only: bool = False
    """Whether all users may only look."""
    own_farm: bool = False
    """Whether the farm is one of this program, not an afserver."""
    max_viewers: int = 256
    max_viewers_per_address: int = 64
    """Of other hosts."""

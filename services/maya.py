"""Maya with its own renderers.

By default without a parser: what Maya tells depends on the renderer. The parser `maya` knows errors.
"""

from __future__ import annotations

from services import service

__all__ = ("maya",)

parser = ""


class maya(service.service):
    """The base class as it is."""

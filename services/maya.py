"""Maya with its own renderers.

No parser by default: what Maya prints depends on the renderer. The parser `maya` finds Maya's
errors.
"""

from __future__ import annotations

from services import service

__all__ = ("maya",)

parser = ""


class maya(service.service):
    """The base class as it is."""

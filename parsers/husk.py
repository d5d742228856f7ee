r"""Houdini's husk, which renders USD files with Karma (CPU or XPU) or another Hydra delegate.

    [17:07:19] Loading /tmp/render.usd
    ALF_PROGRESS 45%

Progress is printed with verbosity in Alfred's style (``--verbose a``). No known log names the files
that it writes, so thumbnails are made of the block's files.
"""

from __future__ import annotations

from parsers.karma import karma

__all__ = ("husk",)


class husk(karma):
    """Karma's progress. USD errors are warnings: husk's exit code shows errors."""

    warnings = (*karma.warnings, "USD ERROR", "Warning: in ")

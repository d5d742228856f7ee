r"""Houdini's husk, which renders USD files with Karma (CPU or XPU) or another Hydra delegate.

    [17:07:19] Loading /tmp/render.usd
    ALF_PROGRESS 45%

Progress is told with verbosity in Alfred's style (``--verbose a``); files it writes are not told in
any log that we know, so that a task's own list of files is what thumbnails are made of.
"""

from __future__ import annotations

from parsers.karma import karma

__all__ = ("husk",)


class husk(karma):
    """Karma's progress; what USD cannot make out is a warning, husk's exit status is the verdict."""

    warnings = (*karma.warnings, "USD ERROR", "Warning: in ")

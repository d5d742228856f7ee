"""How full some folders' disks are, each asked aside: a dead mount must not hide the others."""

from __future__ import annotations

import shutil
from functools import partial

from resmeters import resbase
from resmeters._background import Aside, Late
from resmeters._colours import green_to_red, share_between

__all__ = ("disk_space",)

PATIENCE = 1.0
"""Seconds a disk may take; local ones take microseconds."""
GIB = 1024**3
FULL = 95
"""Percent from which the label turns red: renders will soon fail."""


class disk_space(resbase.resbase):
    """The fullest disk's percent; the label has a line for each folder.

    The folders are the setting ``disk_folders``, else the one of ``af_render_hddspace_path``.
    """

    def __init__(self) -> None:
        super().__init__()
        own = str(self.settings.variables.get("af_render_hddspace_path") or "/")
        folders = self.settings.disk_folders or (own,)
        self._asides = {name: Aside(partial(shutil.disk_usage, name)) for name in folders}
        self.valid = True

    def update(self) -> None:
        lines, tips, worst, trouble = [], [], 0.0, False
        for folder, aside in self._asides.items():
            try:
                usage = aside.answer(PATIENCE)
            except (OSError, Late) as error:
                said = str(error) if isinstance(error, Late) else error.strerror or str(error)
                lines.append(f"{folder}: {said}")
                tips.append(f"{folder}: {said}")
                trouble = True
                continue
            # As `df` counts: what only root may still use is not free.
            percent = 100.0 * usage.used / max(usage.used + usage.free, 1)
            worst = max(worst, percent)
            lines.append(f"{folder} {percent:.0f}%")
            tips.append(f"{folder}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB are free")
        self.value = int(worst)
        self.graphr, self.graphg, self.graphb = green_to_red(share_between(worst, 50, 100))
        self.labelr, self.labelg, self.labelb = (
            (255, 64, 64) if trouble or worst >= FULL else (255, 255, 0)
        )
        self.height = 20 + 15 * len(lines)
        self.label = "\n".join(lines)
        self.tooltip = "\n".join(tips)

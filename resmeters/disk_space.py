"""How full the disks of some folders are. Each is read in a thread: a dead mount hides no other."""

from __future__ import annotations

import shutil
from functools import partial

from resmeters import resbase
from resmeters._background import Background, wait_for_all
from resmeters._colours import green_to_red, share_between

__all__ = ("disk_space",)

DISK_TIMEOUT = 1.0
"""Seconds for all folders together; a local disk answers in microseconds."""
GIB = 1024**3
NEARLY_FULL = 95
"""Percent from which the label is red: renders will soon fail."""


class disk_space(resbase.resbase):
    """Percent of the fullest disk; the label has a line for each folder.

    The setting ``disk_folders`` lists the folders, by default that of ``af_render_hddspace_path``.
    """

    def __init__(self) -> None:
        super().__init__()
        own = str(self.settings.variables.get("af_render_hddspace_path") or "/")
        folders = self.settings.disk_folders or (own,)
        self._usages = {name: Background(partial(shutil.disk_usage, name)) for name in folders}
        self.valid = True

    def update(self) -> None:
        lines, tips, worst, failed = [], [], 0.0, False
        for folder, usage in wait_for_all(self._usages.items(), DISK_TIMEOUT):
            if isinstance(usage, Exception):
                text = getattr(usage, "strerror", None) or str(usage)
                lines.append(f"{folder}: {text}")
                tips.append(f"{folder}: {text}")
                failed = True
                continue
            # As `df` does it: blocks reserved for root are not free.
            percent = 100.0 * usage.used / max(usage.used + usage.free, 1)
            worst = max(worst, percent)
            lines.append(f"{folder} {percent:.0f}%")
            tips.append(f"{folder}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB are free")
        self.value = int(worst)
        self.graphr, self.graphg, self.graphb = green_to_red(share_between(worst, 50, 100))
        self.labelr, self.labelg, self.labelb = (
            (255, 64, 64) if failed or worst >= NEARLY_FULL else (255, 255, 0)
        )
        self.height = 20 + 15 * len(lines)
        self.label = "\n".join(lines)
        self.tooltip = "\n".join(tips)

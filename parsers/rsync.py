r"""rsync, 2.6 to 3.5, with ``--progress`` or ``--info=progress2``.

    21,692,416  36%   19.51MB/s    0:00:01
    60,000,000 100%   19.79MB/s    0:00:02 (xfr#1, to-chk=6/8)

With ``--progress`` the percents are those of each file, with progress2 those of the whole transfer.
The line of the first complete file decides which: percents of the whole are below 100 while files
are left to check. With percents of each file, progress is the number of files that are done. Before
that line only the name of a folder shows that there are several files.
"""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers.parser import Found, RuleParser, rule, task_share

__all__ = ("rsync",)

_NUMBER = r"\d[\d,.]*[KMGTP]?"


RSYNC = Messages(
    # `log.c`, `rsync.h`, `flist.c` of rsync 3.
    markers=(
        like("rsync", r"^rsync: .*failed"),
        like("rsync", r"^rsync error: "),
        like("rsync", r"^@ERROR: "),
    ),
    warnings=(
        like("rsync warning: ", r"^rsync warning: "),
        like("file has vanished: ", r"^file has vanished: "),
    ),
    words=("rsync: ", "rsync error: ", "rsync warning: ", "file has vanished: ", "@error: "),
)


class rsync(RuleParser):
    """Percents of the whole transfer."""

    def __init__(self) -> None:
        super().__init__()
        self.has_folder = False
        """Whether a folder was printed, so that there are several files."""
        self.is_per_file: bool | None = None
        """Whether percents are those of each file; None if that is not known yet."""
        self.files_percent = 0.0
        """Percents of the whole that the finished files are."""
        self.file_percent = 0.0
        """Percents of the whole that one file is."""

    def see_folder(self, found: Found) -> None:
        """Note that a folder is copied."""
        self.has_folder = True

    def share(self, groups: tuple[str, ...]) -> float | None:
        """Compute percents of the whole. Groups: percent, kind of count, files left, files in total."""
        percent, left, files = float(groups[0]), float(groups[2] or 0), float(groups[3] or 0)
        if self.is_per_file is None and groups[1]:
            self.is_per_file = percent >= 100 and left > 0
        if not self.is_per_file:
            return None if self.has_folder and self.is_per_file is None else percent
        if groups[1] == "to":  # "ir": rsync still searches for files, so the total is not known
            self.file_percent = 100 / max(files, 1)
            self.files_percent = 100 - left * self.file_percent
        if groups[1]:
            return self.files_percent
        return self.files_percent + percent * self.file_percent / 100

    rules = (
        rule("/", r"^[^ ].*/$", see_folder),
        rule(
            "%",
            rf"^ +{_NUMBER} +(\d{{1,3}})% +[\d.]+\w*/s +[\d:]+"
            r"(?: +\(xfe?r#\d+, (to|ir)-che?c?k=(\d{1,12})/(\d{1,12})\))?",
            task_share(share),
        ),
    )
    messages = (RSYNC,)

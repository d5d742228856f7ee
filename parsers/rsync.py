r"""rsync, 2.6 to 3.5, with ``--progress`` or ``--info=progress2``.

    21,692,416  36%   19.51MB/s    0:00:01
    60,000,000 100%   19.79MB/s    0:00:02 (xfr#1, to-chk=6/8)

With ``--progress`` the percents are those of each file, with progress2 those of all. What stands
behind the first file that is complete tells which: percents of all are less than 100 there as long
as anything is left to check. Then of files that have percents each it is counted how many are
done. Before that only a folder's name among the files shows that there are many.
"""

from __future__ import annotations

from parsers.parser import Found, RuleParser, mark, rule, task_share

__all__ = ("rsync",)

_NUMBER = r"\d[\d,.]*[KMGTP]?"


class rsync(RuleParser):
    """Percents of all that is transferred."""

    def __init__(self) -> None:
        super().__init__()
        self.many = False
        """Whether there are several files."""
        self.each: bool | None = None
        """Whether percents are those of each file; None as long as that is not known."""
        self.checked = 0.0
        """Percents of the files that are done."""
        self.step = 0.0
        """Percents that one file is of all."""

    def see_folder(self, found: Found) -> None:
        """A folder is copied."""
        self.many = True

    def share(self, groups: tuple[str, ...]) -> float | None:
        """Percents of all from a line: its percent, what is left to check, of how many files."""
        percent, left, files = float(groups[0]), float(groups[2] or 0), float(groups[3] or 0)
        if self.each is None and groups[1]:
            self.each = percent >= 100 and left > 0
        if not self.each:
            return None if self.many and self.each is None else percent
        if groups[1] == "to":  # else files are still being found
            self.step = 100 / max(files, 1)
            self.checked = 100 - left * self.step
        return self.checked if groups[1] else self.checked + percent * self.step / 100

    rules = (
        rule("/", r"^[^ ].*/$", see_folder),
        rule(
            "%",
            rf"^ +{_NUMBER} +(\d{{1,3}})% +[\d.]+\w*/s +[\d:]+"
            r"(?: +\(xfe?r#\d+, (to|ir)-che?c?k=(\d{1,12})/(\d{1,12})\))?",
            task_share(share),
        ),
        rule("rsync", r"^(?:rsync: .*failed|rsync warning: )", mark("warning")),
        rule("file has vanished", r"^file has vanished: ", mark("warning")),
    )

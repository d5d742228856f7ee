r"""The AWS command line, versions 1 and 2: ``aws s3 cp`` and similar commands.

    Completed 14.1 MiB/14.6 MiB (18.4 MiB/s) with 2 file(s) remaining
    Completed 3 of 10 part(s) with 1 file(s) remaining

The second is of versions before 1.11. While the line contains ``~`` the total is not known yet.
"""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers.parser import RuleParser, rule, task_percent, task_share

__all__ = ("awscli",)

_UNITS = {"Byte": 0, "Bytes": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4, "PiB": 5, "EiB": 6}
_SIZE = rf"(\d{{1,15}}(?:\.\d+)?) ({'|'.join(sorted(_UNITS, reverse=True))})"


AWSCLI = Messages(
    # `awscli/customizations/s3/results.py` and `awscli/errorhandler.py`.
    markers=(
        like(" failed: ", r"^(?:upload|download|copy|move|delete) failed: "),
        like("fatal error: ", r"^fatal error: "),
        like("an error occurred (", r"^(?:aws: (?:\[ERROR\]: )?)?An error occurred \("),
        like("could not connect to", r"^Could not connect to the endpoint URL"),
    ),
    warnings=(like("warning: ", r"^warning: "),),
)


def _bytes(number: str, unit: str) -> float:
    return float(number) * 1024.0 ** _UNITS[unit]


def _sizes(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
    done, total = _bytes(*groups[:2]), _bytes(*groups[2:])
    return 100 * done / total if total > 0 else None


def _files(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
    done, left = map(float, groups)
    return 100 * done / (done + left) if done + left > 0 else None


class awscli(RuleParser):
    """Percents of the whole transfer. Failed files are warnings: the exit code shows errors."""

    rules = (
        rule("Completed ", rf"Completed {_SIZE}/{_SIZE}", task_share(_sizes)),
        rule("Completed ", r"Completed (\d{1,15}) of (\d{1,15}) part", task_percent),
        rule(
            "Completed ",
            r"Completed (\d{1,15}) file\(s\) with (\d{1,15}) file\(s\) remaining",
            task_share(_files),
        ),
    )
    messages = (AWSCLI,)

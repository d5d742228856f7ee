r"""curl, 7 and 8: the meter, the bar of ``-#``, and the meter of ``--parallel``.

     % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current
                                    Dload  Upload   Total   Spent    Left  Speed
    70 19.0M   70 13.3M    0     0  7964k      0  0:00:02  0:00:01  0:00:01 7962k

Several files of one command are transferred one after another, each with a heading. A row with 100
but with 0 received and sent is of a file whose size curl does not know.
"""

from __future__ import annotations

from parsers._messages import Messages, like
from parsers.parser import RuleParser, frame_percent, frame_share, new_frame, rule

__all__ = ("curl",)

_AMOUNT = r"[\d.]+[kMGTP]?"
_ROW = (
    rf"^ *(\d{{1,3}}) +{_AMOUNT} +(\d{{1,3}}) +{_AMOUNT} +(\d{{1,3}}) +{_AMOUNT}"
    rf" +{_AMOUNT} +{_AMOUNT} +[-\d]"
)


def _meter(parser: RuleParser, groups: tuple[str, ...]) -> float | None:
    total, received, sent = map(int, groups)
    return total if received or sent else None


class curl(RuleParser):
    """Percents of each file; in a task of one frame, the greatest of all files."""

    # `src/tool_operate.c`: the number is curl's own code of the error.
    messages = (Messages(markers=(like("curl: (", r"^curl: \(\d+\) "),)),)
    rules = (
        rule("% Total", r"^ *% Total +% Received", new_frame),
        rule(" ", _ROW, frame_share(_meter)),
        rule("%", r"^[# ]*?(\d{1,3}\.\d)%\s*$", frame_percent),
        rule("--", rf"^ *(\d{{1,3}}) +-- +{_AMOUNT} +{_AMOUNT} +\d+ +\d+ +[-\d]", frame_percent),
        rule("--", rf"^-- +(\d{{1,3}}) +{_AMOUNT} +{_AMOUNT} +\d+ +\d+ +[-\d]", frame_percent),
    )

"""What plugins import: the base class of all parsers, and the rules of a `RuleParser`.

`parsers._base` has the base class, `parsers._rules` the parser that is a table of rules,
`parsers._rule_actions` the rules and actions, `parsers._messages` the tables of failures.
docs/plugins.md is the manual.
"""

from __future__ import annotations

from parsers._base import ACTIVITY, REPORT, parser
from parsers._messages import Messages, like
from parsers._rule_actions import (
    Aside,
    Found,
    Progress,
    Rule,
    activity,
    fraction,
    frame_done,
    frame_end,
    frame_percent,
    frame_share,
    image,
    image_onthefly,
    mark,
    new_frame,
    progress_only,
    report,
    rule,
    say,
    task_percent,
    task_share,
)
from parsers._rules import RuleParser

__all__ = (
    "ACTIVITY",
    "REPORT",
    "Aside",
    "Found",
    "Messages",
    "Progress",
    "Rule",
    "RuleParser",
    "activity",
    "fraction",
    "frame_done",
    "frame_end",
    "frame_percent",
    "frame_share",
    "image",
    "image_onthefly",
    "like",
    "mark",
    "new_frame",
    "parser",
    "progress_only",
    "report",
    "rule",
    "say",
    "task_percent",
    "task_share",
)

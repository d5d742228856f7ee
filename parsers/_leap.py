"""Frames that came and went within one portion: counted, not looked at one by one.

Where a table has only frames that begin and percents of them, what was said of a frame does not
matter once another one has begun. So of a portion with many frames only the last is read.
"""

from __future__ import annotations

from itertools import islice
from operator import ne
from typing import TYPE_CHECKING

from parsers._rule_actions import Progress, Rule, fraction, is_progress, new_frame

if TYPE_CHECKING:
    from parsers._rules import RuleParser

__all__ = ("leap",)


def leap(parser: RuleParser, rules: list[Rule], text: str) -> int:
    """Take what can be taken at once, and return where the lines begin that are left to read."""
    frames = [one for one in rules if not one.bulk]
    if len(frames) != 1 or frames[0].action is not new_frame or not frames[0].fast:
        return 0
    shares = [one for one in rules if one.bulk]
    if not all(_is_plain(one) for one in shares) or not _is_counted(parser):
        return 0
    names = frames[0].pattern.findall(text)
    if frames[0].pattern.groups > 1:
        names = [groups[0] for groups in names]
    elif not frames[0].pattern.groups:
        names = [""] * len(names)
    if parser.numframes <= 1:
        # Percents go on from frame to frame, so their order makes no difference.
        _count(parser, names)
        parser.take_progress(shares, text, 0, len(text))
        return len(text)
    return _leap_to_last(parser, frames[0], names, shares, text)


def _leap_to_last(
    parser: RuleParser, frame: Rule, names: list[str], shares: list[Rule], text: str
) -> int:
    """Count all frames before the line in which the last one begins."""
    last = len(names) - 1
    while last > 0 and names[last] and names[last] == names[last - 1]:
        last -= 1
    if last <= 0:
        return 0
    at = next(islice(frame.pattern.finditer(text), last, None)).start()
    start = text.rfind("\n", 0, at) + 1
    _count(parser, names[: last - len(frame.pattern.findall(text, start, at))])
    whole = [one for one in shares if isinstance(one.action, Progress) and one.action.whole]
    parser.take_progress(whole, text, 0, start)
    return start


def _count(parser: RuleParser, names: list[str]) -> None:
    """What `new_frame` would do for each of the names; an empty one always begins a frame."""
    if not names:
        return
    before = [parser.marked if parser.marked is not None else names[0], *names[:-1]]
    begun = sum(map(ne, before, names))
    if "" in names:
        begun += sum(1 for pair in zip(before, names, strict=True) if pair == ("", ""))
        begun -= parser.marked is None and not names[0]
    parser.marked = names[-1]
    parser.forget_repeated()
    if begun:
        parser.frame = min(parser.frame + begun - 1, max(1, parser.numframes))
        parser.next_frame()


def _is_plain(one: Rule) -> bool:
    """Whether its percents depend on nothing but the match."""
    return isinstance(one.action, Progress) and one.action[1:] == (fraction, None)


def _is_counted(parser: RuleParser) -> bool:
    """Whether a frame that begins does nothing but count: subclasses may have other ideas."""
    return all(
        is_progress(method) and method.__module__ == "parsers._rules"
        for method in (type(parser).next_frame, type(parser).grow_frame, type(parser).grow_task)
    )

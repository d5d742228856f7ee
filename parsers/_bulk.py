"""Reads a batch of many lines at once where the order of its matches makes no difference.

`take_asides` does so for texts, flags, files and figures (see `parsers._rule_actions.Aside`).

`skip_frames` counts frames that begin and end within one batch. Where a table has only frames that
begin and percents of them, the percents of a frame do not matter once another frame has begun. So
of a batch with many frames only the last one is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import ne

from parsers._rule_actions import (
    Aside,
    Found,
    Progress,
    Rule,
    RuleTarget,
    fraction,
    is_progress,
    new_frame,
)

__all__ = ("line_end", "skip_frames", "take_asides")


def take_asides(parser: RuleTarget, rules: list[Rule], text: str) -> None:
    """Apply rules to a text of whole lines. All their actions are asides."""
    each: dict[str, list[Rule]] = {}
    last: dict[str, list[Rule]] = {}
    for one in rules:
        action = one.action
        assert isinstance(action, Aside)  # noqa: S101 - the caller has checked it
        if action.counts == "each":
            each.setdefault(action.attribute, []).append(one)
        elif action.counts == "last":
            last.setdefault(action.attribute, []).append(one)
        elif not getattr(parser, action.attribute):
            for _, found in _find_matches(one, text):
                parser.act(action, found)
                break
    for attribute, these in last.items():
        _take_last(parser, attribute, these, text)
    for these in each.values():
        _take_each(parser, these, text)


def _take_each(parser: RuleTarget, rules: list[Rule], text: str) -> None:
    """Act on all matches, in the order of lines; within a line, in the order of rules."""
    if len(rules) == 1:
        action, act = rules[0].action, parser.act
        for _, found in _find_matches(rules[0], text):
            act(action, found)  # type: ignore[arg-type]  # an aside
        return
    matches = [
        (start, index, count, found)
        for index, one in enumerate(rules)
        for count, (start, found) in enumerate(_find_matches(one, text))
    ]
    for _, index, _, found in sorted(matches):
        parser.act(rules[index].action, found)  # type: ignore[arg-type]  # an aside


def _take_last(parser: RuleTarget, attribute: str, rules: list[Rule], text: str) -> None:
    """Set an attribute by the last line that gives it a text, whichever the rule.

    Each rule is tried from the end of the text backwards, up to the line of the best rule so far.
    """
    result, at = "", -1
    before = getattr(parser, attribute)
    for one in rules:
        end = len(text)
        while (token := text.rfind(one.token, 0, end)) >= 0:
            end = text.rfind("\n", 0, token) + 1
            if end < at:
                break  # another rule has matched a later line
            setattr(parser, attribute, "")
            for found in one.pattern.finditer(text[end : line_end(text, token)]):
                parser.act(one.action, found)  # type: ignore[arg-type]  # an aside
            if value := getattr(parser, attribute):
                result, at = value, end
                break
    setattr(parser, attribute, result or before)


def _find_matches(one: Rule, text: str) -> Iterator[tuple[int, Found]]:
    """Yield matches, each with the position at which its line begins."""
    if one.fast:
        for found in one.pattern.finditer(text):
            yield text.rfind("\n", 0, found.start()) + 1, found
        return
    token, find, rfind = one.token, text.find, text.rfind
    search, finditer, line_bound = one.pattern.search, one.pattern.finditer, one.line_bound
    at = find(token)
    while at >= 0:
        start = rfind("\n", 0, at) + 1
        end = find("\n", at) + 1 or len(text)
        line = text[start:end]
        # With one token in the line there is at most one match: `search` is faster than `finditer`.
        if line_bound and find(token, at + 1, end) < 0:
            if (only := search(line)) is not None:
                yield start, only
        else:
            for found in finditer(line):
                yield start, found
        at = find(token, end)


def line_end(text: str, start: int) -> int:
    """Return the position after the line feed of the line that contains `start`."""
    end = text.find("\n", start)
    return end + 1 if end >= 0 else len(text)


def skip_frames(parser: RuleTarget, rules: list[Rule], text: str) -> int:
    """Count the frames that end within the text; return where the line begins from which to read.

    0 if the rules do not allow it, the length of the text if nothing is left to read.
    """
    frames = [one for one in rules if not one.bulk]
    if len(frames) != 1 or frames[0].action is not new_frame or not frames[0].fast:
        return 0
    shares = [one for one in rules if one.bulk]
    if not all(_depends_on_match_alone(one) for one in shares) or not _only_counts(parser):
        return 0
    names = frames[0].pattern.findall(text)
    if frames[0].pattern.groups > 1:
        names = [groups[0] for groups in names]
    elif not frames[0].pattern.groups:
        names = [""] * len(names)
    if parser.numframes <= 1:
        # The only frame keeps its percents when another one begins, so their order does not matter.
        _count_frames(parser, names)
        parser.take_progress(shares, text, 0, len(text))
        return len(text)
    return _skip_to_last_frame(parser, frames[0], names, shares, text)


def _skip_to_last_frame(
    parser: RuleTarget, frame: Rule, names: list[str], shares: list[Rule], text: str
) -> int:
    """Count all frames before the line of the last one; return where that line begins."""
    last = len(names) - 1
    while last > 0 and names[last] and names[last] == names[last - 1]:
        last -= 1
    if last <= 0:
        return 0
    at = next(islice(frame.pattern.finditer(text), last, None)).start()
    start = text.rfind("\n", 0, at) + 1
    _count_frames(parser, names[: last - len(frame.pattern.findall(text, start, at))])
    of_task = [one for one in shares if isinstance(one.action, Progress) and one.action.of_task]
    parser.take_progress(of_task, text, 0, start)
    return start


def _count_frames(parser: RuleTarget, names: list[str]) -> None:
    """Do what `new_frame` would do for each of the names; an empty one always begins a frame."""
    if not names:
        return
    before = [parser.frame_name if parser.frame_name is not None else names[0], *names[:-1]]
    begun = sum(map(ne, before, names))
    if "" in names:
        begun += sum(1 for pair in zip(before, names, strict=True) if pair == ("", ""))
        begun -= parser.frame_name is None and not names[0]
    parser.frame_name = names[-1]
    parser.forget_repeated()
    if begun:
        parser.frame = min(parser.frame + begun - 1, max(1, parser.numframes))
        parser.next_frame()


def _depends_on_match_alone(one: Rule) -> bool:
    """Whether the rule's percents depend on nothing but the match."""
    action = one.action
    return isinstance(action, Progress) and action.share is fraction and action.condition is None


def _only_counts(parser: RuleTarget) -> bool:
    """Whether a new frame does nothing but count: no subclass overrides the methods for frames."""
    return not parser.aborted and all(
        is_progress(method) and method.__module__ == "parsers._rules"
        for method in (
            type(parser).begin_frame,
            type(parser).next_frame,
            type(parser).grow_frame,
            type(parser).grow_task,
        )
    )

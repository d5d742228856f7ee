"""Texts, flags, files and figures of a whole portion at once: see `parsers._rule_actions.Aside`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parsers._rule_actions import Aside, Found, Rule

if TYPE_CHECKING:
    from parsers._rules import RuleParser

__all__ = ("line_end", "take_asides")


def take_asides(parser: RuleParser, rules: list[Rule], text: str) -> None:
    """Do what these rules call for in a text of whole lines. All their actions are asides."""
    each: dict[str, list[Rule]] = {}
    last: dict[str, list[Rule]] = {}
    for one in rules:
        action = one.action
        assert isinstance(action, Aside)  # noqa: S101 - as the line above says
        if action.counts == "each":
            each.setdefault(action.attribute, []).append(one)
        elif action.counts == "last":
            last.setdefault(action.attribute, []).append(one)
        elif not getattr(parser, action.attribute):
            for _, found in _matches(one, text):
                parser.act(action, found)
                break
    for attribute, these in last.items():
        _take_last(parser, attribute, these, text)
    for these in each.values():
        _take_each(parser, these, text)


def _take_each(parser: RuleParser, rules: list[Rule], text: str) -> None:
    """All matches, in the order of the lines and in a line in that of the rules."""
    if len(rules) == 1:
        action, act = rules[0].action, parser.act
        for _, found in _matches(rules[0], text):
            act(action, found)  # type: ignore[arg-type]  # an aside
        return
    found_by = [
        (start, index, count, found)
        for index, one in enumerate(rules)
        for count, (start, found) in enumerate(_matches(one, text))
    ]
    for _, index, _, found in sorted(found_by):
        parser.act(rules[index].action, found)  # type: ignore[arg-type]  # an aside


def _take_last(parser: RuleParser, attribute: str, rules: list[Rule], text: str) -> None:
    """What the last line says that says something, of whichever rule."""
    said, at = "", -1
    before = getattr(parser, attribute)
    for one in rules:
        end = len(text)
        while (token := text.rfind(one.token, 0, end)) >= 0:
            end = text.rfind("\n", 0, token) + 1
            if end < at:
                break  # another rule has said something further down
            setattr(parser, attribute, "")
            for found in one.pattern.finditer(text[end : line_end(text, token)]):
                parser.act(one.action, found)  # type: ignore[arg-type]  # an aside
            if text_said := getattr(parser, attribute):
                said, at = text_said, end
                break
    setattr(parser, attribute, said or before)


def _matches(one: Rule, text: str) -> Iterator[tuple[int, Found]]:
    """Matches with the beginnings of their lines."""
    if one.fast:
        for found in one.pattern.finditer(text):
            yield text.rfind("\n", 0, found.start()) + 1, found
        return
    token, find, rfind = one.token, text.find, text.rfind
    search, finditer, within = one.pattern.search, one.pattern.finditer, one.within
    at = find(token)
    while at >= 0:
        start = rfind("\n", 0, at) + 1
        end = find("\n", at) + 1 or len(text)
        line = text[start:end]
        if within and find(token, at + 1, end) < 0:
            if (only := search(line)) is not None:
                yield start, only
        else:
            for found in finditer(line):
                yield start, found
        at = find(token, end)


def line_end(text: str, start: int) -> int:
    """Where the line ends that `start` is in, behind its line feed."""
    end = text.find("\n", start)
    return end + 1 if end >= 0 else len(text)

r"""Parsers as tables: a class lists its rules, each a text to search for, a pattern and an action.

    class lightwave(RuleParser):
        rules = (
            rule("Finished frame: ", r"Finished frame: \d", frame_done),
            rule("Render Complete ", r"Render Complete (\d+)%", frame_percent),
        )
        errors = ("License error",)

Rules are applied line by line, in the order of the table. An action does not know where the output
was cut into batches, so the cuts make no difference. Progress only grows.

Renderers print megabytes of little else than progress. So lines with nothing but progress are not
read one by one: between two lines that match any other rule only the greatest percent counts
(test_many_lines_at_once_give_the_same_result_as_single_lines).

What programs print about failures is in tables of their own, `Messages`. The first line that ends a
frame early, or that is an error, splits its batch: the rules for the lines behind it are applied
when `aborted` is set.
"""

from __future__ import annotations

import traceback
from functools import lru_cache
from itertools import islice

from parsers._base import ACTIVITY, REPORT, parser
from parsers._bulk import line_end, skip_frames, take_asides
from parsers._messages import FEW_TEXTS, Messages, Pattern, Verdict, make_scanner
from parsers._rule_actions import (
    Action,
    Aside,
    Found,
    Mark,
    Progress,
    Rule,
    activity,
    find_turns,
    is_progress,
    new_frame,
    progress_only,
    report,
    rule,
)
from parsers._shapes import TextIndex, shapes_of

__all__ = ("RuleParser",)


_PROGRESS_METHODS = (
    "begin_frame", "next_frame", "grow_frame", "grow_task", "begin_pass", "end_pass", "use"
)  # fmt: skip
"""The methods that built-in actions call, those of subclasses included."""

_RARE = '@#~^$`{}\\"%<>|=*;!?&ZQXJKYVWUGBHFNDRPLMOTAISCE'
"""Characters from the rarest to more usual ones; the empty text is in any text."""

_MOST_COUNTS = 4
"""Times that a batch is counted for whether all its frames have one name."""


class RuleParser(parser):
    """A parser that is a table. Subclasses set `rules` and the tuples of texts."""

    ticks = False
    tail = False

    rules: tuple[Rule, ...] = ()
    messages: tuple[Messages, ...] = ()
    """The tables of the programs that run in the task. Those of base classes count too."""
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Texts that set the flag, matched as those of `Messages`."""
    badresults: tuple[str, ...] = ()
    fatalerrors: tuple[str, ...] = ()
    successes: tuple[str, ...] = ()
    tells_frames = False
    """Whether the program reports each frame or file: a task without any is no success."""
    skip_repeated_names = True
    """Whether lines that name the current frame again need not be read: they are the same frame.
    False in a class whose own actions change `frame_name`."""

    def __init__(self) -> None:
        super().__init__()
        self.frame_name: str | None = None
        """The text that identifies the current frame; None before the first frame."""
        self.aborted = False
        """Whether the current frame ended early, so that it will never be complete."""
        self._is_over = False
        """Whether an error has ended the task: no further frame counts."""
        self._repeated = ""
        """The text that named the last frame, from the token to one character after the match."""
        self._task_percent = 0
        self._has_grown = False
        self._error = ""
        """The traceback of the first action of this batch that raised."""
        self._scanner = make_scanner(_tables_of(type(self)))
        # Rules that set a flag are searched for by the scanner.
        others = (one for one in self.rules if not isinstance(one.action, Mark))
        self._rules = tuple((one, _rarest(one.token)) for one in (*MARKERS, *others))
        self._anchors = frozenset(one.anchor for one, _ in self._rules)
        self._index = _make_index(self._anchors)
        self._absent: frozenset[str] = frozenset()
        """Anchors of rules that do not occur in the current batch."""
        self._line_numbers: list[int] | None = None
        """The numbers of the lines of the current batch that are read; None: all are."""

    def findMarkers(self, i_data: str) -> None:
        """Do nothing: the markers are rules here, so that their order among others is kept."""

    def do(self, i_args: dict[str, object]) -> str | None:
        if tail := str(i_args.get("tail", "")):
            self.read_tail(tail)
            self._calculate()
        text = str(i_args.get("data", ""))
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        few = len(self._anchors) <= FEW_TEXTS and not self._scanner.needs_shapes
        shapes = None if few else shapes_of(text)
        self._absent, self._line_numbers = frozenset(), None
        if shapes is not None:
            with_anchors = self._index.look_up(shapes.different)
            self._absent = self._anchors.difference(*with_anchors.values())
            wanted = {*with_anchors, *self._scanner.look_up(shapes)}
            if not wanted:
                text = ""
            else:
                text, shapes, self._line_numbers = shapes.select(text, wanted)
        done = 0
        taken: set[Verdict] = set()
        for start, end, verdict in self._scanner.scan(text, shapes):
            if verdict in taken and not verdict.aborts:
                continue  # a line of the same meaning sets nothing new
            if self._is_over and verdict.is_marker:
                continue  # what follows an error
            taken.add(verdict)
            if verdict.aborts and not self._is_over:
                self._apply_rules(text[done:start])
                if self.tail:
                    # As if it had come in parts: progress precedes the text that ends the frame.
                    self.read_tail(text[start:end].rstrip("\n"))
                    self._calculate()
                self.aborted = True
                self._is_over = verdict.flags[0] in ("error", "fatalerror")
                done = start
            self._take_verdict(verdict, text, start, end)
        self._apply_rules(text[done:] if done else text)
        if i_args.get("mode", "RUN") != "RUN":
            self.finish(str(i_args["mode"]))
            self._calculate()
        return None

    def _apply_rules(self, text: str) -> None:
        # Most tokens are absent from most batches, and a search of the whole batch is cheap.
        rules = [
            one
            for one, rarest in self._rules
            if one.anchor not in self._absent and rarest in text and one.token in text
        ]
        if rules and self._is_over:
            rules = [one for one in rules if not is_progress(one.action)]
        if rules:
            self._apply(rules, text)

    def _feeds_before(self, text: str, at: int) -> int:
        feeds = super()._feeds_before(text, at)
        return feeds if self._line_numbers is None else self._line_numbers[feeds]

    def _take_verdict(self, verdict: Verdict, text: str, start: int, end: int) -> None:
        """Set the flags of a line, and keep the line if it decides or is reported."""
        if verdict.asset:
            self.add_missing(verdict.asset)
        if verdict.is_asset and not self.warns_of_assets:
            return
        for flag in verdict.flags:
            if not getattr(self, flag):
                setattr(self, flag, True)
                self._note_decision(flag, text, start)
        if verdict.reported:
            self.note_report(text[start:end], decides=verdict.flags != ("warning",))

    def read_tail(self, tail: str) -> None:
        """Read the progress of an unfinished line; called in classes with `tail`.

        The result must be at most that of any longer line that begins so.
        """

    def finish(self, mode: str) -> None:
        """Judge the task at its end: `mode` is ``<raw status>:<time of the stop>``."""
        if mode != "0:0" or self.is_bad():
            return
        if self.tells_frames and self.expects_frames() and not self.has_worked():
            self.badresult = True
            self.note_report(
                "the program ended with exit code 0 and reported no frame", decides=True
            )

    def is_bad(self) -> bool:
        """Whether any line so far makes the task an error or its result a bad one."""
        return self.has_failed or self.error or self.fatalerror or self.badresult

    def expects_frames(self) -> bool:
        """Whether the task's command lets the program render; subclasses know its options."""
        return True

    def has_worked(self) -> bool:
        """Whether the program reported a frame, any progress or a file, or has written the task's files."""
        return bool(
            self.frame
            or self.percentframe
            or self.frame_name is not None
            or self.files_all
            or self.wrote_files()
        )

    def _apply(self, rules: list[Rule], text: str) -> None:
        if self._are_independent(rules):
            asides = [one for one in rules if isinstance(one.action, Aside)]
            if asides:
                take_asides(self, asides, text)
                rules = [one for one in rules if not isinstance(one.action, Aside)]
        if rules:
            self._apply_in_order(rules, text, skip_frames(self, rules, text))
        if self._error:
            self._add_problem(self._error)
            self._error = ""
        self._calculate()

    def _calculate(self) -> None:
        if self._has_grown:
            self._has_grown = False
            self.calculate()

    def _are_independent(self, rules: list[Rule]) -> bool:
        """Whether each of these rules is an aside or changes nothing but progress."""
        return _has_known_methods(type(self)) and all(
            isinstance(one.action, Aside | Progress) or is_progress(one.action) for one in rules
        )

    def _apply_in_order(self, rules: list[Rule], text: str, done: int) -> None:
        """Apply rules from position `done` on: line by line where lines hold more than progress."""
        many = [one for one in rules if one.bulk]
        bulk = [(index, one.token) for index, one in enumerate(rules) if one.bulk]
        hits = self._find_hits(rules, text, done)
        hits.append((len(text), 0, 0))  # a sentinel: no hit begins at the end
        for at in range(len(hits) - 1):
            start, index, end = hits[at]
            if start < done:
                continue  # another rule has hit this line too
            if done < start:
                self.take_progress(many, text, done, start)
            done, line = end, text[start:end]
            here = [index]
            while hits[at + len(here)][0] == start:
                here.append(hits[at + len(here)][1])
            for position, token in bulk:
                if token in line:
                    here.append(position)
            for index in sorted(here) if len(here) > 1 else here:
                self._apply_to_line(rules[index], line)
        self.take_progress(many, text, done, len(text))

    def _find_hits(self, rules: list[Rule], text: str, done: int) -> list[tuple[int, int, int]]:
        """Lines with the token of a rule that is not read in bulk: (start, index of rule, end)."""
        hits: list[tuple[int, int, int]] = []
        for index, one in enumerate(rules):
            if one.bulk:
                continue
            if one.action is new_frame and one.pattern.groups > 0 and self._has_one_name_rule():
                self._find_new_names(one, index, text, done, hits)
            else:
                _find_lines(one.token, index, text, done, hits)
        hits.sort()  # by line, and within a line in the order of the table
        return hits

    def _has_one_name_rule(self) -> bool:
        """Whether exactly one rule names frames: then its last name is the current frame's."""
        return self.skip_repeated_names and sum(one.action is new_frame for one in self.rules) == 1

    def _find_new_names(
        self, one: Rule, index: int, text: str, done: int, hits: list[tuple[int, int, int]]
    ) -> None:
        """Add the lines that name a frame, without those that name the current frame again."""
        counts, is_new = _MOST_COUNTS, True
        at = text.find(one.token, done)
        while at >= 0:
            if self._repeated and text.startswith(self._repeated, at):
                # Mostly the rest of a batch is of one frame: two counts tell so, without its lines.
                if is_new and counts:
                    is_new, counts = False, counts - 1
                    if text.count(self._repeated, at) == text.count(one.token, at):
                        return
                at = text.find(one.token, at + len(self._repeated) - 1)
                continue
            start = text.rfind("\n", 0, at) + 1
            end = line_end(text, at)
            hits.append((start, index, end))
            self._repeated = _last_name(one, text, start, end)
            is_new = True
            at = text.find(one.token, end)

    def forget_repeated(self) -> None:
        """Forget how the last frame was named: the current frame was counted without its line."""
        self._repeated = ""

    def take_progress(self, rules: list[Rule], text: str, start: int, end: int) -> None:
        """Apply rules of progress to whole lines that match no other rule."""
        for one in rules:
            if text.find(one.token, start, end) < 0:
                continue
            matches = one.pattern.findall(text, start, end)
            if one.pattern.groups < 2:
                matches = [(group,) for group in matches]
            if matches and isinstance(one.action, Progress):
                self._take_greatest(one.action, matches)

    def _apply_to_line(self, one: Rule, line: str) -> None:
        found = one.pattern.search(line)
        if found is None:
            return
        action = one.action
        if isinstance(action, Progress):
            self._take_greatest(action, [found.groups("") or (found.group(),)])
        else:
            # As in `act`, whose call would cost time for each line.
            try:
                action(self, found)
            except Exception:  # noqa: BLE001 - as in `act`
                self._error = self._error or traceback.format_exc()
        if one.line_bound and line.find(one.token, found.end()) < 0:
            return  # most lines have the token once: no second search
        for found in islice(one.pattern.finditer(line), 1, None):
            if isinstance(action, Progress):
                self._take_greatest(action, [found.groups("") or (found.group(),)])
            else:
                self.act(action, found)

    def act(self, action: Action, found: Found) -> None:
        """Call an action with a match. What it raises is kept: it must not hide later lines."""
        try:
            action(self, found)
        except Exception:  # noqa: BLE001 - actions are plugin code
            self._error = self._error or traceback.format_exc()

    def _take_greatest(self, action: Progress, matches: list[tuple[str, ...]]) -> None:
        """Grow by the greatest percent of several matches, each given by its groups."""
        if action.condition is not None and not action.condition(self):
            return
        if action.follows_fraction and len(matches) > 2:
            matches = find_turns(matches)
        share, greatest = action.share, -1.0
        for groups in matches:
            try:
                percent = share(self, groups)
            except Exception:  # noqa: BLE001 - as in `act`
                self._error = self._error or traceback.format_exc()
                continue
            if percent is not None and percent > greatest:
                greatest = percent
        if greatest >= 0:
            (self.grow_task if action.of_task else self.grow_frame)(greatest)

    # Called by actions.

    @progress_only
    def begin_frame(self) -> None:
        """Begin another frame: the one before is done, unless it was aborted."""
        if self.aborted:
            self.aborted = self._is_over
        else:
            self.next_frame()

    @progress_only
    def next_frame(self) -> None:
        """Count the current frame as done; an aborted one is not."""
        if self.aborted:
            return
        self.frame = min(self.frame + 1, max(1, self.numframes))
        if self.numframes > 1:
            self.percentframe = 0
        self._has_grown = True

    @progress_only
    def grow_frame(self, percent: float) -> None:
        """Set the percents of the current frame; a smaller number than before changes nothing.

        Those of a frame that was aborted stay.
        """
        if percent > self.percentframe and not self.aborted:
            self.percentframe = int(min(percent, 100))
            self._has_grown = True

    @progress_only
    def grow_task(self, percent: float) -> None:
        """Set the percents of the whole task, for programs that report no frames."""
        if percent > self._task_percent and not self.aborted:
            self._task_percent = int(min(percent, 100))
            self.percentframe = max(self.percentframe, self._task_percent)
            self._has_grown = True

    def calculate(self) -> None:
        """Compute `percent` as the base class does, but never below that of `grow_task`."""
        super().calculate()
        self.percent = max(self.percent, self._task_percent)


@lru_cache(256)
def _make_index(anchors: frozenset[str]) -> TextIndex:
    """Return the index of these texts; parsers of one class share it."""
    return TextIndex(anchors)


def _rarest(token: str) -> str:
    """Return a character of the token that few texts have: a search for it alone is ten times faster."""
    return next((one for one in _RARE if one in token), "")


def _tables_of(made: type[RuleParser]) -> tuple[Messages, ...]:
    """The tables of a class and its bases, and one of its own texts and `mark` rules."""
    tables = [table for one in made.__mro__ for table in one.__dict__.get("messages", ())]
    marks: dict[str, tuple[Pattern, ...]] = {}
    for one in made.rules:
        if isinstance(one.action, Mark):
            flag = one.action.attribute
            marks[flag] = (*marks.get(flag, ()), Pattern(one.token.lower(), one.pattern))
    own = Messages(
        warnings=(*made.warnings, *marks.get("warning", ())),
        errors=(*made.errors, *marks.get("error", ())),
        bad=(*made.badresults, *marks.get("badresult", ())),
        fatal_errors=(*made.fatalerrors, *marks.get("fatalerror", ())),
        successes=(*made.successes, *marks.get("finishedsuccess", ())),
    )
    return (*dict.fromkeys(tables), own)


def _has_known_methods(made: type[RuleParser]) -> bool:
    """Whether the methods that actions call are built-in or marked `progress_only`.

    A subclass may override `grow_frame` to set the activity, or `appendFile` to count frames: then
    the order of lines matters, and asides must not be taken first.
    """
    return made.appendFile is parser.appendFile and all(
        is_progress(getattr(made, name, new_frame)) for name in _PROGRESS_METHODS
    )


def _find_lines(
    token: str, index: int, text: str, done: int, hits: list[tuple[int, int, int]]
) -> None:
    find, rfind = text.find, text.rfind
    at = find(token, done)
    while at >= 0:
        end = find("\n", at) + 1 or len(text)
        hits.append((rfind("\n", 0, at) + 1, index, end))
        at = find(token, end)


def _last_name(one: Rule, text: str, start: int, end: int) -> str:
    """The text that names the line's last frame, from the token to one character after the match.

    That character ends the name: "frame 1" must not match "frame 12". Empty if the text does not
    identify the frame.
    """
    name = ""
    for found in one.pattern.finditer(text[start:end]):
        at = text.find(one.token, start + found.start(), start + found.end())
        stop = start + found.end() + 1
        name = text[at:stop] if start + found.start() <= at and stop <= end else ""
        if at > start + found.start(1):
            name = ""  # the name precedes the token
    return name


def _image_line(parser: RuleParser, found: Found) -> None:
    """Announce the file of the match's line; `found` may be a match in one line or in many."""
    text = found.string
    start = text.rfind("\n", 0, found.start()) + 1
    parser.findImage(text[start : line_end(text, start)].rstrip("\n"))


MARKERS = (
    rule(ACTIVITY, rf"^.*{ACTIVITY}[ \t]*(\S.*)", activity),
    rule(REPORT, rf"^.*{REPORT}[ \t]*(\S.*)", report),
    rule("@IMAGE", r"@IMAGE!?@", Aside(_image_line, "each", "files")),
    rule("Image: ", r"^Image: (?!.*@IMAGE@)", _image_line),
)
"""The markers of `parser.findMarkers` as rules."""

"""Parsers that are tables of rules: actions, their order, equal results in bulk and by lines."""

from __future__ import annotations

import importlib
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers._rule_actions import find_turns
from parsers.blender import blender
from parsers.parser import (
    Found,
    Rule,
    RuleParser,
    activity,
    frame_done,
    frame_end,
    frame_percent,
    frame_share,
    image,
    image_onthefly,
    mark,
    new_frame,
    report,
    rule,
    say,
    task_percent,
    task_share,
)


def _parse(made: RuleParser, text: str, frames: int = 1, folder: str = "") -> RuleParser:
    made.setTaskInfo({"frames_num": frames, "wdir": folder})
    made.parse({"data": text, "mode": "RUN"})
    return made


class _Frames(RuleParser):
    rules = (
        rule("named ", r"named (\w+)", new_frame),
        rule("% of it", r"(\d+)% of it", frame_percent),
        rule("ended", "ended", frame_end),
    )


@pytest.mark.parametrize(
    ("text", "frame", "percentframe", "percent"),
    [
        ("named a\n", 0, 0, 0),
        ("named a\nnamed a\nnamed a\n50% of it\n", 0, 50, 12),
        ("50% of it\nnamed a\n", 0, 50, 12),
        ("named a\n50% of it\nnamed b\n20% of it\n", 1, 20, 30),
        ("named a\n50% of it\nnamed ab\nnamed a\n", 2, 0, 50),
        ("named a named b named c\n", 2, 0, 50),
        ("named a 80% of it named b 10% of it\n", 1, 80, 45),  # rule by rule in a line
        ("named a\n50% of it\n20% of it\n", 0, 50, 12),
        ("named a\n150% of it\n", 0, 100, 25),
        ("named a\nended\n", 0, 100, 25),
        ("".join(f"named {name}\n" for name in "abcdefgh"), 4, 0, 100),
    ],
)
def test_frames(text: str, frame: int, percentframe: int, percent: int) -> None:
    made = _parse(_Frames(), text, frames=4)
    assert (made.frame, made.percentframe, made.percent) == (frame, percentframe, percent)


def test_the_only_frame_keeps_its_percents() -> None:
    made = _parse(_Frames(), "named a\n50% of it\nnamed b\n20% of it\n")
    assert (made.percent, made.percentframe) == (50, 50)


class _Counted(RuleParser):
    rules = (
        rule("begin", "begin", new_frame),
        rule("done", r"done", frame_done),
        rule("part ", r"part (\d+)/(\d+)", frame_percent),
    )


@pytest.mark.parametrize(
    ("text", "frame", "percentframe"),
    [
        ("begin\n", 0, 0),
        ("begin\nbegin\nbegin\n", 2, 0),
        ("done\ndone done\n", 3, 0),
        ("done\n" * 12, 10, 0),
        ("part 3/4\n", 0, 75),
        ("part 3/0\n", 0, 0),
        ("part 3/4\ndone\npart 1/4\n", 1, 25),
    ],
)
def test_frames_without_names(text: str, frame: int, percentframe: int) -> None:
    made = _parse(_Counted(), text, frames=10)
    assert (made.frame, made.percentframe) == (frame, percentframe)


class _Task(RuleParser):
    rules = (
        rule("all: ", r"all: (\d+(?:\.\d+)?)%", task_percent),
        rule("at ", r"at (\d+)", task_share(lambda parser, groups: int(groups[0]) / 10)),
    )


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("all: 12.9%\n", 12),
        ("all: 50%\nall: 12%\n", 50),
        ("all: 500%\n", 100),
        ("at 200\n", 20),
        ("all: x%\n", 0),
    ],
)
def test_whole_tasks(text: str, percent: int) -> None:
    made = _parse(_Task(), text, frames=10)
    assert (made.percent, made.percentframe, made.frame) == (percent, percent, 0)


def test_percents_of_frames_and_of_the_task_are_independent() -> None:
    class Both(RuleParser):
        rules = (*_Frames.rules, *_Task.rules)

    whole, lines = Both(), Both()
    text = "named a\nnamed b\nall: 60%\nnamed c\n50% of it\n"
    _parse(whole, text, frames=10)
    percents = [_parse(lines, line, frames=10).percent for line in text.splitlines(keepends=True)]
    assert percents == [0, 10, 60, 60, 60]
    assert (whole.percent, whole.frame, whole.percentframe) == (60, 2, 50)


class _Others(RuleParser):
    rules = (
        rule("stage ", r"stage (\w+)", activity),
        rule("busy", "busy", say("very busy")),
        rule("note ", r"note (.*)", report),
        rule("wrote ", r"wrote (?:'(.+)'|(\S+))", image),
        rule("shows ", r"shows (\S+)", image_onthefly),
        rule("license", r"(?i)invalid .* license", mark("error")),
        rule("fog", r"fog", mark("warning")),
    )
    warnings = ("Mist",)
    errors = ("RAIN",)
    badresults = ("snow",)
    fatalerrors = ("fire",)
    successes = ("sun",)


def test_texts_and_flags() -> None:
    made = _parse(_Others(), "stage one\nbusy\nnote 12 moths \nInvalid X license\nfog\n")
    assert (made.activity, made.report) == ("very busy", "12 moths")
    assert made.error
    assert made.warning
    made = _parse(_Others(), "busy\nstage one\nACTIVITY: two\nREPORT: x\nnote \n")
    assert (made.activity, made.report) == ("two", "x")
    made = _parse(_Others(), "mist, rain, SNOW, fire, sun\n")
    assert made.warning
    assert made.error
    assert made.badresult
    assert made.fatalerror
    assert made.finishedsuccess


def test_files_in_the_order_of_the_output(tmp_path: Path) -> None:
    for name in ("a b", "c", "d", "e"):
        (tmp_path / name).write_bytes(b"x")
    text = "wrote 'a b'\r\n@IMAGE@c\r\nwrote d\r\nshows e\r\nImage: gone\r\n"
    made = _parse(_Others(), text, folder=str(tmp_path))
    assert made.getFiles() == [str(tmp_path / name) for name in ("a b", "c", "d")]
    assert made.getFilesOnTheFly() == [str(tmp_path / "e")]
    assert made.frame == 1


def test_no_flag_of_that_name() -> None:
    with pytest.raises(ValueError, match="no flag 'eror'"):
        mark("eror")


def test_a_rule_needs_a_token() -> None:
    with pytest.raises(ValueError, match="text to look for"):
        rule("", "x", frame_done)


def _odd(parser: RuleParser, found: Found) -> None:
    if found.group(1) == "odd":
        raise KeyError(found.group())
    parser.next_frame()


class _Odd(RuleParser):
    rules = (
        rule("frame ", r"frame (\w+)", _odd),
        rule("share ", r"share (\w+)", frame_share(lambda parser, groups: float(groups[0]))),
    )


def test_an_action_that_raises_affects_its_line_alone() -> None:
    made = _parse(_Odd(), "frame one\nframe odd\nshare x\nframe three\nshare 7\n", frames=9)
    assert (made.frame, made.percentframe) == (2, 7)
    assert made.problem.count("Traceback") == 1
    assert "KeyError" in made.problem


@pytest.mark.parametrize(
    ("token", "pattern", "bulk"),
    [
        ("a ", r"a (\d+)%", True),
        ("[a", r"\[a(=*)( *)\]", True),
        ("| a", r"\| a (\d+)/(\d+)", True),
        ("b", r"a (\d+)%", False),
        ("a", r"a\s(\d+)%", False),
        ("a", r"a[^%]*?(\d+)%", False),
        ("a", r"a|b(\d+)", False),
    ],
)
def test_which_rules_are_read_in_bulk(token: str, pattern: str, bulk: bool) -> None:
    assert rule(token, pattern, frame_percent).bulk is bulk
    assert rule(token, pattern, frame_done).bulk is False


class _Mixed(RuleParser):
    rules = (
        rule("n:", r"n:(\w+)", new_frame),
        rule("p", r"\bp(\d+)\b", frame_percent),
        rule("q", r"q\s*(\d+)", frame_percent),
        rule("r", r"^r(\d+)$", task_percent),
        rule("d", r"d\b", frame_done),
        rule("e", r"e$", frame_end),
        rule("s", r"s (.+)", activity),
        rule("x", r"x(\d+)", frame_share(lambda parser, groups: parser.frame + int(groups[0]))),
    )


class _Twice(RuleParser):
    """Two rules name frames."""

    rules = (
        rule("n:", r"n:(\w+)", new_frame),
        rule("s ", r"s (\d)", new_frame),
        rule("p", r"p(\d+)", frame_percent),
    )


class _NameFirst(RuleParser):
    """The name precedes the token."""

    rules = (
        rule(":", r"(\w):", new_frame),
        rule("p", r"p(\d+)", frame_percent),
    )


WORDS = st.sampled_from(
    ["n:1", "n:12", "n:2", "n:1 ", "n:", "p5", "p40", "p40 ", " p90", "q 7", "q", "q80", "r3", "r30", "d", "d ", "e",
     "s 1", "s 2", "x1", "x50", " ", "12:", "\n", "\n", "\n", "\r\n", "\r"]
)  # fmt: skip


@pytest.mark.parametrize("made", [_Mixed, _Twice, _NameFirst])
@settings(max_examples=300)
@given(words=st.lists(WORDS, max_size=40), frames=st.sampled_from([1, 3, 40]))
def test_many_lines_at_once_give_the_same_result_as_single_lines(
    made: type[RuleParser], words: list[str], frames: int
) -> None:
    text = "".join(words).replace("\r\n", "\n").replace("\r", "\n")
    whole = _parse(made(), text, frames)
    lines, last_activity = made(), ""
    for line in text.splitlines(keepends=True):
        _parse(lines, line, frames)
        last_activity = lines.activity or last_activity
    for name in ("frame", "percentframe", "percent", "frame_name"):
        assert getattr(whole, name) == getattr(lines, name), name
    assert whole.activity == last_activity
    assert whole.problem == lines.problem == ""


class _Dense(RuleParser):
    """For `skip_frames` and asides."""

    rules: tuple[Rule, ...] = (
        rule("frame", r"frame(\d+)?", new_frame),
        rule("part:", r"part:(\d+)", frame_percent),
        rule("task:", r"task:(\d+)/(\d+)", task_percent),
        rule("doing", r"doing (\w+)", activity),
        rule("stage", r"in stage (\w*)", activity),
        rule("file:", r"file:(\w+)", image),
        rule("wrote ", r"\bwrote (\w+)", image),
        rule("bad", r"too bad", mark("error")),
        rule("bad", r"not\s+bad", mark("warning")),
    )


class _Unnamed(_Dense):
    rules = (rule("frame", r"frame", new_frame), *_Dense.rules[1:])


class _OwnFrames(_Dense):
    """Overrides a method that `skip_frames` would not call."""

    def next_frame(self) -> None:
        super().next_frame()
        self.activity = f"frame {self.frame}"


class _OwnFiles(_Dense):
    """A file counts a frame."""

    def appendFile(self, i_file: str, i_onthefly: bool = False) -> None:
        super().appendFile(i_file, i_onthefly)
        self.next_frame()


DENSE = st.sampled_from(
    ["frame1", "frame1 ", "frame2", "frame", "frame12", "part:5", "part:40", "part:40 ", "part:90 ", "task:3/10",
     "task:4/0", "task:9/10", "doing this", "doing that", "in stage ", "in stage one", "file:a ", "file:b", "wrote b",
     "wrote c", "too bad", "not bad", "ACTIVITY: x ", "ACTIVITY: ", "@IMAGE@a", "Image: d", "\n", "\n", "\n", "\n"]
)  # fmt: skip


@pytest.mark.parametrize("made", [_Dense, _Unnamed, _OwnFrames, _OwnFiles])
@settings(max_examples=400)
@given(words=st.lists(DENSE, max_size=60), frames=st.sampled_from([1, 3, 40]))
def test_a_batch_gives_the_same_result_as_its_lines(
    made: type[RuleParser], words: list[str], frames: int
) -> None:
    text = "".join(words)
    whole = _parse(made(), text, frames)
    lines, last_activity, flags = made(), "", (False, False)
    for line in text.splitlines(keepends=True):
        _parse(lines, line, frames)
        last_activity = lines.activity or last_activity
        flags = (flags[0] or lines.error, flags[1] or lines.warning)
    for name in ("frame", "percentframe", "percent", "frame_name", "files_all"):
        assert getattr(whole, name) == getattr(lines, name), name
    assert whole.activity == last_activity
    assert (whole.error, whole.warning) == flags
    assert whole.problem == lines.problem == ""


def test_only_the_last_frames_of_a_batch_are_read() -> None:
    """Each frame that is read calls `grow_frame` once."""
    text = "".join(f"frame{number}\npart:{number % 100}\n" for number in range(1000))
    made = _Dense()
    made.setTaskInfo({"frames_num": 2000})
    calls: list[float] = []
    made.grow_frame = calls.append  # type: ignore[assignment,method-assign] # counts the calls
    made.parse({"data": text, "mode": "RUN"})
    assert made.frame == 999
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("token", "pattern", "fast"),
    [
        ("frame", r"frame +(\d+)", True),
        ("| a", r"\| a (\d+)/(\d+)", True),
        ("fr", r"fr?(\d+)", False),
        ("frame", r"\bframe", False),
        ("frame", r"frame\s", False),
    ],
)
def test_which_rules_are_searched_for_in_a_whole_batch(
    token: str, pattern: str, fast: bool
) -> None:
    assert rule(token, pattern, activity).fast is fast


@pytest.mark.parametrize(
    ("parts", "turns"),
    [
        (["1", "2", "3", "4"], ["1", "4"]),
        (["1", "5", "9", "2", "3", "8"], ["1", "9", "2", "8"]),
        (["9", "5", "1"], ["9", "5", "1"]),
        (["5", "5", "5"], ["5", "5"]),
        (["10", "9", "100"], ["10", "9", "100"]),  # by value
        (["7"], ["7"]),
    ],
)
def test_of_rising_fractions_the_first_and_the_last_are_kept(
    parts: list[str], turns: list[str]
) -> None:
    assert find_turns([(each, "100") for each in parts]) == [(each, "100") for each in turns]
    assert find_turns([(each,) for each in parts]) == [(each,) for each in turns]


@pytest.mark.parametrize(
    "matches", [[("1", "8"), ("2", "8"), ("3", "9"), ("4", "9")], [("1", ""), ("", ""), ("3", "")]]
)
def test_fractions_of_different_wholes_are_all_kept(matches: list[tuple[str, ...]]) -> None:
    assert find_turns(matches) == matches


@pytest.mark.parametrize("seed", range(40))
def test_a_batch_of_passes_gives_the_percents_of_its_lines(seed: int) -> None:
    """Passes, frames named again and again, and totals that change: at once, and line by line."""
    dice = random.Random(seed)  # noqa: S311 - reproducible
    lines, frame, sample, most = [], 1, 0, 64
    for _ in range(dice.randint(5, 400)):
        sample += dice.randint(0, 9)
        if sample > most or dice.random() < 0.02:
            sample, most = 0, dice.choice((64, 64, 128))
        if dice.random() < 0.02:
            frame += 1
            sample = 0
        if dice.random() < 0.02:
            lines.append(f"Saved: 'f.{frame:04}.png'")
        lines.append(f"Fra:{frame} Mem:1.00M | Scene | Sample {sample}/{most}")
    whole, single = blender(), blender()
    for parser in (whole, single):
        parser.setTaskInfo({"frames_num": 8, "wdir": ""})
    batch = {"mode": "RUN", "pid": 1, "resources": ""}
    cut = dice.randint(0, len(lines))
    for part in (lines[:cut], lines[cut:]):
        whole.parse({"data": "".join(f"{line}\n" for line in part), **batch})
    for line in lines:
        single.parse({"data": f"{line}\n", **batch})
    for name in ("percent", "frame", "percentframe", "frame_name"):
        assert getattr(whole, name) == getattr(single, name), (name, lines)
    assert {
        kind: (each.done, each.percent, each.per_frame) for kind, each in whole.passes.items()
    } == {kind: (each.done, each.percent, each.per_frame) for kind, each in single.passes.items()}


def test_no_line_takes_a_parser_long() -> None:
    """A batch has 260 lines of 4000 characters; the agent waits 10 s for it (`timing.plugin`)."""
    endless = (
        ("arnold", "ERROR | ", " licen"),
        ("arnold", "ERROR | [driver_x] ", ""),
        ("karma", "failed to alloc ", ""),
        ("nuke", "x", " unknown command"),
        ("nuke", "ERROR: x ", ""),
        ("nuke", "x", " no cat file"),
        ("blender", "1", " data-blocks are missing"),
        ("fusion", "no x ", "licen"),
        ("prman", '"', " mode = "),
        ("c4d", "Corona licensing ", ""),
    )
    for name, words, end in endless:
        line = (words * 3980)[: 3980 - len(end)] + end + "\n"
        lines = [f"{number} {line}" for number in range(10)]
        assert _seconds(name, "".join(lines)) < 0.5, (name, words)
    assert _seconds("generic", "x" * 60_000 + "ACTIVITY: \n" + "x" * 60_000 + "REPORT: \n") < 0.5
    assert _seconds("prman", f"Filtering to produce x{' ' * 60_000}y\n") < 0.5
    assert _seconds("maya", "Finished Rendering " * 3400 + "\n") < 0.5


def _seconds(name: str, text: str) -> float:
    made = getattr(importlib.import_module(f"parsers.{name}"), name)()
    before = time.thread_time()
    _parse(made, text)
    return time.thread_time() - before

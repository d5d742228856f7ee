"""The sentence with which the reasons of a failed run begin, and the order of the reasons."""

from __future__ import annotations

import attrs
import pytest

from trio_afrender.config import Checks, Config
from trio_afrender.plugins.interfaces import ErrorClass, ParserState
from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.protocol.messages import Reason
from trio_afrender.task.cause import describe_class, describe_missing, name_cause, quote
from trio_afrender.task.reasons import MAX_STEPS, MAX_TEXT, ReasonLog
from trio_afrender.task.status_rules import RunFacts, StopCause, StopKind
from trio_afrender.task.task_info import read_own_checks

GOOD = ExitStatus(code=0, signal=None, raw=0)
LICENCE = ErrorClass("licence", "There was no licence.", False, 4, "no seat")
DISK = ErrorClass("disk-full", "A disk is full.", True, 9, "disk full")
CRASH = ErrorClass("crash", "The program crashed.", False)
NO_PROGRAM = ErrorClass("setup", "The host lacks a program.", True)
PARSED = ParserState(deciding_line=4, deciding_text="no seat", report="no seat")
FAILED = 'error: "Render failed" (line 7 of the output)'
OTHER = ParserState(deciding_line=7, deciding_text="Render failed")


def with_flags(facts: RunFacts, flags: dict[str, bool]) -> RunFacts:
    return attrs.evolve(facts, **flags)  # type: ignore[arg-type] # all flags are bools


def exited(code: int, **flags: bool) -> RunFacts:
    status = ExitStatus(code=code, signal=None, raw=code << 8)
    return with_flags(RunFacts(exit=status, exit_ok=code == 0), flags)


def killed(signal: int, **flags: bool) -> RunFacts:
    status = ExitStatus(code=None, signal=signal, raw=signal)
    return with_flags(RunFacts(exit=status, exit_ok=False), flags)


def stopped(kind: StopKind, text: str = "a text", **flags: bool) -> RunFacts:
    status = ExitStatus(code=None, signal=15, raw=15)
    return with_flags(RunFacts(stop=StopCause(kind=kind, text=text), exit=status), flags)


@pytest.mark.parametrize(
    ("facts", "parsed", "classes", "finding", "text"),
    [
        # The parser stopped it: the signal that followed is no reason.
        (
            stopped(StopKind.PARSER_ERROR, error=True), PARSED, [LICENCE, DISK], "",
            'licence: "no seat" (line 4 of the output)',
        ),
        (
            stopped(StopKind.PARSER_FATAL_ERROR, fatalerror=True), OTHER, [LICENCE], "",
            'fatal error: "Render failed" (line 7 of the output); licence: "no seat" (line 4 of the output)',
        ),
        (stopped(StopKind.PARSER_ERROR, error=True), OTHER, [], "", 'error: "Render failed" (line 7 of the output)'),
        (stopped(StopKind.PARSER_ERROR, error=True), ParserState(), [], "", "error reported by the parser"),
        (
            stopped(StopKind.PARSER_ERROR, error=True), ParserState(), [DISK], "",
            'disk-full: "disk full" (line 9 of the output)',
        ),
        # A limit, and what the program printed before.
        (stopped(StopKind.LIMIT, "no output for 9 s"), ParserState(), [], "", "no output for 9 s"),
        (
            stopped(StopKind.STUCK, "no sign of life"), ParserState(), [LICENCE], "",
            'no sign of life; licence: "no seat" (line 4 of the output)',
        ),
        (stopped(StopKind.MEMORY, "the host is short"), PARSED, [], "", "the host is short"),
        (stopped(StopKind.SERVER), PARSED, [LICENCE], "", ""),
        (stopped(StopKind.DRAIN), PARSED, [], "", ""),
        # Ended by itself.
        (exited(3), ParserState(), [], "", "exit code 3"),
        (exited(3), ParserState(report="Error: no camera"), [], "", 'exit code 3; "Error: no camera"'),
        (
            exited(3), ParserState(), [DISK, LICENCE], "",
            'disk-full: "disk full" (line 9 of the output); exit code 3',
        ),
        (exited(100, error=True), PARSED, [LICENCE], "", 'licence: "no seat" (line 4 of the output); exit code 100'),
        (
            exited(127), ParserState(), [NO_PROGRAM], "",
            "exit code 127: the shell did not find the command; the host lacks a program",
        ),
        (exited(126), ParserState(), [], "", "exit code 126: the shell found the command but may not execute it"),
        (
            RunFacts(exit=GOOD, exit_ok=False), ParserState(), [], "",
            "exit code 0: the service does not accept it",
        ),
        (killed(11), ParserState(), [CRASH], "", "the process was ended by signal 11 (SIGSEGV); the program crashed"),
        (
            killed(6, error=True), OTHER, [CRASH], "",
            f"{FAILED}; the process was ended by signal 6 (SIGABRT); the program crashed",
        ),
        (killed(99), ParserState(), [], "", "the process was ended by signal 99 (unknown)"),
        (RunFacts(exit=None, exit_ok=False), ParserState(), [], "", "the process cannot be ended"),
        (
            RunFacts(exit=ExitStatus(code=None, signal=None, raw=-1), exit_ok=False), ParserState(), [], "",
            "the process ended with an unknown status: its task supervisor was killed",
        ),
        # A good end, but the checks found something: never the exit code.
        (exited(0, files_ok=False), ParserState(), [], "a.7.exr is missing", "a.7.exr is missing"),
        (
            exited(0, files_ok=False), ParserState(), [DISK], "a.7.exr is missing",
            'a.7.exr is missing; disk-full: "disk full" (line 9 of the output)',
        ),
        (exited(0, assets_ok=False), ParserState(), [], "1 file is missing", "1 file is missing"),
        (exited(0, post_in_time=False), ParserState(), [], "the limit post_time", "the limit post_time"),
        (exited(0, badresult=True), OTHER, [], "", 'bad result: "Render failed" (line 7 of the output)'),
        (exited(0, badresult=True), ParserState(report="no frame was reported"), [], "", 'bad result: "no frame was reported"'),
        (exited(0, badresult=True, finishedsuccess=True), OTHER, [], "", "bad result reported by the parser"),
        (
            exited(0, badresult=True), OTHER, [], "a.7.exr is missing",
            'bad result: "Render failed" (line 7 of the output); a.7.exr is missing',
        ),
        (
            stopped(StopKind.PARSER_SUCCESS, files_ok=False), ParserState(), [], "a.7.exr is missing",
            "a.7.exr is missing",
        ),
    ],
)  # fmt: skip
def test_the_cause_of_a_failure(
    facts: RunFacts, parsed: ParserState, classes: list[ErrorClass], finding: str, text: str
) -> None:
    assert name_cause(facts, parsed, classes, finding) == text


def test_a_quoted_line_is_plain_and_short() -> None:
    assert quote(3, "\x1b[31mError:\t no \r\x1b[0m") == '"Error: no" (line 3 of the output)'
    assert quote(0, "Error") == '"Error"'
    assert quote(5, " ") == ""
    assert len(quote(0, "x" * 1000)) == 302


def test_a_class_is_described_with_what_the_cause_does_not_have() -> None:
    assert describe_class(LICENCE) == (
        'licence: There was no licence; "no seat" (line 4 of the output)'
    )
    assert describe_class(LICENCE, 'licence: "no seat" (line 4 of the output)') == (
        "licence: There was no licence"
    )
    assert describe_class(NO_PROGRAM) == "setup: The host lacks a program; the host is the cause"
    assert describe_class(ErrorClass("moths", "", False, 2, "moth")) == (
        'moths: "moth" (line 2 of the output)'
    )


def test_missing_files_are_counted_and_named() -> None:
    assert describe_missing(1, ("a.png",)) == "1 file is missing that the task needs: a.png"
    names = tuple(f"{number}.png" for number in range(20))
    assert describe_missing(90, names) == (
        "90 files are missing that the task needs: 0.png, 1.png, 2.png, 3.png, 4.png and 85 more"
    )


# The order of the reasons.


def test_the_cause_comes_first_with_the_time_of_the_first_fact() -> None:
    now = 10.0
    why = ReasonLog(lambda: now)
    for number in range(MAX_STEPS + 5):
        why.add("rule", f"fact {number}")
        now += 1
    why.lead("cause", "no seat")
    why.lead("class", "licence: no seat")
    why.lead("cause", "")
    steps = why.steps()
    assert steps[0] == Reason(time=10.0, event="cause", text="no seat")
    assert [step.event for step in steps[1:3]] == ["class", "rule"]
    assert (steps[-1].event, len(steps)) == ("more", MAX_STEPS + 3)
    lines = why.text().splitlines()
    assert lines[:4] == [
        "Why:",
        "  cause: no seat",
        "  class: licence: no seat",
        "  +0.00s rule: fact 0",
    ]


def test_a_cause_without_facts() -> None:
    why = ReasonLog(lambda: 5.0)
    why.lead("cause", "x" * (MAX_TEXT + 1))
    assert why.steps() == (Reason(time=5.0, event="cause", text="x" * MAX_TEXT),)


# checks of a block


@pytest.mark.parametrize(
    ("texts", "checks", "problem"),
    [
        ({}, {}, ""),
        ({"block_custom_data": '{"checks": {"assets": "error"}}'}, {"assets": "error"}, ""),
        (
            {
                "job_custom_data": '{"checks": {"assets": "error"}}',
                "block_custom_data": '{"checks": {"assets": "off"}, "a": 1}',
            },
            {"assets": "off"},
            "",
        ),
        (
            {
                "job_custom_data": '{"checks": {"assets": "error"}}',
                "task_custom_data": '{"checks": {"assets": "warn"}}',
            },
            {"assets": "warn"},
            "",
        ),
        ({"block_custom_data": 'any text with "checks"'}, {}, ""),
        ({"block_custom_data": '["checks"]'}, {}, ""),
        ({"block_custom_data": '"checks"' + "[" * 100_000}, {}, ""),
        ({"render_custom_data": '{"checks": {"assets": "error"}}'}, {}, ""),
        (
            {"block_custom_data": '{"checks": {"assets": "eror"}}'},
            {},
            "block_custom_data.checks: assets is 'eror', not one of off, warn, error: it is ignored",
        ),
        (
            {"job_custom_data": '{"checks": {"asets": "error"}}'},
            {},
            'job_custom_data.checks has no "asets", did you mean "assets"?; it is ignored',
        ),
        (
            {"job_custom_data": '{"checks": 3}'},
            {},
            "job_custom_data.checks is 3, not a dict: it is ignored",
        ),
    ],
)
def test_checks_that_a_block_sets(
    texts: dict[str, str], checks: dict[str, object], problem: str
) -> None:
    assert read_own_checks(texts) == (checks, (problem,) if problem else ())


def test_the_block_has_the_last_word_on_checks() -> None:
    config = Config(
        name="r", checks=Checks(assets="off"), service_checks={"nuke": {"assets": "warn"}}
    )
    assert config.checks_of("maya", {}, {}).assets == "off"
    assert config.checks_of("maya", {"assets": "error"}, {}).assets == "error"
    assert config.checks_of("nuke", {"assets": "error"}, {}).assets == "warn"
    assert config.checks_of("nuke", {"assets": "off"}, {"assets": "error"}).assets == "error"

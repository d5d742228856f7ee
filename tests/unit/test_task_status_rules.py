"""The status of a run from the facts of its end, as a table."""

from __future__ import annotations

import pytest

from trio_afrender.process.interfaces import ExitStatus
from trio_afrender.protocol.messages import TaskStatus as S
from trio_afrender.task.status_rules import (
    RunFacts,
    StopCause,
    StopKind,
    cap_retries,
    decide_status,
)

OK = ExitStatus(code=0, signal=None, raw=0)
SEGV = ExitStatus(code=None, signal=11, raw=11)


def stop(kind: StopKind) -> StopCause:
    return StopCause(kind=kind, text="because")


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        pytest.param(RunFacts(exit=OK), S.FinishedSuccess, id="clean"),
        pytest.param(RunFacts(exit=OK, exit_ok=False), S.FinishedError, id="bad exit"),
        pytest.param(RunFacts(exit=SEGV), S.FinishedKilled, id="died of a signal"),
        pytest.param(RunFacts(exit=None), S.FinishedKilled, id="cannot be reaped"),
        pytest.param(
            RunFacts(exit=OK, exit_ok=False, fatalerror=True, finishedsuccess=True),
            S.FinishedError,
            id="the exit status wins over the parser",
        ),
        pytest.param(
            RunFacts(exit=OK, fatalerror=True, error=True, badresult=True),
            S.FinishedParserFatalError,
            id="fatal first",
        ),
        pytest.param(
            RunFacts(exit=OK, error=True, badresult=True), S.FinishedParserError, id="then error"
        ),
        pytest.param(
            RunFacts(exit=OK, badresult=True, files_ok=False),
            S.FinishedParserBadResult,
            id="then bad result",
        ),
        pytest.param(
            RunFacts(exit=OK, files_ok=False, post_ok=False), S.BadRenderedFiles, id="then files"
        ),
        pytest.param(RunFacts(exit=OK, post_ok=False), S.FinishedFailedPost, id="then post"),
        pytest.param(
            RunFacts(exit=OK, finishedsuccess=True), S.FinishedParserSuccess, id="parser success"
        ),
        pytest.param(
            RunFacts(exit=SEGV, stop=stop(StopKind.SERVER)), S.FinishedKilled, id="server"
        ),
        pytest.param(RunFacts(exit=SEGV, stop=stop(StopKind.DRAIN)), S.GiveBack, id="drain"),
        pytest.param(RunFacts(exit=SEGV, stop=stop(StopKind.AGENT_EXIT)), S.GiveBack, id="exit"),
        pytest.param(RunFacts(exit=SEGV, stop=stop(StopKind.USER)), S.GiveBack, id="artist"),
        pytest.param(
            RunFacts(exit=SEGV, stop=stop(StopKind.DRAIN), give_backs=2),
            S.FinishedError,
            id="given back twice already",
        ),
        pytest.param(
            RunFacts(exit=SEGV, stop=stop(StopKind.PARSER_ERROR), error=True),
            S.FinishedParserError,
            id="stopped by the parser's error",
        ),
        pytest.param(
            RunFacts(exit=SEGV, stop=stop(StopKind.PARSER_FATAL_ERROR)),
            S.FinishedParserFatalError,
            id="stopped by the parser's fatal error",
        ),
        pytest.param(
            RunFacts(exit=SEGV, stop=stop(StopKind.PARSER_SUCCESS), finishedsuccess=True),
            S.FinishedParserSuccess,
            id="stopped because the work is done",
        ),
        pytest.param(
            RunFacts(
                exit=SEGV,
                stop=stop(StopKind.PARSER_SUCCESS),
                finishedsuccess=True,
                files_ok=False,
            ),
            S.BadRenderedFiles,
            id="done for the parser, but files are missing",
        ),
    ],
)
def test_decide_status(facts: RunFacts, status: S) -> None:
    assert decide_status(facts) is status


def test_every_stop_has_a_status() -> None:
    for kind in StopKind:
        assert decide_status(RunFacts(exit=SEGV, stop=stop(kind), finishedsuccess=True)).terminal


@pytest.mark.parametrize(
    ("status", "before", "reported"),
    [
        (S.GiveBack, 0, S.GiveBack),
        (S.GiveBack, 1, S.GiveBack),
        (S.GiveBack, 2, S.FinishedError),
        (S.FailedToStart, 5, S.FailedToStart),
    ],
)
def test_give_backs_are_limited(status: S, before: int, reported: S) -> None:
    assert cap_retries(status, before) is reported

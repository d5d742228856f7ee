"""States of tasks, blocks and jobs in Afanasy's bits, words and letters of the progress bar.

A task is in one of the farm's states (`model.TaskState`) and has marks, such as a warning or an
error that will be retried. Afanasy shows both as bits of one number. The tasks of a block that
waits as a whole are ready in these bits: the block and the job say that they wait.
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from functools import lru_cache, reduce
from operator import or_

from trio_afrender.farm.model import Block, BlockSummary, FarmStopKind, Job, Task, TaskState
from trio_afrender.protocol.messages import TaskStatus

__all__ = (
    "DEPENDENT",
    "OUTCOME_MARKS",
    "STATUS_MARKS",
    "TaskBit",
    "job_bits",
    "state_text",
    "summarize",
    "task_bits",
)


class TaskBit(enum.IntFlag):
    """Afanasy's bits of tasks, blocks and jobs. Names of more than three letters have no word."""

    RDY = 1 << 0
    RUN = 1 << 1
    WDP = 1 << 2
    """Waits for other tasks, blocks or jobs."""
    WTM = 1 << 3
    """Waits for its time."""
    DON = 1 << 4
    ERR = 1 << 5
    STO = 1 << 6
    STE = 1 << 7
    SKP = 1 << 8
    """Skipped; always with `DON`."""
    OFF = 1 << 9
    """Paused."""
    WRN = 1 << 10
    """A parser has found a warning."""
    PER = 1 << 11
    """A parser has found an error."""
    PBR = 1 << 12
    """A parser has found a bad result."""
    PSC = 1 << 13
    """A parser has found the success of the task."""
    FAILED_POST = 1 << 14
    BAD_FILES = 1 << 15
    PPA = 1 << 16
    """The previews are done, the rest waits for approval."""
    RER = 1 << 17
    """Had an error and will be tried again."""
    WRC = 1 << 18
    """Waits for its render to connect again."""
    TRY = 1 << 19
    """Comes before other tasks."""
    SUS = 1 << 20
    """Suspended."""
    PARSER_FATAL = 1 << 21


DEPENDENT = 1 << 24
"""A mark of ours, in no number that is sent: the task was killed because what it waited for failed."""

STATUS_MARKS = {
    TaskStatus.Warning: TaskBit.WRN.value,
    TaskStatus.FinishedParserError: TaskBit.PER.value,
    TaskStatus.FinishedParserBadResult: TaskBit.PBR.value,
    TaskStatus.FinishedParserSuccess: TaskBit.PSC.value,
    TaskStatus.FinishedParserFatalError: TaskBit.PARSER_FATAL.value,
    TaskStatus.FinishedFailedPost: TaskBit.FAILED_POST.value,
    TaskStatus.BadRenderedFiles: TaskBit.BAD_FILES.value,
}
"""What a render's status leaves on a task until its next start."""

_RDY, _RUN, _WDP, _WTM = (int(TaskBit[name]) for name in ("RDY", "RUN", "WDP", "WTM"))
_DON, _ERR, _SKP, _OFF = (int(TaskBit[name]) for name in ("DON", "ERR", "SKP", "OFF"))
_WRN, _PPA, _RER, _WRC = (int(TaskBit[name]) for name in ("WRN", "PPA", "RER", "WRC"))
_TRY, _SUS = int(TaskBit.TRY), int(TaskBit.SUS)

OUTCOME_MARKS = _RER | DEPENDENT | _WRN
for _mark in STATUS_MARKS.values():
    OUTCOME_MARKS |= _mark
"""Marks of an earlier attempt: a new start drops them."""
_ENDED_MARKS = OUTCOME_MARKS & ~(_RER | DEPENDENT)

_WORD_ORDER = "RDY RUN DON ERR SKP OFF WRN PER PBR PSC WDP WTM STO STE PPA RER WRC TRY SUS"
_WORDS = tuple((int(TaskBit[word]), f" {word}") for word in _WORD_ORDER.split())

_BAR_LENGTH = 128
_BAR_LETTERS = (
    ("U", _SUS),
    ("C", _WRC),
    ("E", _ERR),
    ("Y", _RDY | _RER),
    ("N", _RUN | _WRN),
    ("R", _RUN),
    ("W", _WDP),
    ("T", _RDY | _TRY),
    ("r", _RDY),
    ("G", _DON | _WRN),
    ("S", _SKP),
    ("D", _DON),
)
"""The letter of a task is the first one whose bits it all has; the order is that of importance."""
_IMPORTANCE = {letter: i for i, (letter, _) in enumerate(reversed(_BAR_LETTERS), start=1)}


def task_bits(task: Task) -> int:
    """The bits of a task, without the mark that Afanasy's solver leaves in bit 62."""
    state, marks = task.state, task.marks
    if state is TaskState.READY:
        return _RDY | marks & ~DEPENDENT
    if state is TaskState.DONE:
        return _DON | marks & _ENDED_MARKS
    if state is TaskState.RUNNING:
        return _running_bits(task)
    if state is TaskState.WAITING:
        if marks & _SUS:
            return marks & ~DEPENDENT
        waits = task.group is not None and task.group.waits and not task.block.waits
        waits = waits and not task.block.job.held
        return (_WDP if waits else _RDY) | marks & ~DEPENDENT
    if state is TaskState.SKIPPED:
        return _DON | _SKP | marks & _ENDED_MARKS
    if marks & DEPENDENT:
        return _WDP
    return _ERR | marks & _ENDED_MARKS


def _running_bits(task: Task) -> int:
    run = task.run
    assert run is not None  # noqa: S101 - the state is RUNNING
    marks = task.marks & _WRN
    if not run.render.online:
        return _WRC | marks
    bits = _RUN | marks
    if run.suspended:
        bits |= _SUS
    if run.stop is not None:
        if run.stop.kind is FarmStopKind.DONE:
            bits |= _DON
        elif run.stop.kind is FarmStopKind.SKIP:
            bits |= _DON | _SKP
    return bits


def summarize(block: Block) -> BlockSummary:
    """Return the summary of a block; it iterates over the tasks when one has changed."""
    if block.summary is not None:
        return block.summary
    tasks = block.tasks
    each = [task_bits(task) for task in tasks]
    counts = Counter(each)

    def count(bit: int) -> int:
        return sum(n for bits, n in counts.items() if bits & bit)

    done = count(_DON & ~_RUN)
    percent = 100 * done
    capacity = 0
    times: list[int] = []
    total = 0
    for task in tasks:
        if task.run is not None:
            percent += task.percent
            capacity += task.run.capacity
        elif task.started is not None and task.finished is not None:
            took = max(0, round(task.finished - task.started))
            total += took
            if task.state is TaskState.DONE:
                times.append(took)
    every = reduce(or_, counts, 0)
    kept = every & (_RUN | _ERR | _SKP | _WRN | _SUS | _WRC)
    if all(bits & _DON and not bits & _RUN for bits in counts):
        kept |= _DON
    # A block whose dependencies failed waits for them as well: they may be restarted.
    elif block.waits or (every & _WDP and not every & (_RDY | _RUN | _WRC)):
        kept |= _WDP
    else:
        kept |= every & _RDY
    block.summary = BlockSummary(
        bits=kept,
        percentage=percent // len(tasks) if tasks else 0,
        ready=count(_RDY),
        done=count(_DON),
        error=count(_ERR),
        skipped=count(_SKP),
        warning=count(_WRN),
        waiting_reconnect=count(_WRC),
        waiting_dependencies=count(_WDP),
        suspended=count(_SUS),
        running_capacity=capacity,
        run_time_min=min(times, default=0),
        run_time_max=max(times, default=0),
        run_time_sum=total,
        bar=_draw_bar(each),
    )
    return block.summary


def job_bits(job: Job) -> int:
    """The bits of a job: those of its blocks, done if all are, and what the job itself waits for."""
    found, every_done = 0, True
    for block in job.blocks:
        bits = summarize(block).bits
        found |= bits & (_RDY | _RUN | _ERR | _SKP | _WRN | _SUS | _WRC)
        every_done = every_done and bool(bits & _DON)
    if every_done:
        found |= _DON
    if job.held and not job.over:
        if job.held_until is not None:
            found |= _WTM
        if any(other.state != "done" for other in job.before):
            found |= _WDP
        found &= ~_RDY
    if job.paused or job.deleting:
        found |= _OFF
    if job.awaits_approval:
        found |= _PPA
    return found


def _draw_bar(each: list[int]) -> str:
    count = len(each)
    if not count:
        return " " * _BAR_LENGTH
    if count <= _BAR_LENGTH:
        ends = [(i + 1) * _BAR_LENGTH // count for i in range(count)]
        starts = [0, *ends[:-1]]
        parts = zip(each, starts, ends, strict=True)
        return "".join(_letter(bits) * (end - start) for bits, start, end in parts)
    letters = [_letter(bits) for bits in each]
    edges = [i * count // _BAR_LENGTH for i in range(_BAR_LENGTH + 1)]
    spans = itertools.pairwise(edges)
    return "".join(max(letters[a:b], key=_IMPORTANCE.__getitem__) for a, b in spans)


@lru_cache(maxsize=1024)
def _letter(bits: int) -> str:
    return next((letter for letter, wanted in _BAR_LETTERS if bits & wanted == wanted), "D")


@lru_cache(maxsize=1024)
def state_text(bits: int) -> str:
    """The words of bits, each with a blank before it, in the order that Afanasy gives them."""
    return "".join(word for bit, word in _WORDS if bits & bit)

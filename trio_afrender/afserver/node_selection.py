"""Which renders, jobs, blocks and tasks the words of a command line select. No I/O.

A word is the name of a node, else a mask as in a shell (``render*``), else an id. A server has two
languages of masks of its own; here nodes are listed first and chosen on our side, so that a user
needs to know one, and sees what is chosen before anything happens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import attrs

from trio_afrender.afserver.remote_nodes import BlockNode, JobNode
from trio_afrender.text import suggest

__all__ = ("TaskSelection", "select_nodes", "select_tasks")

_WILD = re.compile(r"[*?\[]")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MAX_TASKS = 1_000_000


class _Node(Protocol):
    @property
    def id(self) -> int: ...

    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Node)


def select_nodes(
    nodes: Sequence[_N], words: Iterable[str], kind: str
) -> tuple[list[_N], list[str]]:
    """Return the nodes that the words select, each once, and a sentence for each word without any.

    Several nodes of one name are all selected.
    """
    found: dict[int, _N] = {}
    problems = []
    for word in words:
        chosen = _select(nodes, word)
        if not chosen:
            problems.append(_explain(nodes, word, kind))
        found.update((node.id, node) for node in chosen)
    return list(found.values()), problems


def _select(nodes: Sequence[_N], word: str) -> list[_N]:
    # First, because names may have the characters of masks, or be numbers.
    by_name = [node for node in nodes if node.name == word]
    if by_name:
        return by_name
    if _WILD.search(word):
        return [node for node in _submitted(nodes) if fnmatchcase(node.name, word)]
    # More digits than an id has are no number to compare.
    if word.isdecimal() and len(word) < 19:
        return [node for node in nodes if node.id == int(word)]
    return []


def _submitted(nodes: Sequence[_N]) -> list[_N]:
    """The nodes without the server's own job, which no mask means."""
    return [node for node in nodes if not (isinstance(node, JobNode) and node.is_system)]


def _explain(nodes: Sequence[_N], word: str, kind: str) -> str:
    if _WILD.search(word):
        return f'no {kind} matches "{word}"; there are {len(_submitted(nodes))}'
    names = [node.name for node in nodes]
    return f'no {kind} "{word}"{suggest(word, names)}'


@attrs.frozen(slots=True, kw_only=True)
class TaskSelection:
    """Tasks of one block. `tasks` None: the whole block."""

    job: JobNode
    block: BlockNode
    tasks: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        return self.block.tasks if self.tasks is None else len(self.tasks)

    @property
    def name(self) -> str:
        """The selection as it is written on a command line."""
        block = f"{self.job.id}.{self.block.number}"
        if self.tasks is None:
            return block
        first, last, count = self.tasks[0], self.tasks[-1], len(self.tasks)
        if last - first != count - 1:
            return f"{block}.{first} and {count - 1} more"
        return f"{block}.{first}" + (f"-{last}" if last > first else "")


def select_tasks(
    jobs: Sequence[JobNode], words: Iterable[str]
) -> tuple[list[TaskSelection], list[str]]:
    """Return the blocks and tasks that the words select, and a sentence for each word without any.

    A word is ``JOB``, ``JOB.BLOCK``, ``JOB.BLOCK.TASK`` or ``JOB.BLOCK.FIRST-LAST``. JOB is a name, a
    mask or an id, BLOCK a name, a mask or a number, TASK a number from 0.
    """
    found: list[TaskSelection] = []
    problems = []
    for word in words:
        # The name of a job may have dots of its own: the longest one counts.
        parts = word.split(".")
        for count in range(len(parts), max(0, len(parts) - 3), -1):
            if chosen := _select(jobs, ".".join(parts[:count])):
                selected, problem = _select_parts(chosen, parts[count:], word)
                found += selected
                break
        else:
            head = parts[0] if len(parts) < 3 else word.rsplit(".", 2)[0]
            problem = _explain(jobs, head, "job")
        problems += [problem] if problem else []
    return found, problems


def _select_parts(
    jobs: Sequence[JobNode], parts: Sequence[str], word: str
) -> tuple[list[TaskSelection], str]:
    found: list[TaskSelection] = []
    problem = ""
    for job in jobs:
        blocks = list(job.blocks)
        if parts:
            # By name, else by mask, else by number.
            tests: tuple[Callable[[BlockNode], bool], ...] = (
                lambda block: block.name == parts[0],
                lambda block: bool(_WILD.search(parts[0])) and fnmatchcase(block.name, parts[0]),
                lambda block: str(block.number) == parts[0],
            )
            chosen = ([block for block in job.blocks if test(block)] for test in tests)
            blocks = next(filter(None, chosen), [])
            if not blocks:
                names = ", ".join(f'{b.number} "{b.name}"' for b in job.blocks[:10]) or "none"
                problem = f'{word}: no block "{parts[0]}" of job {job.id}; it has {names}'
        for block in blocks:
            tasks: tuple[int, ...] | None = None
            if len(parts) > 1:
                match = _RANGE.fullmatch(parts[1])
                if match is None:
                    problem = f'{word}: "{parts[1]}": expected the number of a task, or FIRST-LAST'
                    continue
                first, last = int(match[1]), int(match[2] or match[1])
                if last < first or last >= block.tasks or last - first >= _MAX_TASKS:
                    have = f'block {block.number} "{block.name}" has {block.tasks} tasks, from 0'
                    reason = "the range ends before it begins; " if last < first else ""
                    problem = f"{word}: {reason}{have}"
                    continue
                tasks = tuple(range(first, last + 1))
            found.append(TaskSelection(job=job, block=block, tasks=tasks))
    # Of several jobs not each one has to have the block.
    return found, "" if found else problem

"""``trio_afrender why JOB.BLOCK.TASK``: the outcome of a task on this host, or at a farm, with reasons.

This host has the runs of its own agents. A farm knows what a task waits for, and its log.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trio_afrender.agent.journal import MAX_SIZE
from trio_afrender.agent.journal_format import read_records, replay
from trio_afrender.agent.run_history import read_history
from trio_afrender.cli.farm_record import find_open_farms
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.task_explanation import run_at_farm
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.safe_files import read_regular
from trio_afrender.text import utc_time

__all__ = ("run",)

MAX_RECENT = 5
"""Tasks that are suggested if the requested one is unknown."""
_EXPLAINING = ("class", "memory")
"""Events that explain the cause. They come before all others and have no moment of their own."""
RunExplanation = Mapping[str, Any]


def run(options: Namespace) -> int:
    """Print all runs of the task that this host knows, the newest last; return 1 if there are none.

    With ``--server``, or if this host knows none and a farm is open on it, that farm is asked. Raises
    `ConfigError` for a store that cannot be read, and what `ask_json` raises.
    """
    if options.server is not None:
        return run_at_farm(options)
    settings = load_options(options)
    root = Path(str(settings["af_store_folder"])) / "trio_afrender"
    if options.name:
        folders = [root / options.name]
    else:
        try:
            folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
        except FileNotFoundError:
            folders = []
        except OSError as error:
            problem = error.strerror or error
            raise ConfigError(f"{root}: {problem}; choose another --store") from error
    known = [facts for folder in folders for facts in _runs(folder)]
    found = [facts for facts in known if options.task in (facts["run"], _key(facts))]
    if not found and find_open_farms(Path(str(settings["af_store_folder"]))):
        return run_at_farm(options)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join("".join(f"{line}\n" for line in _describe(f)) for f in found))
    if found:
        return 0
    print_line(clean(f'trio_afrender: there is no record of "{options.task}" in {root}'))
    if known:
        recent = dict.fromkeys(_key(facts) for facts in reversed(known))
        print_line(clean(f"the latest tasks here: {', '.join(list(recent)[:MAX_RECENT])}"))
    else:
        print_line("that folder has no records: give --store, or run this on the task's host")
    return 1


def _runs(folder: Path) -> Iterator[RunExplanation]:
    """Yield the runs in an agent's store: ended ones from its history, running ones of its journal."""
    try:
        ended = list(read_history(folder))
        journal = b""
        with suppress(FileNotFoundError):
            journal = read_regular(folder / "journal", MAX_SIZE)
        pending = replay(read_records(journal))
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror or error}; run this as the agent's user, or choose another"
            " --store"
        ) from error
    yield from ({**facts, "agent": folder.name} for facts in ended)
    ended_runs = {facts.get("run") for facts in ended}
    for task in pending.unfinished:
        if task.run not in ended_runs:
            yield {
                **task.key._asdict(),
                "run": task.run,
                "agent": folder.name,
                "name": task.name,
                "block_name": task.block_name,
                "job_name": task.job_name,
                "state": "running",
                "why": [],
            }


def _key(facts: RunExplanation) -> str:
    key = f"{facts.get('job')}.{facts.get('block')}.{facts.get('task')}"
    return f"{key}.{facts['number']}" if facts.get("number") else key


def _describe(facts: RunExplanation) -> Iterator[str]:
    names = [("task", "name"), ("block", "block_name"), ("job", "job_name")]
    named = ", ".join(f'{kind} "{facts[key]}"' for kind, key in names if facts.get(key))
    yield clean(f"{_key(facts)}  {named}  (run {facts.get('run')}, agent {facts.get('agent')})")
    steps = [step for step in facts["why"] if isinstance(step, dict)]
    if steps and steps[0].get("event") == "cause":
        verb = "given back" if facts["state"] == "GiveBack" else "failed"
        yield clean(f"  {verb}: {steps.pop(0).get('text')}")
    yield clean(f"  {_outcome(facts)}")
    if steps:
        yield "  Why:"
    # From the start of the task, not from its first step: a task that simply ends has one step alone.
    first = _seconds(steps[0].get("time")) if steps else 0.0
    started = _seconds(facts.get("started"))
    zero = started if 0 < started <= first else first
    for step in steps:
        pids = step.get("pids") or ()
        tail = f" [pids {', '.join(map(str, pids))}]" if pids else ""
        after = _seconds(step.get("time")) - zero if step.get("event") not in _EXPLAINING else 0.0
        yield clean(f"    +{after:.2f}s {step.get('event')}: {step.get('text')}{tail}")


def _outcome(facts: RunExplanation) -> str:
    started, finished = facts.get("started"), facts.get("finished")
    if facts["state"] == "running":
        return "running, according to the last record of its agent"
    text = str(facts["state"])
    if facts.get("exit_code") is not None:
        text += f", exit code {facts['exit_code']}"
    if facts.get("exit_signal") is not None:
        text += f", signal {facts['exit_signal']}"
    if finished:
        text += f", {utc_time(_seconds(finished))}"
    if started and finished:
        return f"{text}, after {_seconds(finished) - _seconds(started):.1f} s"
    return text if started else f"{text}, never started"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

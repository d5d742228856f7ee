"""Each system call of agent, supervisor and task supervisors fails once, with each errno that fits.

The calls are taken from the source (`support.fault_sites`), so a new one is tested without a change here, or
fails `test_every_call_is_reached`. `make attack` runs all cases, the suite a part. After each: one end for
each task, none of them an error, none given up by the server for silence, no process left, the memory of the
agent bounded, no internal error in a log, and the agent runs the next task. The output is whole or has a
mark of what is missing.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from support.fault_seam import THREAD
from support.fault_sites import Site, find_sites, find_unknown
from support.fault_stage import AGENT, SCENARIOS, SUPERVISOR, Case, FaultStage, open_stage

ALL = os.environ.get("ATTACKS") == "all"
SITES = os.environ.get("SITES", "")
"""A pattern of the sites of which all cases are run, to repeat a part."""
FEW, CHEAP = 15, ("run", "frame", "stop")
"""How many cases the suite runs, and of which scenarios."""
TURNS = (1, 2, 4, 8, 16)
NOT_REACHED = {
    r"hostinfo\.(cpu|memory|process_usage|temperature|nvidia_smi)": "other systems, other hosts, NVIDIA cards",
    r"hostinfo\.process_inspection": "stuck tasks: tests/simulated/test_task_stuck_detection.py",
    r"process\.procfs.*psutil": "other systems",
    r"process\.procfs.*(read_file|read_token|scan|send_signal|open_pidfd)": "other kernels, large files",
    r"process\.host_probe": "after an exhausted host: test_exhausted_host.py",
    r"process\.host_commands.* ask_command": "notice_command",
    r"plugins\.host\.connection.*(cpu_usage|resident)": "calls that take seconds: test_plugin_failures.py",
    r"plugins\.host\.forkserver.*_end_now": "plugin hosts that hang: test_plugin_failures.py",
    r"plugins\.host\.host_pool.*resolve": "plugin folders",
    r"plugins\.host\.parent_death": "in a child of the agent, before its program starts",
    r"private_folder.*(chmod|resolve|_is_own_group|is_locked)": "stores of another mode: test_private_folder.py",
    r"process\.task_user|_share|task_user_trial|fchown|_make_folders_of|read_regular: os\.fstat": (
        "tasks.user: test_supervisor_users.py"
    ),
    r"supervisor\.run_folders.*(_remove_flat|_lift|_open_up)": "folders too deep for rmtree, or closed: test_run_folders.py",
    r"safe_files.*(read_at: os\.read|write_at: os\.write)": "Windows",
    r"transport\.tls": "certificates: test_transport_tls.py",
    r"agent\.journal.*os\.fsync": "systems without fdatasync",
    r"supervisor\.cgroup.*(move_self|rmdir|remove: Path|_read: os\.read)": "units of systemd, cgroups of tasks",
    r"supervisor\.cgroup": "hosts without a writable cgroup tree: test_supervisor_cgroup.py",
    r"supervisor\.unix_sockets.*short_path": "long paths: test_process_supervised_tree.py",
    r"supervisor\.daemon.*(_start_tree: (os\.dup|socket\.socket)|_accept: self|_wait: self|_receive_from_agent: self)": "a second fault",
    r"supervisor\.output_capture": "systems without pipe sizes",
    r"process\.supervis\w+.*(_send: self\._sock|abandon|stop_trees|_wait_closed|_send_whole: self\._sock\.send$)": "full sockets, foreign ones",
    r"supervisor\.spawn.*_passed_on: os\.setpriority": "users but root: test_supervisor_limits.py",
    r"tasklog\.gaps.*note_loss|tasklog\.segments.*segment_size": "a second fault: test_tasklog_segments.py",
    r"tasklog\.writer.*(_move: os\.read|_write|_open: path|open_writer)": "disks without splice, a second fault: test_tasklog_segments.py",
    r"task\.collected_files.*os\.stat": "announced thumbnails that grow",
    r"transport\.liveness_stream": "a second read of one message",
}
"""Sites that no scenario reaches, on this host or on any, with the reason or the test."""


def test_every_call_is_in_a_table() -> None:
    assert find_unknown() == []


def test_the_table_of_what_is_not_reached_has_no_dead_line() -> None:
    names = [str(site) for site in find_sites()]
    dead = [pattern for pattern in NOT_REACHED if not any(re.search(pattern, n) for n in names)]
    assert dead == []


async def count_calls(stage: FaultStage) -> dict[str, dict[tuple[int, int], int]]:
    """Run each scenario without a fault; return how often it makes each call, by site and kind."""
    counts = {}
    for scenario in SCENARIOS:
        stage.take_counts()
        assert await stage.run(None, scenario) == []
        counts[scenario] = stage.take_counts()
    return counts


def plan_cases(sites: list[Site], counts: dict[str, dict[tuple[int, int], int]]) -> Iterator[Case]:
    """Each site in the cheapest scenario that reaches it, with each errno, at some of its turns."""
    for number, site in enumerate(sites):
        for kind in (AGENT, SUPERVISOR):
            for scenario, reached in counts.items():
                if most := reached.get((number, kind), 0):
                    for turn in (each for each in TURNS if each <= most):
                        for error in site.errnos:
                            yield Case(site, number, kind, error, turn, scenario)
                    break


async def run_cases(cases: list[Case], sites: list[Site], folder: Path) -> list[str]:
    """Run the cases of each scenario one after another; return what is wrong."""
    found = []
    async with AsyncExitStack() as stack:
        stage: FaultStage | None = None
        for case in cases:
            if stage is None:
                fresh = Path(tempfile.mkdtemp(dir=folder))
                stage = await stack.enter_async_context(open_stage(fresh, sites))
            if problems := await stage.run(case, case.scenario):
                found.append(f"{case}: {'; '.join(problems)}")
                # What is wrong now must not affect the next case.
                stage = None
                await stack.aclose()
    return found


async def test_every_call_fails_once(tmp_path: Path) -> None:
    sites = find_sites()
    first = tmp_path / "first"
    first.mkdir()
    found = []
    async with open_stage(first, sites) as stage:
        counts = await count_calls(stage)
        cases = list(plan_cases(sites, counts))
        if not ALL:
            few = [case for case in cases if case.scenario in CHEAP]
            for case in few[:: len(few) // FEW + 1]:
                found += [f"{case}: {problem}" for problem in await stage.run(case, case.scenario)]
    reached = {number for each in counts.values() for number, _ in each}
    missed = [str(site) for number, site in enumerate(sites) if number not in reached]
    assert not [name for name in missed if not any(re.search(p, name) for p in NOT_REACHED)]
    assert {case.error for case in cases} >= {THREAD}
    if ALL:
        chosen = [case for case in cases if re.search(SITES, str(case.site))]
        found = await run_cases(chosen, sites, tmp_path)
    assert not found, "\n\n".join(found)

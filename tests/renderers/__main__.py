"""Render with real programs through the agent, and check what the agent makes of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))

from renderers.agent_run import run_experiment
from renderers.blender_cases import blender_cases
from renderers.experiment import Experiment, compare
from renderers.ffmpeg_cases import ffmpeg_cases
from renderers.installed_programs import Program, install_programs
from renderers.mitsuba_cases import MITSUBA_CASES
from renderers.povray_cases import POVRAY_CASES
from renderers.recorded_logs import clean_output, record_log
from renderers.renderers_page import Row, write_page

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".renderers"
PAGE = ROOT / "docs" / "reports" / "renderers.md"


def main(only: str, scene: str, *, record: bool) -> int:
    """Run all experiments, return the number of those with a wrong result.

    The page is written only if none was left out on request.
    """
    programs, left_out = install_programs(PROGRAMS, only)
    for missing in left_out:
        write(f"{missing.title} is left out: {missing.reason}")
    rows = []
    for program in programs:
        write(f"{program.title} {program.version}")
        for experiment in cases_of(program):
            if scene in experiment.name:
                row = run(experiment, program, record=record)
                rows.append(row)
                write(f"  {experiment.name}: {'; '.join(row.wrong) or 'right'}")
    if not only and not scene:
        write_page(PAGE, rows, programs, left_out)
        write(f"report: {PAGE}")
    wrong = sum(bool(row.wrong) for row in rows)
    write(f"{len(rows)} scenes, {wrong} wrong")
    return wrong


def cases_of(program: Program) -> tuple[Experiment, ...]:
    """Return the experiments with a program."""
    if program.key == "mitsuba":
        return MITSUBA_CASES
    if program.key == "povray":
        return POVRAY_CASES
    if program.key.startswith("ffmpeg"):
        return ffmpeg_cases(program.key, program.version)
    return blender_cases(program.key, program.command)


def run(experiment: Experiment, program: Program, *, record: bool) -> Row:
    """Run one experiment; a fault of the agent is a wrong result."""
    folder = PROGRAMS / "work" / program.key / experiment.name
    try:
        found = run_experiment(experiment, program.command, folder)
    except RuntimeError as error:
        return Row(experiment=experiment, found=None, wrong=(str(error),))
    # Where the farm stopped a program, its output ends anywhere.
    if record and experiment.log and "task_max_run_time" not in experiment.block:
        record_log(experiment.log, found.output, folder, PROGRAMS)
    wrong = tuple(
        clean_output(problem, folder, PROGRAMS) for problem in compare(experiment.expected, found)
    )
    found = attrs.evolve(found, why=clean_output(found.why, folder, PROGRAMS))
    return Row(experiment=experiment, found=found, wrong=wrong)


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make renderers", description=__doc__)
    parser.add_argument("--only", default="", help="programs with this in their key")
    parser.add_argument("--scene", default="", help="scenes with this in their name")
    parser.add_argument("--record", action="store_true", help="write the outputs as test data")
    options = parser.parse_args()
    sys.exit(1 if main(options.only, options.scene, record=options.record) else 0)

"""``trio_afrender doctor``: prints the problems of this host, and the command that fixes each.

``--fix`` runs those commands that need no root, after a question for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import trio

from trio_afrender.cli.confirmation import Declined, confirm
from trio_afrender.cli.doctor import files, network, windows_host
from trio_afrender.cli.doctor.finding import ERROR, HAND, LOOK, OK, ROOT, RUN, WARNING, Finding
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.terminal import clean, print_line, write_line
from trio_afrender.config import Config
from trio_afrender.config.load import Settings, load_settings, make_config
from trio_afrender.errors import ConfigError

__all__ = ("run",)

CHECK_TIMEOUT = 15.0
"""Seconds for one check."""
MOUNT_TIMEOUT = 5.0
"""Seconds for one folder of the paths map."""
FIX_TIMEOUT = 60.0
"""Seconds for one command of ``--fix``."""
HEADS = {RUN: "fix", ROOT: "fix, as root", HAND: "fix by", LOOK: "see"}
LEVELS = (ERROR, WARNING, OK)
STYLES = {OK: "green", WARNING: "yellow", ERROR: "bold red"}

Check: TypeAlias = Callable[[], Iterable[Finding]]


def run(options: Namespace) -> int:
    """Print the findings to stdout; return 1 if one is an error.

    Settings that cannot be used are an error; then the other checks use the default settings. With
    ``--fix`` the findings are those after the fixes. Raises `ConfigError` without an answer.
    """
    findings = _examine(options)
    fixed: list[dict[str, object]] = []
    if options.fix and (fixable := [each for each in findings if each.how == RUN]):
        if not options.json:
            _print(findings)
        fixed = [row for each in fixable if (row := _fix(each, yes=options.yes)) is not None]
        findings = _examine(options)
        if not options.json:
            write_line("after the fixes:")
    elif options.fix:
        print_line("there is nothing that can be fixed without root")
    if options.json:
        # Scripts read the documented key "mend", so it is not the name of the attribute.
        rows = [
            {
                "check": each.check,
                "level": each.level,
                "text": each.text,
                "mend": each.fix,
                "how": each.how if each.fix else "",
            }
            for each in findings
        ]
        more = {"fixed": fixed} if options.fix else {}
        report = {"findings": rows, **_count(findings), **more}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(findings)
    return 1 if _count(findings)[ERROR] else 0


def _examine(options: Namespace) -> list[Finding]:
    findings: list[Finding] = []
    try:
        settings = load_options(options)
        config = make_config(settings)
    except ConfigError as error:
        # The agent would not start, which is a reason to run the doctor, so it must not fail too.
        findings = [
            Finding("config", ERROR, line, files.show_place(line))
            for line in str(error).splitlines()
        ]
        settings = load_settings(environment={})
        config = make_config(settings)
    checked = trio.run(_run_checks, config, settings, options.unit)
    # The defaults, with which the other checks run then, have no errors.
    bad = bool(findings)
    return [*findings, *(each for each in checked if not (bad and each.check == "config"))]


def _count(findings: Iterable[Finding]) -> dict[str, int]:
    counts = Counter(each.level for each in findings)
    return {level: counts[level] for level in LEVELS}


def _print(findings: Sequence[Finding]) -> None:
    level_width, width = max(map(len, LEVELS)), max(len(each.check) for each in findings)
    for each in findings:
        level = (f"{each.level:<{level_width}}", STYLES[each.level])
        write_line(level, f"  {each.check:<{width}}  {clean(each.text)}")
        if each.fix:
            write_line(f"{'':<{level_width + width + 4}}{HEADS[each.how]}: {clean(each.fix)}")
    write_line(", ".join(f"{count} {level}" for level, count in _count(findings).items()))


def _fix(finding: Finding, *, yes: bool) -> dict[str, object] | None:
    """Run the command of a finding, if the answer is yes; return what came of it."""
    print_line(f"{finding.check}: {clean(finding.text)}")
    try:
        confirm(f"run: {finding.fix}", yes=yes)
    except Declined:
        return None
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", finding.fix],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FIX_TIMEOUT,
            check=False,
        )
        code, output = done.returncode, (done.stdout + done.stderr).strip()
    except (OSError, subprocess.SubprocessError) as error:
        code, output = -1, str(error)
    result = "done" if code == 0 else f"failed (exit code {code})"
    print_line(f"{result}: {clean(finding.fix)}", *map(clean, output.splitlines()[:20]))
    return {"check": finding.check, "mend": finding.fix, "exit_code": code}


async def _run_checks(config: Config, settings: Settings, unit: str) -> list[Finding]:
    """Run all checks at once, each with its own time limit; return the findings in fixed order."""
    token_file = str(settings["trio_afrender.token_file"])
    keys = {
        key: item.origin.removeprefix("file ")
        for key, item in settings.values.items()
        if item.origin.startswith("file ")
    }
    checks: dict[str, Check] = {
        "config": partial(files.check_settings, keys, settings.problems),
    }
    if hasattr(os, "fork"):
        from trio_afrender.cli.doctor import machine, user_checks  # they need modules of Unix

        checks |= {
            "kernel": machine.check_kernel,
            "cgroup": machine.check_cgroup,
            "tasks-user": partial(user_checks.check_task_users, config, unit),
            "limits": partial(machine.check_limits, config),
            "pipes": partial(machine.check_pipes, config),
            "stacks": machine.check_debuggers,
            "gpu": partial(machine.check_gpus, config),
            "store": partial(files.check_store, config),
        }
    else:
        checks |= {
            "windows": partial(windows_host.check_windows, config),
            "store": partial(windows_host.check_windows_store, config),
        }
    checks |= {
        "plugins": partial(files.check_plugin_folders, config),
        "token": partial(files.check_token, config, token_file),
        "server": partial(network.check_server, config),
    }
    if hasattr(os, "fork"):
        checks["unit"] = partial(network.check_unit, config, unit)
    found: list[Sequence[Finding]] = [()] * len(checks)

    async def run_one(index: int, name: str, check: Check) -> None:
        found[index] = await _run_check(name, check)

    async with trio.open_nursery() as nursery:
        for index, (name, check) in enumerate(checks.items()):
            nursery.start_soon(run_one, index, name, check)
        mounts = await _probe_mounts(client for client, _ in config.paths_map if client)
    return [*(each for group in found for each in group), *files.check_mounts(mounts)]


async def _run_check(name: str, check: Check, timeout: float = CHECK_TIMEOUT) -> Sequence[Finding]:
    """Return the findings of a check; if it hangs or raises, that is a finding."""
    # The check of plugins may call hundreds, each with its own time limit.
    timeout = 10 * timeout if name == "plugins" else timeout
    try:
        with trio.move_on_after(timeout):
            return await trio.to_thread.run_sync(
                lambda: tuple(check()),
                abandon_on_cancel=True,
                limiter=trio.CapacityLimiter(1),
            )
    except Exception as error:  # noqa: BLE001 - the other checks must still be shown
        return (Finding(name, ERROR, f"the check itself failed: {type(error).__name__}: {error}"),)
    text = f"no answer in {timeout:g} s: what this check reads hangs"
    return (Finding(name, ERROR, text),)


async def _probe_mounts(paths: Iterable[str]) -> Mapping[str, str]:
    """Return the problem of each folder of the paths map, '' if there is none."""
    found = dict.fromkeys(paths, "hangs")

    async def probe(path: str) -> None:
        with trio.move_on_after(MOUNT_TIMEOUT):
            try:
                found[path] = await trio.to_thread.run_sync(
                    files.probe_mount,
                    path,
                    abandon_on_cancel=True,
                    limiter=trio.CapacityLimiter(1),  # one that hangs must not delay the others
                )
            except RuntimeError as error:  # no thread is left: the other findings must be shown
                found[path] = str(error)

    async with trio.open_nursery() as nursery:
        for path in found:
            nursery.start_soon(probe, path)
    return found

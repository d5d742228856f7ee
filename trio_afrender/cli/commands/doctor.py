"""``trio_afrender doctor``: what is wrong with this host, and the command that mends each thing."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from trio_afrender.cli.doctor import files, look_files, look_machine, look_network, machine, network
from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.paint import writer
from trio_afrender.cli.terminal import clean
from trio_afrender.config import Config
from trio_afrender.config.build import make_config
from trio_afrender.config.load import Settings, load_settings
from trio_afrender.errors import ConfigError

__all__ = ("run",)

CHECK_TIMEOUT = 15.0
"""Seconds for one check."""
MOUNT_TIMEOUT = 5.0
LEVELS = (ERROR, WARNING, OK)

Check: TypeAlias = Callable[[], Iterable[Finding]]


def run(options: Namespace) -> int:
    """Print the findings to stdout; 1 if one is an error. Settings that cannot be used are one:
    then everything else is looked at with the built-in settings."""
    findings: list[Finding] = []
    try:
        settings = load_options(options)
        config = make_config(settings)
    except ConfigError as error:
        # What an agent would not start with is what people call a doctor for.
        findings = [Finding("config", ERROR, str(error), "trio_afrender config")]
        settings = load_settings(environment={})
        config = make_config(settings)
    findings += trio.run(_examine, config, settings, options.unit)
    if options.json:
        _dump(findings)
    else:
        _show(findings)
    return 1 if any(each.level == ERROR for each in findings) else 0


async def _examine(config: Config, settings: Settings, unit: str) -> list[Finding]:
    """Run all checks at once, each within its time; their order stays."""
    checks = _checks(config, settings, unit)
    found: list[Sequence[Finding]] = [()] * len(checks)

    async def one(index: int, name: str, check: Check) -> None:
        found[index] = await _limited(name, check)

    async with trio.open_nursery() as nursery:
        for index, (name, check) in enumerate(checks.items()):
            nursery.start_soon(one, index, name, check)
        mounts = await _look_at_mounts(look_files.mapped_folders(config))
    return [*(each for group in found for each in group), *files.check_mounts(mounts)]


def _checks(config: Config, settings: Settings, unit: str) -> Mapping[str, Check]:
    token_file = str(settings["trio_afrender.token_file"])
    keys = [key for key, item in settings.values.items() if item.origin.startswith("file ")]

    def kernel() -> Iterable[Finding]:
        return machine.check_kernel(look_machine.probe_kernel())

    def server() -> Iterable[Finding]:
        facts = look_network.probe_server(config)
        return (
            *network.check_server_answer(facts),
            *network.check_clock(look_network.probe_clock(facts.skew)),
        )

    return {
        "config": lambda: files.check_settings(keys, settings.problems),
        "kernel": kernel,
        "cgroup": lambda: machine.check_cgroup(look_machine.probe_cgroup()),
        "limits": lambda: machine.check_limits(look_machine.probe_limits(config)),
        "pipes": lambda: machine.check_pipes(look_machine.probe_pipes(config)),
        "stacks": lambda: machine.check_debuggers(look_machine.probe_debuggers()),
        "gpu": lambda: machine.check_gpus(look_machine.probe_gpus(config)),
        "store": lambda: files.check_store(look_files.probe_store(config)),
        "plugins": lambda: files.check_plugin_folders(look_files.probe_plugins(config)),
        "token": lambda: files.check_token(look_files.probe_token(config, token_file)),
        "server": server,
        "unit": lambda: network.check_unit(look_network.probe_unit(config, unit)),
    }


async def _limited(name: str, check: Check, patience: float = CHECK_TIMEOUT) -> Sequence[Finding]:
    """What a check finds. One that hangs or fails is a finding as well."""
    patience = 10 * patience if name == "plugins" else patience  # each has a limit of its own
    try:
        with trio.move_on_after(patience):
            return await trio.to_thread.run_sync(
                lambda: tuple(check()),
                abandon_on_cancel=True,
                limiter=trio.CapacityLimiter(1),
            )
    except Exception as error:  # noqa: BLE001 - the other checks are still wanted
        return (Finding(name, ERROR, f"the check itself failed: {type(error).__name__}: {error}"),)
    text = f"no answer in {patience:g} s: something it looks at hangs"
    return (Finding(name, ERROR, text),)


async def _look_at_mounts(paths: Sequence[str]) -> tuple[files.MountFacts, ...]:
    found = {path: files.MountFacts(path=path, state="hangs") for path in paths}

    async def look(path: str) -> None:
        with trio.move_on_after(MOUNT_TIMEOUT):
            found[path] = await trio.to_thread.run_sync(
                partial(look_files.probe_mount, path),
                abandon_on_cancel=True,
                limiter=trio.CapacityLimiter(1),  # one that hangs must not make others wait
            )

    async with trio.open_nursery() as nursery:
        for path in paths:
            nursery.start_soon(look, path)
    return tuple(found.values())


def _dump(findings: Sequence[Finding]) -> None:
    counts = {level: sum(each.level == level for each in findings) for level in LEVELS}
    report = {"findings": [attrs.asdict(each) for each in findings], **counts}
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _show(findings: Sequence[Finding]) -> None:
    write, paint = writer()
    colours = {OK: paint.good, WARNING: paint.doubtful, ERROR: paint.bad}
    wide, name = max(map(len, LEVELS)), max(len(each.check) for each in findings)
    for each in findings:
        level = colours[each.level](f"{each.level:<{wide}}")
        write(f"{level}  {each.check:<{name}}  {clean(each.text)}")
        if each.fix:
            write(f"{'':<{wide}}  {'':<{name}}  mend: {clean(each.fix)}")
    counts = [(level, sum(each.level == level for each in findings)) for level in LEVELS]
    write(", ".join(f"{count} {level}" for level, count in counts))

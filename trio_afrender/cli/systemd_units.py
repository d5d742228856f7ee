"""Units of systemd for the programs that run for long: agent, gateway, farm.

The settings are those that `trio_afrender doctor --unit` compares with; docs/reliability.md says why. The
files in examples/systemd are made by these functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from trio_afrender.user_switch import CAPABILITIES

__all__ = ("UNIT_KINDS", "UnitPlan", "is_below_home", "make_unit", "quote_word", "unit_name")

UNIT_KINDS = ("agent", "gateway", "farm")
_NAMES = {
    "agent": "trio_afrender",
    "gateway": "trio_afrender_gateway",
    "farm": "trio_afrender_farm",
}
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f\udc80-\udcff]")
_DESCRIPTIONS = {
    "agent": "trio_afrender render agent",
    "gateway": "trio_afrender gateway",
    "farm": "trio_afrender farm of this host",
}


@attrs.frozen(kw_only=True)
class UnitPlan:
    """What differs between two units of one kind."""

    kind: str
    """One of `UNIT_KINDS`."""
    program: tuple[str, ...]
    """The absolute path of the program, or of Python and its arguments."""
    arguments: tuple[str, ...]
    user: bool = False
    """For ``systemctl --user``."""
    run_as: str = "render"
    """The user of a unit of the host, and its group."""
    cgru_location: str = ""
    switches_users: bool = False
    """Tasks run as other users than the agent (`tasks.user`), which needs capabilities."""


def unit_name(kind: str) -> str:
    """Return the name of the unit, without ``.service``."""
    return _NAMES[kind]


def make_unit(plan: UnitPlan) -> str:
    """Return the text of a unit, with the commands that install it as comments at its beginning."""
    make_service = {"agent": _agent, "gateway": _gateway, "farm": _farm}[plan.kind]
    target = "default.target" if plan.user else "multi-user.target"
    return "\n".join(
        [
            *_head(plan),
            "",
            "[Service]",
            *make_service(plan),
            "",
            "[Install]",
            f"WantedBy={target}",
            "",
        ]
    )


def quote_word(word: str) -> str:
    """Return a word of ``ExecStart=`` with its meaning for systemd taken away.

    A specifier at its beginning (``%h``, ``%S``) is kept.
    """
    kept = word[:2] if word[:2] in ("%h", "%S") else ""
    escaped = _escape(word[len(kept) :]).replace("$", "$$")
    if escaped and not any(char in escaped for char in " \"';\\"):
        return kept + escaped
    return f'"{kept}{escaped}"'


def _escape(text: str) -> str:
    """Return text for double quotes in a unit, where a line end would begin another setting."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    # The last ones are bytes that are no UTF-8.
    return _NOT_PLAIN.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", escaped)


def _head(plan: UnitPlan) -> list[str]:
    name = unit_name(plan.kind)
    if plan.user:
        commands = [
            f"# ~/.config/systemd/user/{name}.service",
            f"#   systemctl --user daemon-reload && systemctl --user enable --now {name}",
            "#   loginctl enable-linger    # to run it while the user is not logged in",
        ]
    else:
        commands = [
            f"# /etc/systemd/system/{name}.service",
            # Debian has a group "render" for cards, so it may be there without the user.
            f"#   groupadd --system --force {plan.run_as}",
            f"#   useradd --system --create-home --gid {plan.run_as} {plan.run_as}",
            f"#   systemctl daemon-reload && systemctl enable --now {name}",
        ]
        if plan.kind == "agent":
            commands.append(
                f"#   trio_afrender doctor --unit {name}.service      # checks the unit"
            )
    unit = [*commands, "[Unit]", f"Description={_DESCRIPTIONS[plan.kind]}"]
    if plan.user:
        unit[-1] += " of this user"
    else:
        # Tasks need the mounts, and a clock that is set.
        after = "network-online.target" + (
            "" if plan.kind == "gateway" else " remote-fs.target time-sync.target"
        )
        unit += [f"After={after}", "Wants=network-online.target"]
    if plan.kind == "agent":
        unit += [
            "# systemd restarts the agent for ever, also after days without a server.",
            "StartLimitIntervalSec=0",
        ]
    return unit


def _identity(plan: UnitPlan) -> list[str]:
    return [] if plan.user else [f"User={plan.run_as}", f"Group={plan.run_as}"]


def _start(plan: UnitPlan) -> str:
    words = (*plan.program, plan.kind, *plan.arguments)
    return f"ExecStart={' '.join(map(quote_word, words))}"


def _settings(plan: UnitPlan) -> list[str]:
    if not plan.cgru_location:
        return []
    # A dollar sign means nothing here.
    location = _escape(plan.cgru_location)
    return ["# CGRU's config files.", f'Environment="CGRU_LOCATION={location}"']


def _agent(plan: UnitPlan) -> list[str]:
    return [
        "Type=notify",
        "NotifyAccess=main",
        *_identity(plan),
        *_capabilities(plan),
        *_settings(plan),
        _start(plan),
        "# `systemctl reload` after an upgrade: the agent ends and its tasks continue; the new agent",
        "# takes them over.",
        "ExecReload=/bin/kill -USR1 $MAINPID",
        *_with_tasks("agent"),
        "# 2: bad settings, 3: refused or a second agent of that name. A restart would not help.",
        "Restart=always",
        "RestartSec=2",
        "RestartPreventExitStatus=2 3",
        "# Fed only while every loop of the agent runs.",
        "WatchdogSec=60",
        *_resources(plan),
    ]


def _capabilities(plan: UnitPlan) -> list[str]:
    # The systemd of a user has none to give.
    if plan.user or not plan.switches_users:
        return []
    return [
        "# For tasks that run as users of their own (tasks.user, see docs/security.md).",
        f"AmbientCapabilities={' '.join(CAPABILITIES)}",
    ]


def _farm(plan: UnitPlan) -> list[str]:
    return [
        "Type=exec",
        *_identity(plan),
        *_capabilities(plan),
        *_settings(plan),
        _start(plan),
        *_with_tasks("farm"),
        "# 2: bad settings, 3: its address is in use. A restart would not help.",
        "Restart=on-failure",
        "RestartSec=2",
        "RestartPreventExitStatus=2 3",
        *_resources(plan),
    ]


def _with_tasks(what: str) -> Sequence[str]:
    """Return how a program is stopped that has tasks below it."""
    return (
        f"# The {what} ends its tasks itself, within its budget (timing.shutdown, 60 s).",
        "TimeoutStopSec=90",
        "KillSignal=SIGTERM",
        f"# Only the {what} is signalled: it stops its tasks itself, and those that continue outlive its",
        "# restart. `mixed` and `control-group` would kill them with it.",
        "KillMode=process",
        "SendSIGKILL=yes",
    )


def _resources(plan: UnitPlan) -> list[str]:
    lines = [
        "# Each task gets a control group below that of the unit.",
        "Delegate=yes",
        "TasksMax=infinity",
    ]
    if not plan.user:
        lines += [
            "LimitNOFILE=65536",
            "LimitMEMLOCK=infinity",
            "# Out of memory the kernel kills a task first; systemd does not end the unit after that.",
            "OOMScoreAdjust=-500",
        ]
    return [
        *lines,
        "OOMPolicy=continue",
        "# No sandbox (NoNewPrivileges, ProtectSystem ...): every task would be inside it, and tasks need",
        "# what their programs need. What the agent itself promises is in docs/security.md.",
    ]


def _gateway(plan: UnitPlan) -> list[str]:
    lines = [
        *_identity(plan),
        f"StateDirectory={unit_name('gateway')}",
        "StateDirectoryMode=0700",
        _start(plan),
        "# Agents keep their tasks during a restart, and connect again.",
        "Restart=always",
        "RestartSec=1",
        "# 2: bad settings. A restart would not help.",
        "RestartPreventExitStatus=2",
        "LimitNOFILE=65536",
        "# It starts no program and writes to its own folder only.",
        "NoNewPrivileges=yes",
    ]
    if not plan.user:  # only the systemd of the host can make these true
        lines += [
            "ProtectSystem=strict",
            *([] if is_below_home(plan) else ["ProtectHome=yes"]),
            "PrivateTmp=yes",
            "PrivateDevices=yes",
            "CapabilityBoundingSet=",
        ]
    return lines


def is_below_home(plan: UnitPlan) -> bool:
    """Whether the program is in a folder of a user, which ``ProtectHome=yes`` and modes may hide."""
    return any(Path(plan.program[0]).is_relative_to(folder) for folder in ("/home", "/root"))

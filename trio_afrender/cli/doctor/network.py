"""Rules about the way to the server, the clock, and the service manager's unit. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import attrs

from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding, drop_in

__all__ = (
    "ClockFacts",
    "ServerFacts",
    "UnitFacts",
    "check_clock",
    "check_server_answer",
    "check_unit",
    "read_span",
)

SKEW, BAD_SKEW = 2.0, 60.0
"""Seconds between our clock and the server's: from where people wonder, and from where TLS may fail."""
SUSPEND_LIMIT = 60.0
STOP_MARGIN = 10.0
"""Seconds that the service manager should wait longer than a drain takes."""


@attrs.frozen(slots=True, kw_only=True)
class ServerFacts:
    """What came of a look at the server; nothing is registered there."""

    url: str = ""
    place: str = ""
    """HOST:PORT."""
    problem: str = ""
    """Why the URL cannot be used."""
    address: str = ""
    """What the name leads to; '' when it leads nowhere."""
    connected: bool = False
    tls_problem: str = ""
    refused: str = ""
    """Why the connection failed."""
    answered: bool = False
    """Whether what is there speaks HTTP (or, with af://, anything)."""
    skew: float | None = None
    """Seconds that our clock is ahead of the server's; None: it did not tell."""


def check_server_answer(facts: ServerFacts) -> Iterator[Finding]:
    host, _, port = facts.place.rpartition(":")
    if not facts.url:
        text = "no server is set"
        yield Finding("server", WARNING, text, "trio_afrender doctor --server wss://HOST:PORT")
    elif facts.problem:
        yield Finding("server", ERROR, facts.problem, "trio_afrender config | grep server")
    elif not facts.address:
        yield Finding(
            "server",
            ERROR,
            f'the name "{host}" of the server leads nowhere',
            f"getent hosts {host}",
        )
    elif not facts.connected:
        text = f"no connection to {facts.place} ({facts.address}): {facts.refused}"
        yield Finding("server", ERROR, text, f"nc -vz {host} {port}")
    elif facts.tls_problem:
        text = f"{facts.place}: {facts.tls_problem}"
        yield Finding(
            "server", ERROR, text, f"openssl s_client -connect {facts.place} -servername {host}"
        )
    elif not facts.answered:
        text = f"something at {facts.place} takes connections, but does not answer as a server"
        yield Finding("server", ERROR, text, f"curl -v {_http(facts.url)}")
    else:
        does = "takes connections" if facts.url.startswith("af:") else "answers"
        yield Finding("server", OK, f"{facts.url} {does}")


def _http(url: str) -> str:
    return url.replace("ws", "http", 1)


@attrs.frozen(slots=True, kw_only=True)
class ClockFacts:
    """This host's clocks, and the server's."""

    skew: float | None = None
    suspended: float = 0.0
    """Seconds since the start in which this host slept."""
    year: int = 2026


def check_clock(facts: ClockFacts) -> Iterator[Finding]:
    mend = "timedatectl set-ntp true"
    if facts.year < 2024:
        yield Finding("clock", ERROR, f"the clock says it is the year {facts.year}", mend)
    elif facts.skew is not None and abs(facts.skew) > SKEW:
        level = ERROR if abs(facts.skew) > BAD_SKEW else WARNING
        way = "ahead of" if facts.skew > 0 else "behind"
        yield Finding(
            "clock", level, f"our clock is {abs(facts.skew):.0f} s {way} the server's", mend
        )
    elif facts.skew is not None:
        yield Finding("clock", OK, "our clock and the server's agree")
    else:
        yield Finding("clock", OK, "the server tells no time to compare with")
    if facts.suspended > SUSPEND_LIMIT:
        text = f"this host slept for {facts.suspended:.0f} s since its start: its tasks are lost to the server then"
        yield Finding(
            "sleep", WARNING, text, "systemctl mask sleep.target suspend.target hibernate.target"
        )


@attrs.frozen(slots=True, kw_only=True)
class UnitFacts:
    """A systemd unit that runs the agent; '' for settings that could not be had."""

    name: str = ""
    """'' when no unit runs it."""
    user: bool = False
    settings: dict[str, str] = attrs.field(factory=dict)
    """As ``systemctl show`` prints them."""
    shutdown: float = 60.0
    """Seconds of the agent's budget for its end."""
    wanted: str = ""
    """The unit that was asked for and is not there."""
    problem: str = ""
    """Why systemd could not be asked."""


_WANTED = (
    ("Delegate", "yes", WARNING, "tasks get no control groups of their own"),
    # `mixed` signals the agent alone first, but kills all that is left in the end.
    (
        "KillMode",
        "process",
        ERROR,
        "a restart of the agent kills the tasks that its supervisor holds",
    ),
    ("Type", "notify", WARNING, "systemd is not told when the agent is ready, nor what it does"),
    ("Restart", "always", WARNING, "an agent that crashed stays away"),
    (
        "OOMPolicy",
        "continue",
        ERROR,
        "when the kernel kills one task, systemd ends all and the agent",
    ),
)


def check_unit(facts: UnitFacts) -> Iterator[Finding]:
    if not facts.name:
        yield _judge_absence(facts)
        return
    good = True
    for key, value, level, why in _WANTED:
        is_now = facts.settings.get(key, "")
        if is_now and is_now != value:
            good = False
            yield Finding(
                "unit",
                level,
                f"{facts.name} has {key}={is_now}: {why}",
                _drop_in(facts, key, value),
            )
    watchdog = read_span(facts.settings.get("WatchdogUSec", ""))
    if watchdog == 0:
        good = False
        text = f"{facts.name} has no watchdog: an agent that hangs is not restarted"
        yield Finding("unit", WARNING, text, _drop_in(facts, "WatchdogSec", "60"))
    stop = read_span(facts.settings.get("TimeoutStopUSec", ""))
    if stop is not None and stop < facts.shutdown + STOP_MARGIN:
        good = False
        text = f"{facts.name} is killed {stop:.0f} s after it was asked to stop, its own budget (timing.shutdown) is {facts.shutdown:g} s"
        yield Finding(
            "unit",
            WARNING,
            text,
            _drop_in(facts, "TimeoutStopSec", f"{facts.shutdown + 3 * STOP_MARGIN:g}"),
        )
    if good:
        yield Finding("unit", OK, f"{facts.name} is as an agent needs it")


def _judge_absence(facts: UnitFacts) -> Finding:
    if not facts.wanted:
        return Finding("unit", OK, "no systemd unit of ours runs here")
    status = f"systemctl status {shlex.quote(facts.wanted)}"
    if facts.problem:
        text = f"systemd cannot be asked about {facts.wanted}: {facts.problem}"
        return Finding("unit", WARNING, text, f"sudo {status}")
    return Finding("unit", ERROR, f"systemd has no unit {facts.wanted}", status)


def _drop_in(facts: UnitFacts, key: str, value: str) -> str:
    return drop_in(facts.name, key, value, user=facts.user)


_SPANS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def read_span(text: str) -> float | None:
    """A span of time as systemd prints it (``1min 30s``), in seconds; None for anything else.

    ``infinity`` is endless, and ``0`` is none.
    """
    if text == "infinity":
        return float("inf")
    total = 0.0
    for word in text.split():
        digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = word[len(digits) :] or "s"
        if unit not in _SPANS or not digits.replace(".", "", 1).isdigit():
            return None
        total += float(digits) * _SPANS[unit]
    return total if text.split() else None

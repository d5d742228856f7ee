"""Checks of the connection to the server, the clock, and the systemd unit of the agent.

The functions ``probe_*`` block, each operation for at most `PROBE_TIMEOUT` seconds.
"""

from __future__ import annotations

import email.utils
import os
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from trio_afrender.cli.doctor.finding import ERROR, OK, WARNING, Finding, drop_in
from trio_afrender.config import Config
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import parse_url
from trio_afrender.transport.tls import explain_tls, make_client_context

__all__ = (
    "ClockFacts",
    "ServerFacts",
    "UnitFacts",
    "check_clock",
    "check_server_answer",
    "check_unit",
    "probe_clock",
    "probe_server",
    "probe_unit",
    "read_span",
)

PROBE_TIMEOUT = 5.0
AFANASY_PORT = 51000
MAX_HEADERS = 65536
"""Bytes."""
SKEW, BAD_SKEW = 2.0, 60.0
"""Seconds between the two clocks above which times look wrong, above which TLS can fail."""
SUSPEND_LIMIT = 60.0
STOP_MARGIN = 10.0
"""Seconds that systemd should wait longer than a drain takes."""
UNITS = ("trio_afrender.service",)
PROPERTIES = (
    "LoadState", "Delegate", "KillMode", "Type", "Restart", "OOMPolicy", "WatchdogUSec",
    "TimeoutStopUSec",
)  # fmt: skip


@attrs.frozen(slots=True, kw_only=True)
class ServerFacts:
    """The result of connecting to the server; nothing is registered there."""

    url: str = ""
    place: str = ""
    """HOST:PORT."""
    problem: str = ""
    """Why the URL cannot be used."""
    address: str = ""
    """The address of the host name; '' if it cannot be resolved."""
    connected: bool = False
    tls_problem: str = ""
    refused: str = ""
    """Why the connection failed."""
    answered: bool = False
    """Whether the answer was HTTP. Always true for an af:// server that was connected."""
    skew: float | None = None
    """Seconds that this host's clock is ahead of the server's; None: the server sent no time."""


def probe_server(config: Config) -> ServerFacts:
    """Resolve, connect, do the TLS handshake and send an HTTP request without a token."""
    url = config.server
    if not url:
        return ServerFacts()
    scheme = urlsplit(url).scheme
    try:
        if scheme == "af":
            parts = urlsplit(url)
            host, port, tls, resource = parts.hostname or "", parts.port or AFANASY_PORT, False, ""
        else:
            parsed = parse_url(url, allow_plain=config.allow_plain)
            host, port, tls, resource = parsed.host, parsed.port, parsed.tls, parsed.resource
        context = make_client_context(config.ca_file) if tls else None
    except (ConfigError, ValueError) as error:
        return ServerFacts(url=url, problem=str(error))
    place = f"{host}:{port}"
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return ServerFacts(url=url, place=place)
    try:
        connection = socket.create_connection((host, port), timeout=PROBE_TIMEOUT)
    except OSError as error:
        refused = error.strerror or str(error)
        return ServerFacts(url=url, place=place, address=address, refused=refused)
    with connection:
        known = ServerFacts(url=url, place=place, address=address, connected=True)
        return _probe_connection(known, connection, context, host, resource)


def _probe_connection(
    known: ServerFacts,
    connection: socket.socket,
    context: ssl.SSLContext | None,
    host: str,
    resource: str,
) -> ServerFacts:
    if context is not None:
        try:
            connection = context.wrap_socket(connection, server_hostname=host)
        except OSError as error:
            return attrs.evolve(known, tls_problem=explain_tls(error))
    with connection:
        if not resource:  # an afserver sends nothing before a request: connecting is the whole test
            return attrs.evolve(known, answered=True)
        return _probe_http(known, connection, resource)


def _probe_http(known: ServerFacts, connection: socket.socket, resource: str) -> ServerFacts:
    request = f"HEAD {resource} HTTP/1.1\r\nHost: {known.place}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        begun = time.time()
        connection.sendall(request.encode())
        while b"\r\n\r\n" not in answer and len(answer) < MAX_HEADERS:
            if not (data := connection.recv(4096)):
                break
            answer += data
        middle = (begun + time.time()) / 2
    except OSError:
        return known
    skew = _clock_skew(answer.decode("latin-1"), middle)
    return attrs.evolve(known, answered=answer.startswith(b"HTTP/"), skew=skew)


def _clock_skew(headers: str, now: float) -> float | None:
    """Return the seconds that `now` is ahead of the ``Date`` in HTTP headers."""
    for line in headers.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            try:
                # The header has whole seconds: its time is half a second ago on average.
                return now - (email.utils.parsedate_to_datetime(value.strip()).timestamp() + 0.5)
            except ValueError:
                return None
    return None


def check_server_answer(facts: ServerFacts) -> Iterator[Finding]:
    host, _, port = facts.place.rpartition(":")
    if not facts.url:
        text = "no server is set"
        yield Finding("server", WARNING, text, "trio_afrender doctor --server wss://HOST:PORT")
    elif facts.problem:
        yield Finding("server", ERROR, facts.problem, "trio_afrender config | grep server")
    elif not facts.address:
        text = f'the host name "{host}" of the server cannot be resolved'
        yield Finding("server", ERROR, text, f"getent hosts {host}")
    elif not facts.connected:
        text = f"cannot connect to {facts.place} ({facts.address}): {facts.refused}"
        yield Finding("server", ERROR, text, f"nc -vz {host} {port}")
    elif facts.tls_problem:
        text = f"{facts.place}: {facts.tls_problem}"
        yield Finding(
            "server", ERROR, text, f"openssl s_client -connect {facts.place} -servername {host}"
        )
    elif not facts.answered:
        text = f"{facts.place} accepts connections, but does not answer an HTTP request"
        yield Finding("server", ERROR, text, f"curl -v {facts.url.replace('ws', 'http', 1)}")
    else:
        does = "accepts connections" if facts.url.startswith("af:") else "answers"
        yield Finding("server", OK, f"{facts.url} {does}")


@attrs.frozen(slots=True, kw_only=True)
class ClockFacts:
    """This host's clocks, and the difference to the server's."""

    skew: float | None = None
    suspended: float = 0.0
    """Seconds that this host was asleep since its start."""
    year: int = 2026


def probe_clock(skew: float | None) -> ClockFacts:
    asleep = 0.0
    if hasattr(time, "CLOCK_BOOTTIME"):  # unlike the monotonic clock it runs during sleep
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return ClockFacts(skew=skew, suspended=asleep, year=datetime.now(UTC).year)


def check_clock(facts: ClockFacts) -> Iterator[Finding]:
    fix = "timedatectl set-ntp true"
    if facts.year < 2024:
        yield Finding("clock", ERROR, f"the clock is wrong: it is in the year {facts.year}", fix)
    elif facts.skew is not None and abs(facts.skew) > SKEW:
        level = ERROR if abs(facts.skew) > BAD_SKEW else WARNING
        way = "ahead of" if facts.skew > 0 else "behind"
        text = f"this host's clock is {abs(facts.skew):.0f} s {way} the server's"
        yield Finding("clock", level, text, fix)
    elif facts.skew is not None:
        yield Finding("clock", OK, "this host's clock agrees with the server's")
    else:
        yield Finding("clock", OK, "the server sent no time to compare the clock with")
    if facts.suspended > SUSPEND_LIMIT:
        text = (
            f"this host was asleep for {facts.suspended:.0f} s since its start: the server gives"
            " the tasks of a sleeping host to others"
        )
        yield Finding(
            "sleep", WARNING, text, "systemctl mask sleep.target suspend.target hibernate.target"
        )


@attrs.frozen(slots=True, kw_only=True)
class UnitFacts:
    """The systemd unit that runs the agent."""

    name: str = ""
    """'' if no unit runs it."""
    user: bool = False
    settings: dict[str, str] = attrs.field(factory=dict)
    """As ``systemctl show`` prints them; a setting that is not available is missing."""
    shutdown: float = 60.0
    """The agent's budget for its shutdown, in seconds."""
    wanted: str = ""
    """The unit named by the user, if it does not exist."""
    problem: str = ""
    """Why systemctl failed."""


def probe_unit(config: Config, name: str, environ: Mapping[str, str] = os.environ) -> UnitFacts:
    """Query systemd for the unit `name`, else the unit of this process, else that of the examples."""
    own = _own_unit() if environ.get("INVOCATION_ID") else ""
    problem = ""
    for unit in (name,) if name else filter(None, (own, *UNITS)):
        for user in (False, True):
            settings, failure = _show_unit(unit, user=user)
            problem = problem or failure
            if settings.get("LoadState") == "loaded":
                return UnitFacts(
                    name=unit, user=user, settings=settings, shutdown=config.timing.shutdown
                )
    return UnitFacts(wanted=name, problem=problem)


def _own_unit() -> str:
    try:
        path = Path("/proc/self/cgroup").read_text().strip().rpartition("/")[2]
    except OSError:
        return ""
    return path if path.endswith(".service") else ""


def _show_unit(unit: str, *, user: bool) -> tuple[dict[str, str], str]:
    """Return the properties of a unit, and the error of systemctl."""
    control = ["systemctl", *(["--user"] if user else [])]
    try:
        shown = subprocess.run(
            [*control, "show", unit, "--property", ",".join(PROPERTIES)],
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {}, str(error)
    pairs = (line.partition("=") for line in shown.stdout.splitlines())
    failure = shown.stderr.strip().partition("\n")[0] if shown.returncode != 0 else ""
    return {key: value for key, _, value in pairs}, failure


_WANTED = (
    ("Delegate", "yes", WARNING, "tasks get no control groups of their own"),
    # `mixed` sends TERM to the agent alone, but then kills everything that is left.
    (
        "KillMode",
        "process",
        ERROR,
        "a restart of the agent kills the tasks that its supervisor holds",
    ),
    ("Type", "notify", WARNING, "systemd cannot see when the agent is ready, nor its status"),
    ("Restart", "always", WARNING, "an agent that crashed is not started again"),
    (
        "OOMPolicy",
        "continue",
        ERROR,
        "when the kernel kills one process of a task, systemd ends the agent and all tasks",
    ),
)


def check_unit(facts: UnitFacts) -> Iterator[Finding]:
    if not facts.name:
        yield _check_missing_unit(facts)
        return
    good = True
    for key, value, level, why in _WANTED:
        is_now = facts.settings.get(key, "")
        if is_now and is_now != value:
            good = False
            text = f"{facts.name} has {key}={is_now}: {why}"
            yield Finding("unit", level, text, _drop_in(facts, key, value))
    watchdog = read_span(facts.settings.get("WatchdogUSec", ""))
    if watchdog == 0:
        good = False
        text = f"{facts.name} has no watchdog: an agent that hangs is not restarted"
        yield Finding("unit", WARNING, text, _drop_in(facts, "WatchdogSec", "60"))
    stop = read_span(facts.settings.get("TimeoutStopUSec", ""))
    if stop is not None and stop < facts.shutdown + STOP_MARGIN:
        good = False
        text = (
            f"systemd kills {facts.name} {stop:.0f} s after the request to stop, and its shutdown"
            f" may take {facts.shutdown:g} s (timing.shutdown)"
        )
        fix = _drop_in(facts, "TimeoutStopSec", f"{facts.shutdown + 3 * STOP_MARGIN:g}")
        yield Finding("unit", WARNING, text, fix)
    if good:
        yield Finding("unit", OK, f"the settings of {facts.name} suit an agent")


def _check_missing_unit(facts: UnitFacts) -> Finding:
    if not facts.wanted:
        return Finding("unit", OK, "no systemd unit runs an agent here")
    status = f"systemctl status {shlex.quote(facts.wanted)}"
    if facts.problem:
        text = f"systemctl cannot query {facts.wanted}: {facts.problem}"
        return Finding("unit", WARNING, text, f"sudo {status}")
    return Finding("unit", ERROR, f"systemd has no unit {facts.wanted}", status)


def _drop_in(facts: UnitFacts, key: str, value: str) -> str:
    return drop_in(facts.name, key, value, user=facts.user)


_SPANS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def read_span(text: str) -> float | None:
    """Return the seconds of a time span as systemd prints it (``1min 30s``).

    ``infinity`` is infinite; anything else that is no time span is None.
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

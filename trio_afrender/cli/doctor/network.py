"""Checks of the connection to the server, the clock, and the systemd unit of the agent.

They block, each operation for at most `PROBE_TIMEOUT` seconds.
"""

from __future__ import annotations

import email.utils
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from trio_afrender.cli.doctor.finding import ERROR, OK, ROOT, RUN, WARNING, Finding, drop_in
from trio_afrender.config import Config
from trio_afrender.errors import ConfigError
from trio_afrender.supervisor.cgroup import read_names
from trio_afrender.transport.address import parse_url
from trio_afrender.transport.tls import explain_tls, make_client_context

__all__ = (
    "UNIT",
    "check_server",
    "check_unit",
    "compare_clock",
    "compare_unit",
    "probe_server",
    "read_span",
    "show_unit",
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
UNIT = "trio_afrender.service"
"""The unit of the examples."""
PROPERTIES = (
    "LoadState", "Delegate", "KillMode", "Type", "Restart", "OOMPolicy", "WatchdogUSec",
    "TimeoutStopUSec",
)  # fmt: skip


def check_server(config: Config) -> Iterator[Finding]:
    """Check the server, and the clock of this host against the server's."""
    finding, skew = probe_server(config)
    yield finding
    asleep = 0.0
    if hasattr(time, "CLOCK_BOOTTIME"):  # unlike the monotonic clock it runs during sleep
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    yield from compare_clock(skew, asleep=asleep, year=datetime.now(UTC).year)


def probe_server(config: Config) -> tuple[Finding, float | None]:
    """Resolve, connect, do the TLS handshake and send an HTTP request without a token.

    Return the first problem, and the seconds that this host's clock is ahead of the server's; None if
    the server sent no time. Nothing is registered there.
    """

    def error(text: str, fix: str) -> tuple[Finding, None]:
        return Finding("server", ERROR, text, fix), None

    url = config.server
    if not url:
        fix = "trio_afrender doctor --server wss://HOST:PORT"
        return Finding("server", WARNING, "no server is set", fix), None
    try:
        if urlsplit(url).scheme == "af":
            parts = urlsplit(url)
            host, port, tls, resource = parts.hostname or "", parts.port or AFANASY_PORT, False, ""
        else:
            parsed = parse_url(url, allow_plain=config.allow_plain)
            host, port, tls, resource = parsed.host, parsed.port, parsed.tls, parsed.resource
        context = make_client_context(config.ca_file) if tls else None
    except (ConfigError, ValueError) as problem:
        return error(str(problem), "trio_afrender config | grep server")
    place = f"{host}:{port}"
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        text = f'the host name "{host}" of the server cannot be resolved'
        return error(text, f"getent hosts {host}")
    with ExitStack() as stack:
        try:
            connection = socket.create_connection((host, port), timeout=PROBE_TIMEOUT)
        except OSError as problem:
            text = f"cannot connect to {place} ({address}): {problem.strerror or problem}"
            return error(text, f"nc -vz {host} {port}")
        stack.enter_context(connection)
        if context is not None:
            try:
                connection = context.wrap_socket(connection, server_hostname=host)
            except OSError as problem:
                fix = f"openssl s_client -connect {place} -servername {host}"
                return error(f"{place}: {explain_tls(problem)}", fix)
            stack.enter_context(connection)
        if not resource:  # an afserver sends nothing before a request: connecting is the whole test
            return Finding("server", OK, f"{url} accepts connections"), None
        headers, skew = _request_headers(connection, place, resource)
    if not headers.startswith("HTTP/"):
        text = f"{place} accepts connections, but does not answer an HTTP request"
        return error(text, f"curl -v {url.replace('ws', 'http', 1)}")
    return Finding("server", OK, f"{url} answers"), skew


def _request_headers(
    connection: socket.socket, place: str, resource: str
) -> tuple[str, float | None]:
    """Return the answer to an HTTP request, '' without one, and the seconds that this host's clock is
    ahead of its ``Date``."""
    request = f"HEAD {resource} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"
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
        return "", None
    headers = answer.decode("latin-1")
    for line in headers.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            try:
                date = email.utils.parsedate_to_datetime(value.strip()).timestamp()
            except ValueError:
                break
            # The header has whole seconds: its time is half a second ago on average.
            return headers, middle - (date + 0.5)
    return headers, None


def compare_clock(skew: float | None, *, asleep: float, year: int) -> Iterator[Finding]:
    """`asleep` are the seconds that this host was asleep since its start."""
    fix = "timedatectl set-ntp true"
    if year < 2024:
        yield Finding("clock", ERROR, f"the clock is wrong: it is in the year {year}", fix, ROOT)
    elif skew is None:
        yield Finding("clock", OK, "the server sent no time to compare the clock with")
    elif abs(skew) > SKEW:
        level = ERROR if abs(skew) > BAD_SKEW else WARNING
        way = "ahead of" if skew > 0 else "behind"
        text = f"this host's clock is {abs(skew):.0f} s {way} the server's"
        yield Finding("clock", level, text, fix, ROOT)
    else:
        yield Finding("clock", OK, "this host's clock agrees with the server's")
    if asleep > SUSPEND_LIMIT:
        text = (
            f"this host was asleep for {asleep:.0f} s since its start: the server gives"
            " the tasks of a sleeping host to others"
        )
        fix = "systemctl mask sleep.target suspend.target hibernate.target"
        yield Finding("sleep", WARNING, text, fix, ROOT)


def check_unit(
    config: Config, name: str, environ: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    """Check the systemd unit `name`, else the unit of this process, else that of the examples."""
    own = ""
    if environ.get("INVOCATION_ID"):
        with suppress(OSError):
            own = read_names(Path("/proc/self/cgroup")).strip().rpartition("/")[2]
    problem = ""
    candidates = [name] if name else [unit for unit in (own, UNIT) if unit.endswith(".service")]
    for unit in candidates:
        for user in (False, True):
            settings, failure = show_unit(unit, PROPERTIES, user=user)
            problem = problem or failure
            if settings.get("LoadState") == "loaded":
                yield from compare_unit(unit, settings, user=user, shutdown=config.timing.shutdown)
                return
    status = f"systemctl status {shlex.quote(name)}"
    if not name:
        yield Finding("unit", OK, "no systemd unit runs an agent here")
    elif problem:
        text = f"systemctl cannot query {name}: {problem}"
        yield Finding("unit", WARNING, text, f"sudo {status}")
    else:
        yield Finding("unit", ERROR, f"systemd has no unit {name}", status)


def show_unit(unit: str, properties: Sequence[str], *, user: bool) -> tuple[dict[str, str], str]:
    """Return properties of a unit of the host, or of this user, and the error of systemctl."""
    control = ["systemctl", *(["--user"] if user else [])]
    try:
        shown = subprocess.run(
            [*control, "show", unit, "--property", ",".join(properties)],
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


def compare_unit(
    name: str, settings: Mapping[str, str], *, user: bool = False, shutdown: float = 60.0
) -> Iterator[Finding]:
    """Compare the settings of a unit with those that suit an agent.

    They are as ``systemctl show`` prints them; one that is not available is missing. `shutdown` is the
    agent's budget for its shutdown, in seconds.
    """
    good, how = True, RUN if user else ROOT
    for key, value, level, why in _WANTED:
        is_now = settings.get(key, "")
        if is_now and is_now != value:
            good = False
            fix = drop_in(name, key, value, user=user)
            yield Finding("unit", level, f"{name} has {key}={is_now}: {why}", fix, how)
    if read_span(settings.get("WatchdogUSec", "")) == 0:
        good = False
        text = f"{name} has no watchdog: an agent that hangs is not restarted"
        yield Finding("unit", WARNING, text, drop_in(name, "WatchdogSec", "60", user=user), how)
    stop = read_span(settings.get("TimeoutStopUSec", ""))
    if stop is not None and stop < shutdown + STOP_MARGIN:
        good = False
        text = (
            f"systemd kills {name} {stop:.0f} s after the request to stop, and its shutdown"
            f" may take {shutdown:g} s (timing.shutdown)"
        )
        fix = drop_in(name, "TimeoutStopSec", f"{shutdown + 3 * STOP_MARGIN:g}", user=user)
        yield Finding("unit", WARNING, text, fix, how)
    if good:
        yield Finding("unit", OK, f"the settings of {name} suit an agent")


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

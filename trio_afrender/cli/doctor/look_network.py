"""Looks at the server, the clocks and the unit for `server`'s rules. Blocking, within seconds."""

from __future__ import annotations

import email.utils
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from trio_afrender.cli.doctor.network import ClockFacts, ServerFacts, UnitFacts
from trio_afrender.config import Config
from trio_afrender.errors import ConfigError
from trio_afrender.transport.address import parse_url
from trio_afrender.transport.tls import explain_tls, make_client_context

__all__ = ("probe_clock", "probe_server", "probe_unit")

PROBE_TIMEOUT = 5.0
AFANASY_PORT = 51000
MAX_HEADERS = 65536
UNITS = ("trio_afrender.service",)
PROPERTIES = (
    "LoadState", "Delegate", "KillMode", "Type", "Restart", "OOMPolicy", "WatchdogUSec",
    "TimeoutStopUSec",
)  # fmt: skip


def probe_server(config: Config) -> ServerFacts:
    """Connect, shake hands, and ask for a page; nothing is registered and no token is sent."""
    url = config.server
    if not url:
        return ServerFacts()
    scheme = urlsplit(url).scheme
    try:
        if scheme == "af":
            parts = urlsplit(url)
            host, port, tls, resource = parts.hostname or "", parts.port or AFANASY_PORT, False, ""
        else:
            place = parse_url(url, allow_plain=config.allow_plain)
            host, port, tls, resource = place.host, place.port, place.tls, place.resource
        context = make_client_context(config.ca_file) if tls else None
    except (ConfigError, ValueError) as error:
        return ServerFacts(url=url, problem=str(error))
    where = f"{host}:{port}"
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return ServerFacts(url=url, place=where)
    try:
        connection = socket.create_connection((host, port), timeout=PROBE_TIMEOUT)
    except OSError as error:
        refused = error.strerror or str(error)
        return ServerFacts(url=url, place=where, address=address, refused=refused)
    with connection:
        return _talk(ServerFacts(url=url, place=where, address=address, connected=True),
                     connection, context, host, resource)  # fmt: skip


def _talk(
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
        if not resource:  # an afserver: it takes connections, and speaks only when spoken to
            return attrs.evolve(known, answered=True)
        return _ask(known, connection, resource)


def _ask(known: ServerFacts, connection: socket.socket, resource: str) -> ServerFacts:
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
    skew = _skew(answer.decode("latin-1"), middle)
    return attrs.evolve(known, answered=answer.startswith(b"HTTP/"), skew=skew)


def _skew(headers: str, now: float) -> float | None:
    """How far `now` is ahead of the ``Date`` of an answer, which has whole seconds."""
    for line in headers.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            try:
                return now - (email.utils.parsedate_to_datetime(value.strip()).timestamp() + 0.5)
            except ValueError:
                return None
    return None


def probe_clock(skew: float | None) -> ClockFacts:
    asleep = 0.0
    if hasattr(time, "CLOCK_BOOTTIME"):
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return ClockFacts(skew=skew, suspended=asleep, year=datetime.now(UTC).year)


def probe_unit(config: Config, name: str, environ: Mapping[str, str] = os.environ) -> UnitFacts:
    """Ask systemd about the unit `name`, else the one we run in, or that of the examples."""
    own = _own_unit() if environ.get("INVOCATION_ID") else ""
    problem = ""
    for unit in (name,) if name else filter(None, (own, *UNITS)):
        for user in (False, True):
            settings, silence = _show(unit, user=user)
            problem = problem or silence
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


def _show(unit: str, *, user: bool) -> tuple[dict[str, str], str]:
    """What systemd says of a unit, and why it says nothing."""
    control = ["systemctl", *(["--user"] if user else [])]
    try:
        told = subprocess.run(
            [*control, "show", unit, "--property", ",".join(PROPERTIES)],
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {}, str(error)
    pairs = (line.partition("=") for line in told.stdout.splitlines())
    silence = told.stderr.strip().partition("\n")[0] if told.returncode != 0 else ""
    return {key: value for key, _, value in pairs}, silence

"""Identity of the host: name, operating system, address, interfaces, processor, user.

Blocking calls that take milliseconds (they read /proc and /sys). Nothing is executed and nothing is
sent over the network.
"""

from __future__ import annotations

import getpass
import importlib
import platform
import re
import socket
import struct
from contextlib import suppress
from pathlib import Path

import attrs
import psutil

from trio_afrender.protocol.messages import NetIF

__all__ = ("HostFacts", "find_hw_info", "host_facts", "shorten_cpu", "shorten_host", "shorten_user")

_SYSTEMS = {"linux": "unix linux", "darwin": "unix macosx", "windows": "windows"}
_NOISE = re.compile(r"\((?:R|TM|C)\)|\b(?:CPU|Processor|\d+-Core)\b|@.*|\s+with\s.*", re.IGNORECASE)
_UNFIT = re.compile(r"[^ -~]|[\"\\]")
_UNFILLED = re.compile(
    r"to be filled|default string|system (?:product|manufacturer)|^none$|^$", re.I
)
_CPUINFO = Path("/proc/cpuinfo")
_DMI = Path("/sys/class/dmi/id")
_DISCARD_PORT = 9
"""The port of the discard service; nothing is sent to it."""


@attrs.frozen(slots=True, kw_only=True)
class HostFacts:
    """What a render reports of its host when it registers."""

    name: str
    """Lower case, cut at the first dot."""
    os: str
    """Words from general to specific, as ``unix linux 64 debian 12``."""
    address: str
    netifs: tuple[NetIF, ...]
    hw_info: str
    user: str


def host_facts() -> HostFacts:
    """Return the facts of this machine. Never raises: a missing fact is empty or ``unknown``."""
    system, machine = platform.system().lower(), platform.machine().lower()
    bits = f"{struct.calcsize('P') * 8}"
    if machine.startswith(("arm", "aarch")):
        bits = "aarch64" if bits == "64" else "arm32"
    words = [_SYSTEMS.get(system, f"unix {system}"), bits]
    with suppress(OSError):  # other systems do not have it
        release = platform.freedesktop_os_release()
        words += (release.get("ID", ""), release.get("VERSION_ID", ""))
    try:
        interfaces = psutil.net_if_addrs()
    except OSError:
        interfaces = {}
    netifs: list[NetIF] = []
    for name, addresses in interfaces.items():
        macs = [each.address for each in addresses if each.family == psutil.AF_LINK]
        mac = macs[0].lower().replace("-", ":") if macs else ""
        plain = tuple(
            each.address.partition("%")[0]  # a link-local one has the interface behind it
            for each in addresses
            if each.family in (socket.AF_INET, socket.AF_INET6)
        )
        if mac.strip("0:") and plain:  # loopback and tunnels have no hardware address
            netifs.append(NetIF(name=name, mac=mac, addresses=plain))
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # the user is not in the database, as in bare containers
        user = "unknown"
    # The source address of packets to other networks, else that of an interface. Connecting a UDP
    # socket sends no packet, but makes the kernel choose the source address.
    address = next((each.addresses[0] for each in netifs if each.addresses), "127.0.0.1")
    for family, world in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError):  # no route in that family
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((world, _DISCARD_PORT))
                address = str(probe.getsockname()[0])
            break
    return HostFacts(
        name=shorten_host(socket.gethostname()),
        os=shorten_cpu(" ".join(words)),
        address=address,
        netifs=tuple(netifs),
        hw_info=find_hw_info(),
        user=shorten_user(user),
    )


def shorten_host(name: str) -> str:
    """Return a host's name as Afanasy writes it: lower case, without the domain."""
    return name.lower().partition(".")[0]


def shorten_user(name: str) -> str:
    """Return a user's name as Afanasy writes it: lower case, without a domain before ``/`` or ``\\``."""
    for separator in "/\\":
        if separator in name:
            return name.rpartition(separator)[2].lower()
    return name.lower()


def shorten_cpu(name: str) -> str:
    """Return the name of a processor or GPU without trademark signs, "CPU" and the like.

    Characters that the server's JSON cannot carry become spaces.
    """
    return " ".join(_UNFIT.sub(" ", _NOISE.sub(" ", name)).split())


def find_hw_info() -> str:
    """Return the short names of the processor and of the machine; empty if they have none."""
    cpu: str | None = None
    with suppress(OSError):  # only Linux has it
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("model name", "hardware", "cpu model"):
                cpu = value.strip()
                break
    if cpu is None:
        cpu = _read_registry(_CPU_KEY) or platform.processor() or platform.machine()
    words: list[str] = []
    for name in ("sys_vendor", "product_name"):
        try:
            text = (_DMI / name).read_text(errors="replace").strip()
        except OSError:  # most machines that are no PCs have no such table
            continue
        if not _UNFILLED.search(text) and text not in words:
            words.append(text)
    for value in ("SystemManufacturer", "SystemProductName"):
        text = _read_registry((_MACHINE_KEY, value))
        if text and not _UNFILLED.search(text) and text not in words:
            words.append(text)
    return f"{shorten_cpu(cpu)} {shorten_cpu(' '.join(words))}".strip()


_CPU_KEY = (r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString")
_MACHINE_KEY = r"HARDWARE\DESCRIPTION\System\BIOS"


def _read_registry(where: tuple[str, str]) -> str:
    """Return a text of the registry of Windows, by its key and its name; empty if there is none."""
    try:
        registry = importlib.import_module("winreg")
    except ImportError:
        return ""
    key, name = where
    with suppress(OSError), registry.OpenKey(registry.HKEY_LOCAL_MACHINE, key) as opened:
        return str(registry.QueryValueEx(opened, name)[0]).strip()
    return ""

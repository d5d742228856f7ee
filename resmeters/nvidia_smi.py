"""Memory, temperature, load and programs of all NVIDIA cards, as ``nvidia-smi`` prints them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import PurePosixPath, PureWindowsPath
from xml.etree import ElementTree as XML

import attrs

from resmeters import resbase
from resmeters._background import Background, NotReady
from resmeters._colours import green_to_red, share_between

__all__ = ("SmiGpu", "nvidia_smi", "read_output")

COMMAND = ("nvidia-smi", "-q", "-x")
COMMAND_TIMEOUT = 30.0
"""Seconds the command may take."""
UPDATE_TIMEOUT = 3.0
"""Seconds one `update` waits; a driver in a power-saving state takes some to wake up."""
LITTLE_MEMORY, MUCH_MEMORY = 0.10, 0.90
"""Shares of the memory in use between which the graph turns from green to red."""
WARM, HOT = 0.70, 0.95
"""Shares of the temperature limit between which the background turns blue."""


@attrs.frozen
class SmiGpu:
    """Figures of one card, 0 where it has none. Memory in MiB, temperatures in Celsius."""

    name: str
    total: int = 0
    used: int = 0
    free: int = 0
    temperature: int = 0
    limit: int = 0
    """The temperature from which the card slows down."""
    loads: dict[str, int] = attrs.field(factory=dict)
    """Percent by ``G`` (computing), ``M`` (memory), ``E`` (encoder), ``D`` (decoder)."""
    programs: dict[str, int] = attrs.field(factory=dict)
    """MiB by base name of the program."""


def read_output(text: str) -> tuple[str, list[SmiGpu]]:
    """Parse the output into driver version and cards. Raises `ValueError` for other texts."""
    start = text.find("<nvidia_smi_log>")
    if start < 0:
        last = text.strip().splitlines()[-1:] or ["nothing"]
        raise ValueError(f"nvidia-smi prints: {last[0][:200]}")
    try:
        # Without the document type that precedes it, so no entities can be defined.
        root = XML.fromstring(text[start:])  # noqa: S314 - output of a local program
    except XML.ParseError as error:
        raise ValueError(f"the output of nvidia-smi is cut: {error}") from error
    return root.findtext("driver_version", "?"), [_read_gpu(each) for each in root.iter("gpu")]


def _read_gpu(gpu: XML.Element) -> SmiGpu:
    loads = {
        letter: _number(gpu, f"utilization/{name}_util")
        for letter, name in (("G", "gpu"), ("M", "memory"), ("E", "encoder"), ("D", "decoder"))
    }
    programs: Counter[str] = Counter()
    for process in gpu.iterfind("processes/process_info"):
        program = _base_name(process.findtext("process_name", "?"))
        programs[program] += _number(process, "used_memory")
    return SmiGpu(
        name=gpu.findtext("product_name", "GPU"),
        total=_number(gpu, "fb_memory_usage/total"),
        used=_number(gpu, "fb_memory_usage/used"),
        free=_number(gpu, "fb_memory_usage/free"),
        temperature=_number(gpu, "temperature/gpu_temp"),
        limit=_number(gpu, "temperature/gpu_temp_slow_threshold")
        or _number(gpu, "temperature/gpu_temp_max_threshold"),
        loads=loads,
        programs=dict(programs.most_common()),
    )


def _number(element: XML.Element, path: str) -> int:
    """The whole number at the start of an element's text; 0 for ``N/A`` and for no element."""
    found = re.match(r"\s*(\d+)", element.findtext(path, ""))
    return int(found[1]) if found else 0


def _base_name(command: str) -> str:
    program = (command.split() or ["?"])[0]
    return PureWindowsPath(PurePosixPath(program).name).name or program


def _run_command() -> str:
    done = subprocess.run(
        COMMAND, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT, check=False
    )
    return (done.stdout or done.stderr).decode("utf-8", "replace")


class nvidia_smi(resbase.resbase):
    """MiB of memory in use on all cards; the label has lines for each card."""

    def __init__(self) -> None:
        super().__init__()
        self._output = Background(_run_command)
        self.bgcolorr = self.bgcolorg = self.bgcolorb = 0
        self.tooltip = "nvidia-smi"
        self.valid = True

    def update(self) -> None:
        self.labelr, self.labelg, self.labelb = 100, 200, 0
        try:
            version, gpus = read_output(self._output.result(UPDATE_TIMEOUT))
        except OSError as error:
            return self._fail("Failed to launch nvidia-smi", error.strerror or str(error))
        except subprocess.TimeoutExpired:
            return self._fail(
                "nvidia-smi does not end", f"it was killed after {COMMAND_TIMEOUT:g} s"
            )
        except NotReady as error:
            self.tooltip = f"nvidia-smi: {error}; the figures are older"
            return None
        except ValueError as error:
            return self._fail("no figures", str(error))
        return self._show(version, gpus)

    def _show(self, version: str, gpus: list[SmiGpu]) -> None:
        used, total = sum(card.used for card in gpus), sum(card.total for card in gpus)
        self.value, self.valuemax = used, max(total, 1)
        red, green, blue = green_to_red(
            share_between(used, LITTLE_MEMORY * total, MUCH_MEMORY * total)
        )
        self.graphr, self.graphg, self.graphb = red, green, blue
        heats = [
            share_between(c.temperature, WARM * c.limit, HOT * c.limit) for c in gpus if c.limit
        ]
        self.bgcolorb = round(255 * max(heats, default=0.0))
        if used:
            self.labelr = 255
        if any(card.programs for card in gpus):
            self.labelg = 255
        self.height = 20 + 15 * len(gpus)
        self.label = f"v{version} " + "\n".join(map(_label, gpus))
        self.tooltip = "\n".join([f"NVIDIA driver {version}", *map(_tip, gpus)])

    def _fail(self, label: str, tip: str) -> None:
        self.value = 0
        self.label = f"ERROR: {label}"
        self.labelr, self.labelg, self.labelb = 255, 0, 0
        self.tooltip = f"nvidia-smi: {tip}"


def _label(card: SmiGpu) -> str:
    loads = "".join(f" {letter}{load}%" for letter, load in card.loads.items() if load)
    programs = "".join(f" {name}:{memory}M" for name, memory in card.programs.items())
    heat = f" {card.temperature}C" + (f"({card.limit}C Max)" if card.limit else "")
    memory = f" {card.total / 1024:.0f}G ({card.used}M Used / {card.free}M Free)"
    return f"{card.name}{memory}{heat}{loads}" + (f"\n{programs}" if programs else "")


def _tip(card: SmiGpu) -> str:
    loads = ", ".join(f"{letter} {load}%" for letter, load in card.loads.items())
    programs = "".join(f"\n  {name}: {memory} MiB" for name, memory in card.programs.items())
    return (
        f"{card.name}: {card.used} of {card.total} MiB in use, {card.temperature} of"
        f" {card.limit} C, load {loads}{programs}"
    )

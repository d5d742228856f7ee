"""Figures of this program itself: version, memory, processor time, open files. Reading them blocks briefly."""

from __future__ import annotations

import os
import platform
from contextlib import suppress

import psutil

from trio_afrender.metrics.families import MetricFamily, counter, gauge
from trio_afrender.version import __version__

__all__ = ("collect_program",)


def collect_program(program: str) -> list[MetricFamily]:
    """Return the figures of this process, by the names that all programs give them.

    `program` is the command: ``agent``, ``farm``, ``gateway``.
    """
    labels = {"program": program, "version": __version__, "python": platform.python_version()}
    families = [
        MetricFamily(
            "trio_afrender_build_info", "gauge", "The version of this program.", ((labels, 1.0),)
        )
    ]
    with suppress(psutil.Error, OSError):
        process = psutil.Process(os.getpid())
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            # On Windows the number of all handles: it has none of open files.
            count = getattr(process, "num_handles", None) or process.num_fds
            families += [
                counter(
                    "process_cpu_seconds",
                    "Processor time of this process, in seconds.",
                    times.user + times.system,
                ),
                gauge(
                    "process_resident_memory_bytes",
                    "Resident memory of this process.",
                    memory.rss,
                ),
                gauge(
                    "process_virtual_memory_bytes", "Virtual memory of this process.", memory.vms
                ),
                gauge("process_open_fds", "Open files of this process.", int(count())),
                gauge(
                    "process_start_time_seconds",
                    "When this process started, in Unix time.",
                    process.create_time(),
                ),
            ]
    return families

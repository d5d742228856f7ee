"""The fields of each binary message in their order, and the special encoding of output and files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio_afrender.protocol.afanasy.composite_types import (
    Listed,
    Mapped,
    Optional,
    RecordType,
    Repeated,
)
from trio_afrender.protocol.afanasy.field_types import (
    BOOL,
    I8,
    I32,
    I64,
    STR,
    U8,
    U16,
    ByteReader,
    DecodeError,
    FieldType,
    Raw,
)
from trio_afrender.protocol.afanasy.messages import (
    Interface,
    IpAddress,
    OutputText,
    RenderEvents,
    RenderRegister,
    RenderUpdate,
    TaskUp,
)
from trio_afrender.protocol.messages import CustomMeter, HostResources, TaskExec, TaskFile, TaskKey

__all__ = ("EVENTS", "PAYLOAD", "REGISTER", "UPDATE", "Payload")


def _each(kind: FieldType[Any], names: str) -> tuple[tuple[str, FieldType[Any]], ...]:
    return tuple((name, kind) for name in names.split())


class Payload:
    """A task's output and files: the length of the output, the number of files, then both.

    The output has no NUL and no further length. Files are encoded as their total size, the list of
    sizes, the list of names, and then all contents in that order.
    """

    min_size = 8

    def write(self, out: bytearray, value: tuple[bytes, tuple[TaskFile, ...]]) -> None:
        data, files = value
        I32.write(out, len(data))
        I32.write(out, len(files))
        out += data
        if files:
            I32.write(out, sum(len(file.data) for file in files))
            _SIZES.write(out, tuple(len(file.data) for file in files))
            _NAMES.write(out, tuple(file.name for file in files))
            for file in files:
                out += file.data

    def read(self, source: ByteReader) -> tuple[bytes, tuple[TaskFile, ...]]:
        length, count = I32.read(source), I32.read(source)
        if length < 0 or count < 0:
            raise DecodeError(f"output of {length} bytes, {count} files")
        data = source.take(length)
        if not count:
            return data, ()
        total, sizes, names = I32.read(source), _SIZES.read(source), _NAMES.read(source)
        if not count == len(sizes) == len(names):
            raise DecodeError(f"{count} files with {len(sizes)} sizes and {len(names)} names")
        if min(sizes) < 0 or sum(sizes) != total or total > source.left:
            raise DecodeError(f"the total of {total} bytes does not match the sizes of the files")
        files = zip(names, sizes, strict=True)
        return data, tuple(TaskFile(name=name, data=source.take(size)) for name, size in files)


_SIZES, _NAMES = Listed(I32), Listed(STR)
PAYLOAD = Payload()

_make_key: Callable[..., TaskKey] = TaskKey
_KEY = RecordType(_make_key, *_each(I32, "job block task number"))
_KEYS = Listed(_KEY, I32)
_ADDRESS = RecordType(IpAddress, ("family", I8), ("port", U16), ("packed", Raw(16)))
_INTERFACE = RecordType(
    Interface, ("name", STR), ("mac", Raw(6)), ("addresses", Listed(_ADDRESS, I8))
)
_METER = RecordType(
    CustomMeter,
    *_each(I32, "value valuemax"),
    *_each(U8, "width height graphr graphg graphb labelsize labelr labelg labelb"),
    *_each(U8, "bgcolorr bgcolorg bgcolorb"),
    *_each(STR, "label tooltip"),
)
_RESOURCES = RecordType(
    HostResources,
    *_each(I32, "cpu_num cpu_mhz cpu_temp"),
    ("cpu_loadavg", Repeated(U8, 3)),
    *_each(U8, "cpu_user cpu_nice cpu_system cpu_idle cpu_iowait cpu_irq cpu_softirq"),
    *_each(I32, "mem_total_mb mem_free_mb mem_cached_mb mem_buffers_mb"),
    *_each(I32, "swap_total_mb swap_used_mb"),
    *_each(I32, "hdd_total_gb hdd_free_gb hdd_rd_kbsec hdd_wr_kbsec"),
    ("hdd_busy", I8),
    *_each(I32, "net_recv_kbsec net_send_kbsec"),
    *_each(I8, "gpu_gpu_util gpu_gpu_temp"),
    *_each(I32, "gpu_mem_total_mb gpu_mem_used_mb"),
    ("gpu_string", STR),
    ("logged_in_users", Listed(STR)),
    ("hw_info", STR),
    ("custom", Listed(_METER, U8)),
)
_EXEC = RecordType(
    TaskExec,
    *_each(I64, "flags block_flags frames_num frames_inc frame_start frame_finish"),
    *_each(STR, "command_block command_task working_directory parser"),
    ("environment", Mapped(STR)),
    *_each(Listed(STR), "files_block files_task parsed_files multihost_names"),
    ("data_integers", Mapped(I64)),
    ("data_strings", Mapped(STR)),
    *_each(STR, "service name user_name block_name job_name"),
    *_each(I32, "number capacity capacity_coeff"),
    ("time_start", I64),
    *_each(I32, "job block task"),
    ("tickets", Mapped(I32)),
    fixed={"run": ""},  # this protocol has no runs: the link numbers them
)
_TASK_UP = RecordType(
    TaskUp,
    *_each(I32, "client_id job block task number"),
    *_each(I8, "status percent"),
    ("frame", I32),
    ("percentframe", I8),
    ("progress_changed", BOOL),
    *_each(STR, "activity resources report log listened"),
    ("parsed_files", Listed(STR)),
    ("data files", PAYLOAD),
)
_OUTPUT = RecordType(OutputText, ("key", _KEY), ("text", STR))

REGISTER = RecordType(
    RenderRegister,
    ("tasks", Listed(_EXEC)),
    *_each(STR, "os engine name user_name"),
    *_each(I64, "state flags"),
    ("priority", U8),
    ("time_launch", I64),
    ("address", _ADDRESS),
    ("tasks_percents", Listed(I32)),
    *_each(I64, "idle_time busy_time"),
    ("resources", _RESOURCES),
    ("id", I32),
    ("netifs", Listed(_INTERFACE, I8)),
)
UPDATE = RecordType(
    RenderUpdate,
    ("id", I32),
    ("taskups", Listed(_TASK_UP, I32)),
    ("outputs", Listed(_OUTPUT, I32)),
    ("resources", Optional(_RESOURCES)),
)
EVENTS = RecordType(
    RenderEvents,
    *_each(I32, "id heartbeat_sec resources_update_period zombie_time exit_no_task_time"),
    ("tasks", Listed(_EXEC, I32)),
    *_each(_KEYS, "closes stops outputs listens_add listens_rem"),
    *_each(STR, "instruction command log"),
)

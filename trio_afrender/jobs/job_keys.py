"""The keys of a job file, each declared once: for the page, the JSON schema, and wrong spellings.

`job_file` reads them. A test compares the two, with types and defaults.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from trio_afrender.errors import JobError
from trio_afrender.text import find_near

__all__ = (
    "BLOCK_KEYS",
    "JOB_KEYS",
    "TASK_KEYS",
    "Effect",
    "JobKey",
    "UnknownKeys",
    "ValueKind",
    "find_unknown_keys",
    "list_saved_keys",
)

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json]"


class ValueKind(enum.Enum):
    """The type of a key's value."""

    TEXT = "text"
    NUMBER = "integer"
    FLAG = "true or false"
    TEXTS = "list of texts"
    TABLE = "table of texts"
    MASK = "mask"
    """A regular expression, or words (``hosts_mask_type``)."""
    PATTERN = "regular expression"
    CHOICE = "regex or find"
    OBJECTS = "list of objects"


class Effect(enum.Enum):
    """What a key does."""

    FULL = "works everywhere"
    UNATTENDED = "has no effect in `trio_afrender run`, where no user steers the farm"
    SERVER = "has an effect on an afserver only"
    OLD = "an older spelling"
    SHOWN = "is only stored and shown"


@attrs.frozen(slots=True)
class JobKey:
    """One key. `default` is what its absence means."""

    name: str
    kind: ValueKind
    default: Json
    text: str
    example: Json
    effect: Effect = Effect.FULL
    least: int | None = None
    """The smallest number; others are errors."""


_T, _N, _F = ValueKind.TEXT, ValueKind.NUMBER, ValueKind.FLAG
_M, _P, _TABLE, _TEXTS = ValueKind.MASK, ValueKind.PATTERN, ValueKind.TABLE, ValueKind.TEXTS
_ALONE, _SERVER, _OLD, _SHOWN = Effect.UNATTENDED, Effect.SERVER, Effect.OLD, Effect.SHOWN

_NEEDS = (
    JobKey("max_running_tasks", _N, -1, "tasks that run at once; -1: no limit, 0: none", 20),
    JobKey("max_running_tasks_per_host", _N, -1, "the same on one render", 1),
    JobKey("hosts_mask", _M, "", "names of renders that may run it; empty: all", "render-.*"),
    JobKey("hosts_mask_exclude", _M, "", "names of renders that may not", "ws-.*"),
    JobKey("need_os", _M, "", "found in the render's system", "linux"),
    JobKey(
        "need_properties", _M, "", "found in the properties a render was given", "cuda", _ALONE
    ),
    JobKey("need_power", _N, -1, "the least power a render was given", 10, _ALONE),
    JobKey("need_memory", _N, 0, "MiB of memory that must be free", 16384),
    JobKey("need_hdd", _N, 0, "GiB of disk that must be free", 50),
    JobKey("need_cpu_freq_mgz", _N, -1, "MHz of a processor", 3000),
    JobKey("need_cpu_cores", _N, -1, "number of processors", 16),
    JobKey("need_cpu_freq_cores", _N, -1, "MHz times number of processors", 48000),
    JobKey("need_gpu_mem_mb", _N, -1, "MiB of GPU memory that must be free", 8192),
    JobKey("max_tasks_per_second", _N, -1, "tasks started in a second; -1: no limit", 5),
)  # fmt: skip

JOB_KEYS = (
    JobKey("name", _T, "job", "the name", "shot 010"),
    JobKey("blocks", ValueKind.OBJECTS, (), "its blocks, at least one", ({"command": "true", "frame_first": 1, "frame_last": 2},)),
    JobKey("user_name", _T, "", "the owner; empty: the user who submits it", "jane"),
    JobKey("priority", _N, 99, "jobs with a higher one come first; 0: nothing starts", 120),
    JobKey("hosts_mask_type", ValueKind.CHOICE, "regex", "the language of the masks for hosts, of its blocks too", "find"),
    *_NEEDS,
    JobKey("depend_mask", _P, "", "names of jobs of the same user that must be done before", "sim.*"),
    JobKey("depend_mask_global", _P, "", "names of jobs of any user that must be done before", "sim.*"),
    JobKey("time_wait", _N, 0, "Unix time before which nothing starts", 1924991999),
    JobKey("time_life", _N, -1, "seconds after which the job is deleted; 0: never, -1: as its user has", 86400, _ALONE),
    JobKey("offline", _F, False, "the job is paused from the start", True, _ALONE),
    JobKey("ppa", _F, False, "only every Nth task of `sequential` starts until this is off", True, _ALONE),
    JobKey("maintenance", _F, False, "each task runs on the render that has its name", True, _ALONE),
    JobKey("ignorenimby", _F, False, "renders with nimby run it, too", True),
    JobKey("ignorepaused", _F, False, "paused renders run it, too", True),
    JobKey("folders", _TABLE, {}, "name -> path, for users", {"output": "/proj/out"}, _SHOWN),
    JobKey("annotation", _T, "", "a note for users", "for dailies", _SHOWN),
    JobKey("description", _T, "", "a longer one", "second version", _SHOWN),
    JobKey("project", _T, "", "for users", "film", _SHOWN),
    JobKey("department", _T, "", "for users", "lighting", _SHOWN),
    JobKey("hidden", _F, False, "lists of jobs leave it out", True, _SHOWN),
    JobKey("host_name", _T, "", "the host that it was submitted from", "ws-12", _SHOWN),
    JobKey("custom_data", _T, "", "a text for services", "{}"),
    JobKey("srv_info", _T, "", "a text of the server for users", "", _SHOWN),
    JobKey("branch", _T, "", "the branch of the server's tree", "/film", _SERVER),
    JobKey("pools", _TABLE, {}, "pool -> priority", {}, _SERVER),
    JobKey("command_pre", _T, "", "a command before the job, run by the server", "true", _SERVER),
    JobKey("command_post", _T, "", "a command after it", "true", _SERVER),
    JobKey("try_this_tasks_num", _N, -1, "tasks that are tried before others", 3, _SERVER),
    JobKey("solve_method", _T, "", "how the server orders jobs", "solve_order", _SERVER),
    JobKey("solve_need", _T, "", "what it compares", "solve_capacity", _SERVER),
    JobKey("report", _T, "", "a text of users", "", _SERVER),
    JobKey("cmd_pre", _T, "", "`command_pre`", "true", _OLD),
    JobKey("cmd_post", _T, "", "`command_post`", "true", _OLD),
)  # fmt: skip

BLOCK_KEYS = (
    JobKey("name", _T, "block", "the name", "render"),
    JobKey("service", _T, "generic", "the service that prepares its commands", "blender"),
    JobKey("parser", _T, "", "what reads the output; empty: none", "blender"),
    JobKey("command", _T, "", "`@#@` stands for frame numbers, or for a task's own command", "render -f @#@"),
    JobKey("working_directory", _T, "", "the folder; a relative one is in the folder of the job file", "shots/010"),
    JobKey("environment", _TABLE, {}, "variables", {"OCIO": "/proj/config.ocio"}),
    JobKey("frame_first", _N, 0, "with `frame_last`: a task for each `frames_per_task` frames", 1),
    JobKey("frame_last", _N, 0, "the last frame; at least `frame_first`", 100),
    JobKey("frames_per_task", _N, 1, "frames of a task, 1 or more; in a list negative: tasks of a frame", 5),
    JobKey("frames_inc", _N, 1, "the step from one frame to the next, 1 or more", 2),
    JobKey("tasks", ValueKind.OBJECTS, (), "a list of tasks, instead of frames", ({"name": "movie", "command": "make_movie"},)),
    JobKey("tasks_name", _T, "", "names of tasks; `@#@` as in commands", "frame @#@"),
    JobKey("files", _TEXTS, (), "rendered files, for thumbnails and checks; `@###@` as in commands", ("out/image.@####@.exr",)),
    JobKey("file_size_min", _N, -1, "with check (flag 128): bytes that each file has at least", 1000),
    JobKey("file_size_max", _N, -1, "the same: at most", 100000000),
    JobKey("flags", _N, 0, "a sum of bits, see [below](#flags)", 129, least=0),
    JobKey("sequential", _N, 1, "1 in order, -1 in reverse, 0 coarse to fine, N every Nth frame first", 0),
    JobKey("depend_mask", _P, "", "names of blocks that must be done before", "sim"),
    JobKey("tasks_depend_mask", _P, "", "blocks whose tasks of the same frames must be done before", "sim"),
    JobKey("capacity", _N, 1000, "what a task takes of a render, which has 1100", 500),
    JobKey("capacity_coeff_min", _N, 0, "with a maximum: a task takes so many times `capacity` at least", 1),
    JobKey("capacity_coeff_max", _N, 0, "and at most, of what is free", 4),
    *(each for each in _NEEDS if each.name != "max_tasks_per_second"),
    JobKey("errors_retries", _N, -1, "further attempts after an error; -1: as the farm has", 2),
    JobKey("errors_avoid_host", _N, -1, "errors of a render after which the block avoids it", 3),
    JobKey("errors_task_same_host", _N, -1, "errors of a render after which the task avoids it", 2),
    JobKey("errors_forgive_time", _N, -1, "seconds after which such a render is tried again", 3600),
    JobKey("task_max_run_time", _N, 0, "seconds after which a task is stopped as an error; 0: never", 7200),
    JobKey("task_min_run_time", _N, 0, "a success in fewer seconds counts as an error; 0: never", 5),
    JobKey("task_progress_change_timeout", _N, -1, "seconds without progress, after which it is stopped", 1800),
    JobKey("parser_coeff", _N, 1, "divides the parser's percentage", 2),
    JobKey("custom_data", _T, "", "a text for services", "{}"),
    JobKey("srv_info", _T, "", "a text of the server for users", "", _SHOWN),
    JobKey("tickets", _TABLE, {}, "ticket -> number", {}, _SERVER),
    JobKey("command_pre", _T, "", "a command before the block, run by the server", "true", _SERVER),
    JobKey("command_post", _T, "", "a command after it", "true", _SERVER),
    JobKey("multihost_service", _T, "", "a command on each host of a task (flag 4)", "true", _SERVER),
    JobKey("multihost_min", _N, 0, "hosts of a task, at least", 2, _SERVER),
    JobKey("multihost_max", _N, 0, "and at most", 4, _SERVER),
    JobKey("multihost_max_wait", _N, 0, "seconds in which these are gathered", 60, _SERVER),
    JobKey("multihost_service_wait", _N, 0, "seconds for that command", 60, _SERVER),
    JobKey("depend_sub_task", _F, False, "tasks depend on tasks that are added later (flag 16)", True, _SERVER),
    JobKey("max_tasks_per_second", _N, -1, "tasks started in a second", 5, _SERVER),
    JobKey("numeric", _F, False, "flag 1", True, _OLD),
    JobKey("non_sequential", _F, False, "`sequential` 0", True, _OLD),
    JobKey("tasks_max_run_time", _N, 0, "`task_max_run_time`", 7200, _OLD),
    JobKey("cmd_pre", _T, "", "`command_pre`", "true", _OLD),
    JobKey("cmd_post", _T, "", "`command_post`", "true", _OLD),
)  # fmt: skip

TASK_KEYS = (
    JobKey("name", _T, "", 'the name; empty: "task" and its number', "movie"),
    JobKey("command", _T, "", "replaces `@#@` in the block's command, else is put behind it", "-f 12"),
    JobKey("files", _TEXTS, (), "the same for the block's files", ("image.0012.exr",)),
    JobKey("environment", _TABLE, {}, "variables, besides the block's", {"SEED": "12"}),
    JobKey("custom_data", _T, "", "a text for services", "{}"),
    JobKey("depend_mask", _P, "", "names of tasks that must be done before", "task 1", _SERVER),
)  # fmt: skip

_SAVED_JOB = frozenset({
    "id", "serial", "st", "state", "time_creation", "time_started", "time_done", "user_list_order",
    "job_id", "locked", "progress", "thumb_path", "type", "running_services", "running_tasks_num",
    "running_capacity_total", "tasks_error", "tasks_ready", "tasks_done", "tasks_run", "tasks",
})  # fmt: skip
_SAVED_BLOCK = frozenset({
    "st", "state", "job_id", "block_num", "time_started", "time_done", "tasks_num",
    "running_tasks_counter", "running_capacity_counter", "running_capacity_total",
    "task_default_name", "master_on_slave", "environment_keys",
})  # fmt: skip
_SAVED_TASK = frozenset({"st", "state", "progress"})
_COMMENT = ("_", "#", "//", "$schema")
"""Beginnings of keys that are for people and programs beside this one."""
_WRONG_SPELLING, _SIMILAR = 0.8, 0.6
"""How much a key must resemble a known one: to be an error, and to be mentioned in a warning."""
_MOST = 1000
"""Findings."""


@attrs.frozen(slots=True)
class UnknownKeys:
    """`errors` are wrong spellings of known keys, `warnings` sentences about all others."""

    errors: tuple[JobError, ...]
    warnings: tuple[str, ...]


def list_saved_keys(level: str) -> frozenset[str]:
    """Return the keys that servers write with a ``job``, ``block`` or ``task``, without an effect."""
    return {"job": _SAVED_JOB, "block": _SAVED_BLOCK, "task": _SAVED_TASK}[level]


def find_unknown_keys(job: Mapping[str, object]) -> UnknownKeys:
    """Find keys that a job file cannot have. `job` is the job alone; its values may be of any type.

    A key that resembles a known one is an error: its value would silently have no effect. Any other may
    belong to another program, and is a warning.
    """
    errors: list[JobError] = []
    warnings: dict[str, None] = {}
    for path, name, keys in _list_unknown(job):
        known = [each.name for each in keys if each.effect is not Effect.OLD]
        if near := find_near(name, known, cutoff=_WRONG_SPELLING):
            errors.append(JobError(path, f'unknown key, did you mean "{near[0]}"?'))
        else:
            hints = find_near(name, known, cutoff=_SIMILAR)
            hint = f'; is "{hints[0]}" meant?' if hints else ""
            warnings.setdefault(f"{path}: unknown key, it has no effect{hint}")
        if len(errors) + len(warnings) >= _MOST:
            break
    return UnknownKeys(tuple(errors), tuple(warnings))


def _list_unknown(
    job: Mapping[str, object],
) -> Iterator[tuple[str, str, tuple[JobKey, ...]]]:
    """Yield path, name and the keys that are allowed in its place."""
    for name in _unknown(job, _JOB_NAMES):
        yield name, name, JOB_KEYS
    for i, block in enumerate(_objects(job.get("blocks"))):
        if not isinstance(block, Mapping):
            continue
        for name in _unknown(block, _BLOCK_NAMES):
            if not name.startswith("p_"):  # progress, as servers write it
                yield f"blocks[{i}].{name}", name, BLOCK_KEYS
        for j, task in enumerate(_objects(block.get("tasks"))):
            if isinstance(task, Mapping):
                for name in _unknown(task, _TASK_NAMES):
                    yield f"blocks[{i}].tasks[{j}].{name}", name, TASK_KEYS


def _objects(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _unknown(fields: Mapping[str, object], known: frozenset[str]) -> Iterator[str]:
    return (name for name in fields if name not in known and not name.startswith(_COMMENT))


_JOB_NAMES = _SAVED_JOB.union(each.name for each in JOB_KEYS)
_BLOCK_NAMES = _SAVED_BLOCK.union(each.name for each in BLOCK_KEYS)
_TASK_NAMES = _SAVED_TASK.union(each.name for each in TASK_KEYS)

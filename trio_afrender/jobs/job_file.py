"""Reads Afanasy's job JSON into a `JobSpec`.

Three forms are accepted: what a submitter sends (``{"job": {...}}``), what a server answers
(``{"jobs": [...]}``) and what it stores (the job alone). `parse_job` ignores unknown keys, as servers do;
`examine_job`, for the files of users, does not. Keys that would change the result and have no effect in
this program are listed in `JobSpec.unhonoured`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import attrs

from trio_afrender.errors import JobError
from trio_afrender.jobs.host_masks import MASK_TYPES
from trio_afrender.jobs.job_dependencies import find_dependencies
from trio_afrender.jobs.job_keys import find_unknown_keys
from trio_afrender.jobs.job_spec import BlockSpec, HostNeeds, JobSpec, TaskSpec
from trio_afrender.jobs.json_fields import Fields
from trio_afrender.jobs.message_size import check_sizes
from trio_afrender.protocol.messages import BlockFlags
from trio_afrender.text import compile_mask, refuse_constant, refuse_repeated

__all__ = (
    "MAX_TASKS",
    "BlockSpec",
    "HostNeeds",
    "JobSpec",
    "TaskSpec",
    "examine_job",
    "load_job",
    "parse_blocks",
    "parse_job",
    "parse_tasks",
    "read_job",
    "unwrap",
)

_MAX_FILE = 256 * 1024 * 1024
"""Bytes of a job file."""
MAX_TASKS = 200_000
"""Tasks of a job."""

_JOB_UNHONOURED = (
    "pools", "command_pre", "command_post", "cmd_pre", "cmd_post", "try_this_tasks_num",
)  # fmt: skip
_BLOCK_UNHONOURED = (
    "tickets", "command_pre", "command_post", "cmd_pre", "cmd_post", "multihost_service",
    "depend_sub_task", "max_tasks_per_second",
)  # fmt: skip
_TASK_UNHONOURED = ("depend_mask",)
_FLAGS_UNHONOURED = (BlockFlags.MULTIHOST, BlockFlags.DEPENDSUBTASK)


def load_job(path: Path) -> JobSpec:
    """Read a job file. Raises `JobError`. Blocking.

    A relative ``working_directory`` is relative to the folder of the file, so that a job and its
    scene can be moved together.
    """
    return parse_job(read_job(path), folder=path.absolute().parent)


def read_job(path: Path) -> object:
    """Read the JSON of a job file, ``-`` for stdin. Raises `JobError`. Blocking."""
    from_stdin = str(path) == "-"
    try:
        if from_stdin:
            if sys.stdin is None:
                raise JobError("stdin", "it is closed")
            raw = sys.stdin.buffer.read(_MAX_FILE + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise JobError(str(path), error.strerror or str(error)) from None
    path = Path("stdin") if from_stdin else path
    if len(raw) > _MAX_FILE:
        raise JobError(str(path), f"larger than {_MAX_FILE >> 20} MiB")
    return _loads(raw, path)


def _loads(raw: bytes, path: Path) -> object:
    # Servers write texts as they got them, with control characters and bytes that are not UTF-8.
    text = raw.decode("utf-8-sig", "surrogateescape")
    try:
        return json.loads(
            text,
            strict=False,
            parse_constant=refuse_constant,
            object_pairs_hook=refuse_repeated,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise JobError(str(path), f"not JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise JobError(str(path), "not a job: nested too deeply") from None
    except ValueError as error:
        raise JobError(str(path), f"not JSON: {error}") from None


def parse_job(
    data: object, *, folder: Path | None = None, hosts_mask_type: str = "regex"
) -> JobSpec:
    """Make a job of parsed JSON. Raises `JobError` with the path of the wrong value.

    Relative working directories are relative to `folder`; without it they stay as given.
    `hosts_mask_type` is the language of the masks for hosts if the job does not name it: in a job
    file, regular expressions; on the wire of Afanasy's server, ``find``.
    """
    return _make_job(Fields(unwrap(data), ""), folder, hosts_mask_type)


def examine_job(
    data: object, *, folder: Path | None = None
) -> tuple[JobSpec | None, tuple[JobError, ...]]:
    """Make a job as `parse_job` does, and return it with all its errors; None if there are any.

    Wrong spellings of keys are errors here; other keys that a job file cannot have are in its `notes`.
    """
    problems: list[JobError] = []
    spec = None
    try:
        job = Fields(unwrap(data), "", problems)
    except JobError as error:
        return None, (error,)
    try:
        spec = _make_job(job, folder, "regex")
    except JobError as error:
        problems.append(error)
    unknown = find_unknown_keys(job.data)
    # A check reads some values twice.
    found = {(error.path, error.problem): error for error in (*problems, *unknown.errors)}
    if found or spec is None:
        return None, tuple(found.values())
    return attrs.evolve(spec, notes=(*unknown.warnings, *spec.notes)), ()


def _make_job(job: Fields, folder: Path | None, hosts_mask_type: str) -> JobSpec:
    """Make a job. Raises `JobError`, also if `job` collects its problems: for what makes no job."""
    mask_type = job.choice("hosts_mask_type", MASK_TYPES, hosts_mask_type)
    if "blocks" not in job:
        raise JobError("blocks", "missing: a job is a list of blocks")
    blocks = tuple(_parse_block(fields, folder, mask_type) for fields in job.objects("blocks"))
    if not blocks and not job.problems:
        raise JobError("blocks", "empty: a job needs at least one block")
    total = sum(block.task_count for block in blocks)
    if total > MAX_TASKS:
        raise JobError("blocks", f"{total:,} tasks, more than {MAX_TASKS:,}")
    spec = JobSpec(
        name=job.text("name", "job") or "job",
        user_name=job.node_name("user_name"),
        priority=job.number("priority", 99),
        blocks=blocks,
        needs=_parse_needs(job, mask_type),
        depend_mask=job.pattern("depend_mask"),
        depend_mask_global=job.pattern("depend_mask_global"),
        time_wait=job.number("time_wait", 0),
        time_life=job.number("time_life", -1),
        offline=job.flag("offline"),
        ppa=job.flag("ppa"),
        maintenance=job.flag("maintenance"),
        ignore_nimby=job.flag("ignorenimby"),
        ignore_paused=job.flag("ignorepaused"),
        hosts_mask_type=mask_type,
        host_name=job.text("host_name"),
        annotation=job.text("annotation"),
        description=job.text("description"),
        custom_data=job.text("custom_data"),
        srv_info=job.text("srv_info"),
        project=job.text("project"),
        department=job.text("department"),
        hidden=job.flag("hidden"),
        folders=job.table("folders"),
        unhonoured=(
            *job.meaningful(_JOB_UNHONOURED),
            *(path for fields in job.objects("blocks") for path in _find_unhonoured(fields)),
        ),
    )
    if job.problems:
        return spec  # what follows needs all values
    check_sizes(spec)
    find_dependencies(spec)  # raises JobError when blocks wait for each other
    # A mask that matches no block is probably a mistake, but Afanasy accepts it.
    notes = []
    for i, block in enumerate(blocks):
        others = [other.name for j, other in enumerate(blocks) if j != i]
        for key in ("depend_mask", "tasks_depend_mask"):
            mask = getattr(block, key)
            if mask and not any(map(compile_mask(mask).fullmatch, others)):
                notes.append(f'blocks[{i}].{key}: "{mask}" matches no other block')
    return attrs.evolve(spec, notes=tuple(notes))


def unwrap(data: object) -> dict[str, object]:
    """Return the job object in the JSON of a job file. Raises `JobError` if there is none."""
    if not isinstance(data, dict):
        raise JobError("", "not a job: expected an object with a job in it")
    if "job" in data:
        return Fields(data["job"], "job").data
    if "jobs" in data:
        jobs = data["jobs"]
        if not isinstance(jobs, list) or len(jobs) != 1:
            count = len(jobs) if isinstance(jobs, list) else 0
            raise JobError("jobs", f"expected a list of one job, found {count}")
        return Fields(jobs[0], "jobs[0]").data
    if "blocks" not in data:
        raise JobError("job", "missing: this is not a job file")
    return data


def _parse_needs(fields: Fields, mask_type: str) -> HostNeeds:
    default = HostNeeds()
    numbers = {
        field.name: fields.number(field.name, getattr(default, field.name))
        for field in attrs.fields(HostNeeds)
        if isinstance(field.default, int)
    }
    mask = fields.pattern if mask_type == "regex" else fields.text
    return attrs.evolve(
        default,
        hosts_mask=mask("hosts_mask"),
        hosts_mask_exclude=mask("hosts_mask_exclude"),
        need_os=mask("need_os"),
        need_properties=mask("need_properties"),
        **numbers,
    )


def parse_blocks(data: object, *, hosts_mask_type: str) -> tuple[BlockSpec, ...]:
    """Make blocks of a JSON list, which is named ``blocks`` in errors. Raises `JobError`."""
    fields = Fields({"blocks": data}, "")
    return tuple(_parse_block(each, None, hosts_mask_type) for each in fields.objects("blocks"))


def parse_tasks(data: object) -> tuple[TaskSpec, ...]:
    """Make the tasks of a JSON list, which is named ``tasks`` in errors. Raises `JobError`."""
    return _parse_tasks(Fields({"tasks": data}, ""))


def _parse_tasks(fields: Fields) -> tuple[TaskSpec, ...]:
    return tuple(
        TaskSpec(
            name=task.text("name"),
            command=task.text("command"),
            files=task.texts("files"),
            environment=task.table("environment"),
            custom_data=task.text("custom_data"),
        )
        for task in fields.objects("tasks")
    )


def _parse_block(fields: Fields, folder: Path | None, mask_type: str) -> BlockSpec:
    tasks = _parse_tasks(fields)
    flags = _parse_flags(fields, tasks)
    numeric = bool(flags & BlockFlags.NUMERIC)
    if numeric:
        frames = _parse_frames(fields)
    else:
        # Only dependencies use them. Servers save zeros for values that were not given: they mean
        # the default.
        frames = {
            "frames_per_task": fields.number("frames_per_task", 1) or 1,
            "frames_inc": max(1, fields.number("frames_inc", 1)),
        }
    return BlockSpec(
        name=fields.text("name", "block"),
        service=fields.text("service") or "generic",
        parser=fields.text("parser"),
        command=fields.text("command"),
        working_directory=_place_folder(fields.text("working_directory"), folder),
        files=fields.texts("files"),
        environment=fields.table("environment"),
        tasks=() if numeric else tasks,
        tasks_name=fields.text("tasks_name"),
        flags=flags,
        **frames,
        sequential=0 if fields.flag("non_sequential") else fields.number("sequential", 1),
        capacity=max(1, fields.number("capacity", 1000)),
        capacity_coeff_min=fields.number("capacity_coeff_min", 0),
        capacity_coeff_max=fields.number("capacity_coeff_max", 0),
        depend_mask=fields.pattern("depend_mask"),
        tasks_depend_mask=fields.pattern("tasks_depend_mask"),
        needs=_parse_needs(fields, mask_type),
        errors_retries=fields.number("errors_retries", -1),
        errors_avoid_host=fields.number("errors_avoid_host", -1),
        errors_task_same_host=fields.number("errors_task_same_host", -1),
        errors_forgive_time=fields.number("errors_forgive_time", -1),
        task_max_run_time=fields.number(
            "task_max_run_time", fields.number("tasks_max_run_time", 0)
        ),
        task_min_run_time=fields.number("task_min_run_time", 0),
        task_progress_change_timeout=fields.number("task_progress_change_timeout", -1),
        file_size_min=fields.number("file_size_min", -1),
        file_size_max=fields.number("file_size_max", -1),
        parser_coeff=fields.number("parser_coeff", 1),
        custom_data=fields.text("custom_data"),
        srv_info=fields.text("srv_info"),
    )


def _parse_flags(fields: Fields, tasks: tuple[TaskSpec, ...]) -> int:
    """The block's flags, including those that older jobs express by separate keys.

    A block without tasks but with frames counts as numeric even without the flag.
    """
    flags = fields.number("flags", 0)
    if flags < 0:
        fields.refuse(fields.at("flags"), f"expected bits, found {flags}")
        flags = 0
    if fields.flag("numeric"):
        flags |= BlockFlags.NUMERIC
    if fields.number("capacity_coeff_max", 0) > 0 or fields.number("capacity_coeff_min", 0) > 0:
        flags |= BlockFlags.VARCAPACITY
    if flags & BlockFlags.NUMERIC or tasks:
        return flags
    if fields.number("tasks_num", 0) > 0:
        fields.refuse(fields.at("tasks"), "missing: the server stores them in another file")
    elif "tasks" in fields:
        if fields.data["tasks"] in ([], ()):  # the type of anything else is an error already
            fields.refuse(fields.at("tasks"), "empty: a block needs at least one task")
    elif "frame_first" in fields and "frame_last" in fields:
        return flags | BlockFlags.NUMERIC
    else:
        fields.refuse(
            fields.at("tasks"), "missing: a block needs tasks, or frame_first and frame_last"
        )
        for key in ("frame_first", "frame_last"):
            fields.number(key, 0)  # whether the type of the one that is given is wrong, too
    return flags


def _parse_frames(fields: Fields) -> dict[str, int]:
    """The frames of a numeric block. Afanasy's server corrects wrong numbers; here they raise."""
    for key in ("frame_first", "frame_last"):
        if key not in fields:
            fields.refuse(fields.at(key), "missing: a numeric block needs it")
    found = {
        "frame_first": fields.number("frame_first", 0),
        "frame_last": fields.number("frame_last", 0),
        "frames_per_task": fields.number("frames_per_task", 1),
        "frames_inc": fields.number("frames_inc", 1),
    }
    for key in ("frames_per_task", "frames_inc"):
        if found[key] < 1:
            fields.refuse(fields.at(key), f"expected 1 or more, found {found[key]}")
            found[key] = 1
    first, last = found["frame_first"], found["frame_last"]
    # Only of two numbers that are there: otherwise the error is another one.
    if last < first and (fields.data.get("frame_first"), fields.data.get("frame_last")) == (
        first,
        last,
    ):
        fields.refuse(fields.at("frame_last"), f"{last} is before frame_first, {first}")
        found["frame_last"] = first
    return found


def _place_folder(text: str, base: Path | None) -> str:
    """Place a relative working directory below `base`.

    A path that is absolute on any platform, or begins with a variable or ``~``, stays as it is.
    """
    if base is None or not text or text.startswith(("~", "$", "%", "\\")):
        return text
    windows = PureWindowsPath(text)
    if PurePosixPath(text).is_absolute() or windows.drive or windows.root:
        return text
    return str(base / text)


def _find_unhonoured(fields: Fields) -> list[str]:
    """Paths of a block's fields that have a value and no effect in this program."""
    paths = [fields.at(key) for key in fields.meaningful(_BLOCK_UNHONOURED)]
    flags = fields.number("flags", 0)
    paths += [f"{fields.at('flags')} ({flag.name})" for flag in _FLAGS_UNHONOURED if flags & flag]
    numeric = flags & BlockFlags.NUMERIC or fields.flag("numeric")
    if numeric and fields.data.get("tasks"):
        paths.append(fields.at("tasks"))
    seen: set[str] = set()
    for task in fields.objects("tasks"):
        seen.update(task.meaningful(_TASK_UNHONOURED))
    return paths + [fields.at(f"tasks[].{key}") for key in sorted(seen)]

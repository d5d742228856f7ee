"""Creates a service for a task without running it, to show its command, folder and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from trio_afrender.config.settings import Config, PluginSettings
from trio_afrender.errors import ConfigError
from trio_afrender.farm.model import Block, Job, RenderState, Run, Task, User
from trio_afrender.farm.scheduler import make_exec
from trio_afrender.jobs.host_masks import NO_MASKS
from trio_afrender.jobs.job_file import parse_job, read_job
from trio_afrender.plugins.interfaces import PluginSpec
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.protocol.messages import Register, TaskExec, TaskKey
from trio_afrender.task.task_info import make_task_info
from trio_afrender.tasklog.memory_log import MemoryLogStore
from trio_afrender.user_files import find_temporary_folder

__all__ = ("TASK_KEYS", "ServiceView", "make_service", "read_tasks")

TASK_KEYS = (
    *make_task_info(TaskExec(run="", job=0, block=0, task=0), ""),
    "file_size_min", "file_size_max", "parser_koeff", "block_custom_data", "task_custom_data",
    "job_custom_data", "render_custom_data", "user_custom_data", "render_capacity_total",
    "render_capacity_used", "render_tasks_maximum", "render_tasks_running", "command", "files",
)  # fmt: skip
"""Every key that taskInfo may have."""


@attrs.frozen(slots=True, kw_only=True)
class ServiceView:
    """What a service returns after its constructor, and after a successful end. Paths are this host's."""

    service: str
    parser: str
    task: str
    """The task's name."""
    command: str
    working_directory: str
    environment: Mapping[str, str]
    files: tuple[str, ...]
    skip: bool
    grace: float | None
    limits: Mapping[str, float]
    """The service's own values, as are those of `stuck`."""
    stuck: Mapping[str, float | str]
    has_parser: bool
    thumbnails: tuple[str, ...]
    """Post commands that make thumbnails; of existing files only."""
    log: str
    problems: tuple[str, ...]
    """Faults of the service's code."""

    @property
    def good(self) -> bool:
        """Whether there are no problems and the parser that the task names was created."""
        return not self.problems and (self.has_parser or self.parser in ("", "none"))


def make_service(
    name: str,
    task_info: Mapping[str, object],
    *,
    folders: Sequence[Path] = (),
    settings: PluginSettings | None = None,
) -> ServiceView:
    """Create a service as the agent does and return its values. Nothing is run.

    `task_info` has keys of taskInfo (`TASK_KEYS`); missing ones get their defaults. Raises
    `PluginNotFound`, or `PluginError` if the service cannot be created.
    """
    if settings is None:
        settings = Config(name="check").plugin_settings()
    parser = task_info.get("parser")
    parser = parser if isinstance(parser, str) else ""
    defaults = TaskExec(run="check", job=1, block=0, task=0)
    info = {**make_task_info(defaults, str(find_temporary_folder())), **task_info}
    spec = PluginSpec(service=name, parser=parser, task_info=info)
    worker = TaskWorker(
        spec, MemoryLogStore(), settings, tuple(folder.resolve() for folder in folders)
    )
    facts = worker.facts
    thumbnails = worker.do_post()
    return ServiceView(
        service=name,
        parser=parser,
        task=str(task_info.get("task_name", "")),
        command=facts.command,
        working_directory=facts.working_directory,
        environment=facts.environment,
        files=facts.files,
        skip=facts.skip,
        grace=facts.grace,
        limits=facts.limits,
        stuck=facts.stuck,
        has_parser=facts.has_parser,
        thumbnails=thumbnails,
        log=worker.log() or facts.log,
        problems=worker.problems(),
    )


def read_tasks(path: Path) -> tuple[dict[str, object], ...]:
    """Read taskInfos from a JSON file: the file's own, or those of a job's first task of each block.

    Raises `ConfigError`. Blocking.
    """
    data = read_job(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected an object with keys of taskInfo, or a job")
    if not {"job", "jobs", "blocks"} & data.keys():
        return (data,)
    spec = parse_job(data, folder=path.absolute().parent)
    job = Job(id=1, user=User(id=1, name=spec.user_name), spec=spec, masks=NO_MASKS)
    render = RenderState(id=1, name="check", register=Register(name="check"))
    found = []
    for number, block in enumerate(spec.blocks):
        # What an agent of the embedded farm would have.
        made = Block(job=job, spec=block, masks=NO_MASKS, ranks=None)
        run = Run(
            id="check",
            task=Task(key=TaskKey(job.id, number, 0, 0), block=made),
            attempt=1,
            render=render,
            capacity=block.capacity,
            assigned=0.0,
            progressed=0.0,
        )
        found.append(make_task_info(make_exec(run, 0, 0.0), str(find_temporary_folder())))
    return tuple(found)

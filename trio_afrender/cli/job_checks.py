"""Reads a job and checks it before it runs: keys, values, services, parsers, keys without an effect."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError, JobError, PluginError, PluginNotFound
from trio_afrender.jobs.job_file import JobSpec, examine_job, read_job, unwrap
from trio_afrender.jobs.quick_job import make_quick_job
from trio_afrender.plugins.lookup import list_plugins, load_class, near

__all__ = (
    "NO_PARSER",
    "ExaminedJob",
    "examine_file",
    "list_unparsed",
    "list_warnings",
    "print_warnings",
    "read_one_job",
    "require_job",
)

NO_PARSER = ("", "none", "parser")
"""Names of parsers that read nothing."""


@attrs.frozen(slots=True, kw_only=True)
class ExaminedJob:
    """A job, or why it is none."""

    name: str
    """Its file, for messages."""
    data: object = None
    """The content of the file."""
    spec: JobSpec | None = None
    errors: tuple[JobError, ...] = ()
    """Empty if there is a `spec`."""


def examine_file(path: Path, plugins: Sequence[Path] | None) -> ExaminedJob:
    """Read a job file, ``-`` for stdin. `plugins` are folders; None: plugins are not looked up.

    Raises `JobError` for a file that cannot be read. Blocking.
    """
    name = str(path)
    if name == "-":
        name = "stdin"
        if sys.stdin is not None and sys.stdin.isatty():
            print_line("reading a job from this terminal; Ctrl-D ends it")
    return _examine(read_job(path), name, path.absolute().parent, plugins)


def _examine(
    data: object, name: str, folder: Path | None, plugins: Sequence[Path] | None
) -> ExaminedJob:
    spec, errors = examine_job(data, folder=folder)
    if plugins is not None:
        errors = (*errors, *_find_missing_services(data, plugins))
    if errors:
        return ExaminedJob(name=name, data=data, errors=errors)
    return ExaminedJob(name=name, data=data, spec=spec)


def read_one_job(options: Namespace, plugins: Sequence[Path]) -> JobSpec:
    """Return the job of ``run``: its file, or its ``-c``. Raises `ConfigError`; blocking."""
    if options.job is None and options.run_command is None and options.follow:
        # `run --follow job.json`: the option takes what follows it.
        options.job, options.follow = Path(options.follow), ""
    if options.job is None and options.run_command is None:
        raise ConfigError(
            "the following arguments are required: JOB.json (see trio_afrender run --help)"
        )
    if options.job is not None and options.run_command is not None:
        raise ConfigError("give a job file, or a command with -c, not both")
    if options.job is not None:
        for option in ("frames", "per-task", "service", "parser", "job-name"):
            if getattr(options, option.replace("-", "_")) is not None:
                name = option.removeprefix("job-")
                raise ConfigError(f"--{name} is for a command (-c): a job file has its own")
        return require_job(examine_file(options.job, plugins))
    service = options.service or "generic"
    parser = options.parser
    quick = make_quick_job(
        options.run_command,
        frames=options.frames or (),
        per_task=options.per_task or 1,
        name=options.job_name or "",
        service=service,
        parser=_default_parser(service, plugins) if parser is None else parser,
        folder=str(Path.cwd()),
    )
    return require_job(_examine(quick, "-c", None, plugins))


def _default_parser(service: str, plugins: Sequence[Path]) -> str:
    """The parser that a service names, as programs that submit jobs take it; '' if it names none."""
    try:
        module = sys.modules.get(load_class("service", service, plugins).__module__)
    except PluginError:
        return ""
    parser = getattr(module, "parser", "")
    return parser if isinstance(parser, str) else ""


def require_job(examined: ExaminedJob) -> JobSpec:
    """Return the specification. Print all errors but the last, and raise that as a `ConfigError`."""
    if examined.spec is not None:
        return examined.spec
    *others, last = (clean(f"{examined.name}: {error}") for error in examined.errors)
    if others:
        print_line(*(f"trio_afrender: {line}" for line in others))
    raise ConfigError(last)


def _find_missing_services(data: object, folders: Sequence[Path]) -> Iterator[JobError]:
    """A task cannot start without its service. `data` may have errors of other kinds."""
    try:
        blocks = unwrap(data).get("blocks")
    except JobError:
        return
    services = {*list_plugins("service", folders), "service", ""}
    for number, block in enumerate(blocks if isinstance(blocks, list) else ()):
        name = block.get("service", "") if isinstance(block, dict) else ""
        if isinstance(name, str) and name not in services:
            text = _missing("service", name, folders)
            yield JobError(f"blocks[{number}].service", text)


def list_unparsed(spec: JobSpec) -> frozenset[int]:
    """Return the numbers of the blocks whose output no parser reads, so that they have no percentage."""
    return frozenset(number for number, each in enumerate(spec.blocks) if each.parser in NO_PARSER)


def _missing(kind: str, name: str, folders: Sequence[Path]) -> str:
    return str(PluginNotFound(kind, clean(name), near(kind, name, folders)))


def list_warnings(spec: JobSpec, folders: Sequence[Path]) -> list[str]:
    """Return what a user should know of a job: missing parsers, keys without effect, mistakes."""
    # A missing parser is no error: on an Afanasy farm such a task runs, so it must run here, too.
    parsers = {*list_plugins("parser", folders), *NO_PARSER}
    return [
        *(
            f"blocks[{number}].parser: {_missing('parser', block.parser, folders)}; "
            "its output is not parsed"
            for number, block in enumerate(spec.blocks)
            if block.parser not in parsers
        ),
        *(f"{path} has no effect here" for path in spec.unhonoured),
        *spec.notes,
    ]


def print_warnings(spec: JobSpec, folders: Sequence[Path]) -> None:
    """Print these to stderr."""
    for text in list_warnings(spec, folders):
        print_line(f"warning: {clean(text)}")

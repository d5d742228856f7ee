"""What users can set of renders, jobs, blocks, users and pools: names, types, ranges. No I/O.

An afserver ignores a name it does not know and a value of the wrong type, cuts a number that does
not fit, and answers "Action processed." all the same. So both are checked before they are sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from trio_afrender.errors import ConfigError
from trio_afrender.text import compile_mask, shorten, suggest

__all__ = ("KINDS", "NODE_TYPES", "Setting", "parse_settings", "present_value", "settings_of")

KINDS = ("render", "job", "block", "task", "user", "pool")
"""What has settings, in the words of the command line."""
NODE_TYPES = {
    "render": "renders",
    "job": "jobs",
    "block": "jobs",
    "task": "jobs",
    "user": "users",
    "pool": "pools",
}
"""Kind -> the type of its node in requests."""

_INT8, _INT32 = 2**7 - 1, 2**31 - 1
_INT53 = 2**53
"""Larger integers lose digits in programs that read numbers as doubles."""
_MAX_TEXT = 1024 * 1024
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_BREAKS = re.compile(r'["\\\x00-\x1f\x7f]')
"""Characters that a server writes into its answers without escaping them."""


@attrs.frozen(slots=True, kw_only=True)
class Setting:
    """One thing that can be set. `read` turns its text into the value that is sent."""

    expected: str
    read: Callable[[str], Any]
    """Raises `ValueError` with what is wrong, or without a text."""
    shown_as: str = ""
    """Its name in answers, if that is another one."""
    table: bool = False
    """Whether it is given entry by entry, as ``folders.output=/srv/out``."""
    absent: object = None
    """The value that counts if an answer leaves it out."""
    visible: bool = True
    """Whether answers have it: else it cannot be read back."""


_Settings: TypeAlias = Mapping[str, Setting]


def _integer(low: int, high: int = _INT32, *, absent: int = 0, visible: bool = True) -> Setting:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError from None
        if not low <= value <= high:
            raise ValueError
        return value

    expected = f"a whole number from {low} to {high}"
    return Setting(expected=expected, read=read, absent=absent, visible=visible)


def _read_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError


def _read_text(text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{len(text):,} characters are more than {_MAX_TEXT:,}")
    if "\0" in text:
        raise ValueError("it has a NUL character")
    return text


def _read_name(text: str) -> str:
    if found := _BREAKS.search(text):
        # It would break every list that a server answers, for all programs.
        raise ValueError(f"it has the character {found[0]!r}, which servers do not escape")
    return _read_text(text)


def _read_mask(text: str) -> str:
    try:
        compile_mask(_read_name(text))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not a regular expression: {error}") from None
    return text


def _read_names(text: str) -> list[str]:
    return list(dict.fromkeys(_read_name(part.strip()) for part in text.split(",") if part.strip()))


def _choice(*allowed: str) -> Setting:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return Setting(expected=" or ".join(allowed), read=read, absent="")


def _words(shown_as: str = "") -> Setting:
    """Text for people."""
    return Setting(expected="a text", read=_read_text, shown_as=shown_as, absent="")


_FLAG = Setting(expected="true or false", read=_read_flag, absent=False)
_TEXT = _words()
_NAME = Setting(expected="a name", read=_read_name, absent="")
_MASK = Setting(expected="a regular expression", read=_read_mask, absent="")
_NAMES = Setting(expected="names with commas between", read=_read_names, absent=[])
_TABLE = Setting(expected="a text", read=_read_text, table=True, absent={})
_LIMIT = _integer(-1, absent=-1)
_NEED = _integer(-1)

_NODE: _Settings = {
    "annotation": _TEXT,
    "custom_data": _TEXT,
    "priority": _integer(0, 255),
    "hidden": _FLAG,
}
_BOTH_WORK: _Settings = {
    "max_running_tasks": _LIMIT,
    "max_running_tasks_per_host": _LIMIT,
    # Whether these two are expressions is up to the type of the job's masks, see `set_parameters`.
    "hosts_mask": _NAME,
    "hosts_mask_exclude": _NAME,
    "need_properties": _NAME,
    "need_power": _NEED,
    "need_memory": _NEED,
    "need_hdd": _NEED,
}
_WORK: _Settings = {
    **_BOTH_WORK,
    "max_tasks_per_second": _integer(-1, 10_000, absent=-1),
    "hosts_mask_type": _choice("find", "regex"),
    "need_os": _NAME,
    # The job runs in these pools only; the number is added to the priority of the pool.
    "pools": Setting(
        expected="a whole number from -100 to 100",
        read=_integer(-100, 100).read,
        table=True,
        absent={},
    ),
    "solve_method": _choice("solve_order", "solve_priority"),
    "solve_need": _choice("solve_tasksnum", "solve_capacity"),
}
_HOST: _Settings = {
    "capacity_host": _LIMIT,
    "max_tasks_host": _LIMIT,
    "power_host": _LIMIT,
    "properties_host": _NAME,
    "services": _NAMES,
    "services_disabled": _NAMES,
}

_RENDER: _Settings = {
    **_NODE,
    **_HOST,
    "user_name": _NAME,
    "nimby": _FLAG,
    "NIMBY": _FLAG,
    "paused": _FLAG,
}
_JOB: _Settings = {
    **_NODE,
    **_WORK,
    "srv_info": _words("m_srv_info"),
    "user_name": _NAME,
    "description": _TEXT,
    "ppa": _FLAG,
    "maintenance": _FLAG,
    "ignorenimby": _FLAG,
    "ignorepaused": _FLAG,
    "time_life": _integer(-1, absent=-1),
    "time_wait": _integer(0, _INT53),
    "depend_mask": _MASK,
    "depend_mask_global": _MASK,
    "folders": _TABLE,
    "branch": _NAME,
}
_BLOCK: _Settings = {
    **_BOTH_WORK,
    "name": _NAME,
    "service": _NAME,
    "parser": _NAME,
    "command": _TEXT,
    "working_directory": _TEXT,
    "tasks_name": _NAME,
    # These two have other names in answers.
    "command_pre": _words("cmd_pre"),
    "command_post": _words("cmd_post"),
    "custom_data": _TEXT,
    "environment": _TABLE,
    # 1: in order, -1: from the end, 0: bisecting, others: each so many frames first.
    "sequential": _integer(-_INT53, _INT53, absent=1),
    # A server makes 1 of what is smaller.
    "capacity": _integer(1),
    "need_gpu_mem_mb": _NEED,
    # Afanasy's own spelling.
    "need_cpu_freq_mgz": _NEED,
    "need_cpu_cores": _NEED,
    "need_cpu_freq_cores": _NEED,
    "depend_mask": _MASK,
    "tasks_depend_mask": _MASK,
    # Signed bytes; with -1 the values of the user count.
    "errors_retries": _integer(-1, _INT8, absent=-1),
    "errors_avoid_host": _integer(-1, _INT8, absent=-1),
    "errors_task_same_host": _integer(-1, _INT8, absent=-1),
    "errors_forgive_time": _LIMIT,
    # Less than 0 would end each task at once.
    "task_max_run_time": _integer(0),
    "task_min_run_time": _integer(0),
    "task_progress_change_timeout": _LIMIT,
    "parser_coeff": _integer(1, visible=False),
}
_TASK: _Settings = {"suspended": _FLAG, "next": _FLAG, "skipped": _FLAG, "done": _FLAG}
"""Tasks have no parameters: each of these is an operation."""
_USER: _Settings = {
    **_NODE,
    **_WORK,
    "paused": _FLAG,
    # Unlike those of blocks, these are bytes without a sign.
    "errors_retries": _integer(0, 255),
    "errors_avoid_host": _integer(0, 255),
    "errors_task_same_host": _integer(0, 255),
    "errors_forgive_time": _integer(0),
    "jobs_life_time": _integer(-1),
}
_PERCENT = _integer(-1, 100, absent=-1)
_PERIOD = _integer(-1, 86_400, absent=-1)
_POOL: _Settings = {
    **_NODE,
    **_HOST,
    "pattern": _MASK,
    "paused": _FLAG,
    "new_nimby": _FLAG,
    "new_paused": _FLAG,
    **dict.fromkeys(
        ("heartbeat_sec", "resources_update_period", "zombie_time", "exit_no_task_time"), _PERIOD
    ),
    "no_task_event_time": _LIMIT,
    "overload_event_time": _LIMIT,
    "sick_errors_count": _LIMIT,
    "idle_wolsleep_time": _LIMIT,
    "idle_free_time": _LIMIT,
    "busy_nimby_time": _LIMIT,
    **{
        f"{kind}_{name}": _PERCENT
        for kind in ("idle", "busy")
        for name in ("cpu", "mem", "swp", "hddio")
    },
    **{f"{kind}_{name}": _LIMIT for kind in ("idle", "busy") for name in ("hddgb", "netmbs")},
}

_ALL: Mapping[str, _Settings] = {
    "render": _RENDER,
    "job": _JOB,
    "block": _BLOCK,
    "task": _TASK,
    "user": _USER,
    "pool": _POOL,
}
_ELSEWHERE = {
    "offline": "use the commands pause and start",
    "tickets": "tickets are changed with Afanasy's own programs",
    "capacity": "it is capacity_host here",
    "max_tasks": "it is max_tasks_host here",
}
"""Names that are likely to be tried, and what to do."""
_STATES = {"nimby": "NbY", "NIMBY": "NBY", "paused": "PAU"}
"""Parameters that nodes show as a word of their state."""


def settings_of(kind: str) -> _Settings:
    """What can be set of one kind of node: name -> its type."""
    return _ALL[kind]


def present_value(
    name: str, setting: Setting, fields: Mapping[str, Any], states: Sequence[str]
) -> object:
    """The value that a parameter of a node has, by the fields and states of an answer."""
    if name in _STATES:
        return _STATES[name] in states or fields.get(name) is True
    return fields.get(setting.shown_as or name, setting.absent)


def parse_settings(kind: str, words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words; a table is given as ``folders.output=/srv/out``.

    Raises `ConfigError` for a name that is unknown, with the nearest one, and for a value of the
    wrong type or out of range.
    """
    known = _ALL[kind]
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        key, dot, entry = name.partition(".")
        if not equals or not name:
            raise ConfigError(f'"{word}": expected key=value')
        setting = known.get(key)
        if setting is None:
            if key in _ELSEWHERE:
                advice = f": {_ELSEWHERE[key]}"
            elif others := [other for other in KINDS if key in _ALL[other]]:
                advice = f", but a {' and a '.join(others)} has one"
            else:
                advice = suggest(key, known) or f"; it has {', '.join(sorted(known))}"
            raise ConfigError(f'a {kind} has no parameter "{key}"{advice}')
        if setting.table is not bool(dot and entry):
            form = f"{key}.NAME=VALUE" if setting.table else f"{key}=VALUE"
            raise ConfigError(f'"{name}": expected {form}')
        # Which of the two counts would depend on the order of words.
        if name in found or (dot and entry in found.get(key, {})):
            raise ConfigError(f'"{name}" is given twice')
        try:
            value = setting.read(text)
        except ValueError as error:
            wrong = f"{error}" or f"expected {setting.expected}"
            raise ConfigError(f'{name}: "{shorten(text, 60)}": {wrong}') from None
        if setting.table:
            try:
                found.setdefault(key, {})[_read_name(entry)] = value
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from None
        else:
            found[key] = value
    return found

"""Messages between the agent and a plugin host: frames, requests, replies, and the values in them.

`message_framing` makes the frames. Requests carry ``id``, ``op`` and ``run``; the reply to one carries
its ``id`` and either ``value`` or ``error``. The host's end runs plugin code and can be corrupted by
it, so every reply is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import attrs

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound, ProtocolError
from trio_afrender.message_framing import FrameReader, encode
from trio_afrender.plugins.interfaces import (
    Conclusion,
    ErrorClass,
    ParserState,
    PluginSpec,
    Replaced,
    ServiceFacts,
)
from trio_afrender.process.task_user import TaskUser

__all__ = (
    "MAX_PLUGIN_FRAME",
    "CallLimits",
    "HostFailure",
    "HostReply",
    "PluginFrameReader",
    "Request",
    "dump_conclusion",
    "dump_error",
    "dump_facts",
    "dump_plugin_settings",
    "dump_spec",
    "dump_state",
    "dump_user",
    "load_classes",
    "load_conclusion",
    "load_error",
    "load_facts",
    "load_plugin_settings",
    "load_spec",
    "load_state",
    "load_text",
    "load_texts",
    "pack",
    "read_reply",
)

MAX_PLUGIN_FRAME = 32 * 1024 * 1024
"""Bytes. The largest thing that travels is the text by which a parser replaced output."""


def pack(message: Mapping[str, object]) -> bytes:
    """One frame. Raises `ProtocolError` when it would be too large."""
    frame = encode(message)
    if len(frame) > MAX_PLUGIN_FRAME:
        raise ProtocolError(f"a frame of {len(frame)} bytes is too large")
    return frame


class PluginFrameReader(FrameReader):
    """Reads the frames of a plugin host or its fork server. Raises `ProtocolError`."""

    def __init__(self) -> None:
        super().__init__(MAX_PLUGIN_FRAME, ProtocolError)


# -- requests and replies ---------------------------------------------------------------------------


@attrs.frozen
class CallLimits:
    """Limits of one plugin host."""

    time: float
    """Seconds for one call."""
    memory: int
    """Bytes that the process may have resident."""
    start: float = 60.0
    """Seconds until a host must be up."""
    exit: float = 0.5
    """Seconds until a host that has closed its socket must have ended by itself."""

    @property
    def check_interval(self) -> float:
        """Seconds between two checks of calls under way."""
        return min(0.25, self.time / 4)


@attrs.frozen(eq=False)
class Request:
    """One request; `load` makes the reply's value and raises `ProtocolError`."""

    op: str
    fields: Mapping[str, object]
    load: Callable[[object], Any]


@attrs.frozen
class HostReply:
    """The reply to a request: a value, or the error that plugin code raised."""

    value: Any = None
    error: PluginError | None = None
    position: int = 0
    """Log offset up to which the run's parser has been fed."""
    problems: tuple[str, ...] = ()


@attrs.frozen
class HostFailure:
    """Why a host is of no further use."""

    text: str
    run: int | None = None
    """The run whose call exceeded a limit; None when the process ended by itself."""
    details: str = ""
    """The stack of the hanging thread, or the end of what the process printed."""
    retired: bool = False
    """Whether nothing is wrong: the host is not needed any more."""


def read_reply(request: Request, message: Mapping[str, object]) -> HostReply:
    """The reply in a message of a host. Raises `ProtocolError`."""
    # By the presence of the key: the value of some requests is null.
    if "error" in message:
        return HostReply(error=load_error(message["error"]))
    position, problems = message.get("position"), message.get("problems")
    if type(position) is not int or not isinstance(problems, list):
        raise ProtocolError("a reply without position or problems")
    return HostReply(
        value=request.load(message.get("value")),
        position=position,
        problems=tuple(map(str, problems)),  # for people: nothing depends on their types
    )


# -- values ---------------------------------------------------------------------------------------


def dump_plugin_settings(settings: PluginSettings) -> dict[str, object]:
    return attrs.asdict(settings)


def load_plugin_settings(value: Mapping[str, Any]) -> PluginSettings:
    """By name: the agent may be of another version when we were updated under it."""
    names = (field.name for field in attrs.fields(PluginSettings))
    fields: dict[str, Any] = {name: _frozen(value[name]) for name in names if name in value}
    return PluginSettings(**fields)


def _frozen(value: object) -> object:
    """JSON's lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def dump_user(user: TaskUser, log: Path) -> dict[str, object]:
    """Return the message about the user that a host becomes, and the log that it then reads."""
    ids = user.ids
    return {
        "ids": [ids.uid, ids.gid, *ids.groups],
        "variables": {"HOME": user.home, "USER": user.name, "LOGNAME": user.name},
        "log": str(log),
    }


def dump_spec(spec: PluginSpec) -> dict[str, object]:
    return {
        "service": spec.service,
        "parser": spec.parser,
        "task_info": dict(spec.task_info),
        "assets": list(spec.assets),
    }


def load_spec(value: Mapping[str, Any]) -> PluginSpec:
    default, above = value["assets"]
    return PluginSpec(
        service=value["service"],
        parser=value["parser"],
        task_info=value["task_info"],
        assets=(default, above),
    )


def dump_error(error: PluginError) -> dict[str, object]:
    # The class by a key that only it has: `load_error` must not look up a name that it was sent.
    value: dict[str, object] = {"text": str(error), "details": error.details}
    if isinstance(error, PluginNotFound):
        value.update(kind=error.kind, name=error.name, near=error.near)
    return value


def load_error(value: object) -> PluginError:
    """Raises `ProtocolError`."""
    fields = _checked(value, _ERROR)
    if "kind" in fields:
        return PluginNotFound(fields["kind"], fields.get("name", ""), fields.get("near", ()))
    return PluginError(fields.get("text", ""), fields.get("details", ""))


def dump_facts(facts: ServiceFacts) -> dict[str, object]:
    # By the same table as `load_facts`, here and below, so that no end can forget a field.
    return {name: getattr(facts, name) for name in _FACTS}


def load_facts(value: object) -> ServiceFacts:
    """Raises `ProtocolError`."""
    fields = _checked(value, _FACTS)
    if missing := [name for name in _NEEDED if name not in fields]:
        raise ProtocolError(f"the facts of a service lack {', '.join(missing)}")
    return ServiceFacts(**fields)


def dump_state(state: ParserState) -> dict[str, object]:
    """What differs from a parser that has seen nothing."""
    value = {name: getattr(state, name) for name in _STATE}
    value["replaced"] = [(part.start, part.end, part.text) for part in state.replaced]
    # Most fields of most states are empty, and a state is sent for each call of a parser.
    return {name: item for name, item in value.items() if item}


def load_state(value: object) -> ParserState:
    """Raises `ProtocolError`."""
    return ParserState(**_checked(value, _STATE))


def dump_conclusion(conclusion: Conclusion) -> dict[str, object]:
    return {name: getattr(conclusion, name) for name in _CONCLUSION}


def load_conclusion(value: object) -> Conclusion:
    """Raises `ProtocolError`, as those that follow."""
    # A verdict that is missing must not make a failed task a good one.
    return Conclusion(**{"exit_ok": False, **_checked(value, _CONCLUSION)})


def load_classes(value: object) -> tuple[ErrorClass, ...]:
    fields = [str, str, bool, int, str]
    # Without the line that matched: a host of an earlier version.
    if not isinstance(value, list) or not all(
        isinstance(one, list) and list(map(type, one)) in (fields, fields[:3]) for one in value
    ):
        raise ProtocolError("the classes of an error are not what they should be")
    return tuple(ErrorClass(*one) for one in value)


def load_text(value: object) -> str:
    return cast("str", _checked({"value": value}, {"value": _TEXT})["value"])


def load_texts(value: object) -> tuple[str, ...]:
    return cast("tuple[str, ...]", _checked({"value": value}, {"value": _texts})["value"])


def _checked(value: object, fields: Mapping[str, Callable[[object], Any]]) -> dict[str, Any]:
    """The fields that are there, each of its type."""
    if not isinstance(value, dict):
        raise ProtocolError("a value is no object")
    made: dict[str, Any] = {}
    # Unknown keys are ignored, and missing ones get their defaults: the host may be of a later version
    # when files were replaced under a running agent.
    for name, make in fields.items():
        try:
            if name in value:
                made[name] = make(value[name])
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"{name} is not what it should be") from error
    return made


def _is(*kinds: type) -> Callable[[object], object]:
    def check(value: object) -> object:
        if type(value) not in kinds:  # exactly: a bool is an int to isinstance
            raise TypeError
        return value

    return check


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(cast("list[str]", value))


def _table(*kinds: type) -> Callable[[object], object]:
    """A table of `kinds`, by names."""

    def check(value: object) -> object:
        if not isinstance(value, dict) or any(type(item) not in kinds for item in value.values()):
            raise TypeError
        return value

    return check


def _replaced(value: object) -> tuple[Replaced, ...]:
    parts = []
    for start, end, text in cast("list[tuple[object, object, object]]", value):
        if type(start) is not int or type(end) is not int or type(text) is not str:
            raise TypeError
        parts.append(Replaced(start=start, end=end, text=text))
    return tuple(parts)


_INT, _FLAG, _TEXT = _is(int), _is(bool), _is(str)
_FACTS: Mapping[str, Callable[[object], Any]] = {
    "working_directory": _TEXT,
    "command": _TEXT,
    "environment": _table(str),
    "files": _texts,
    "secrets": _texts,
    "skip": _FLAG,
    "has_parser": _FLAG,
    "wants_ticks": _FLAG,
    "wants_tail": _FLAG,
    "grace": _is(float, type(None)),
    "limits": _table(int, float),
    "stuck": _table(float, str),
    "checks": _table(str),
    "settled": _FLAG,
    "log": _TEXT,
}
_NEEDED = ("working_directory", "command", "environment")
_STATE: Mapping[str, Callable[[object], Any]] = {
    **dict.fromkeys(("percent", "frame", "percentframe", "consumed"), _INT),
    **dict.fromkeys(("deciding_line", "missing_assets"), _INT),
    **dict.fromkeys(
        ("progress_changed", "warning", "error", "badresult", "fatalerror", "finishedsuccess"),
        _FLAG,
    ),
    **dict.fromkeys(("activity", "report", "resources", "problem", "deciding_text"), _TEXT),
    "missing_names": _texts,
    "masks": _texts,
    "files": _texts,
    "files_onthefly": _texts,
    "replaced": _replaced,
}

_CONCLUSION: Mapping[str, Callable[[object], Any]] = {
    "exit_ok": _FLAG,
    "files_ok": _FLAG,
    "finding": _TEXT,
    "post": _texts,
    "post_limit": _is(int, float),
    "parsed_files": _texts,
    "log": _TEXT,
}
_ERROR: Mapping[str, Callable[[object], Any]] = {
    "text": _TEXT,
    "details": _TEXT,
    "kind": _TEXT,
    "name": _TEXT,
    "near": _texts,
}

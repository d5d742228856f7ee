"""Settings in layers: defaults < files < environment < command line. Each value records its layer.

`load_settings` reads the layers, `make_config` checks ranges and makes the `Config` of an agent.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.config.cgru_files import FileSettings
from trio_afrender.config.convert import SettingValue, check, from_text
from trio_afrender.config.derived import host_name, plugin_folders, server, user_name
from trio_afrender.config.settings import (
    CGRU,
    OTHERS,
    OURS,
    PREFIX,
    SERVICES,
    Config,
    LogSettings,
    find_spec,
    suggest_key,
)
from trio_afrender.config.value_rules import find_problem
from trio_afrender.errors import ConfigError
from trio_afrender.text import show_json
from trio_afrender.user_files import expand_home

__all__ = ("Settings", "load_settings", "make_config", "make_log_settings")

_UNSET = SettingValue(None)
_VARIABLE = "TRIO_AFRENDER__"
"""The prefix of variables for our own keys: ``TRIO_AFRENDER__LIMITS__RUN_TIME``."""
_LOG = f"{PREFIX}log."
_SECTION = PREFIX.removesuffix(".")
_DERIVED = ("name", "user_name", "server")
"""Keys of `Settings.values` that are no keys of files: `config.derived` makes them."""
_KINDS_OF_VALUES = {bool: "bool", int: "int", float: "float", str: "str", list: "list"}
_FIELD_VALUES: Mapping[object, Callable[[Any], object]] = {
    str: str,
    int: int,
    float: float,
    bool: bool,
    Path: Path,
    Path | None: lambda path: Path(path) if path else None,
    tuple[str, ...]: tuple,
    tuple[Path, ...]: lambda paths: tuple(map(Path, paths)),
    tuple[tuple[str, str], ...]: lambda pairs: tuple(map(tuple, pairs)),
    Mapping[str, str]: dict,
}
"""What makes the value of a field from a JSON value, by the type of the field."""
_OPTIONS = {
    "af_store_folder": "--store",
    "trio_afrender.log.file": "--log-file",
    "trio_afrender.log.format": "--log-format",
    "trio_afrender.nimby": "nimby",
    "user_name": "--user",
}
"""Options whose names are not those of their keys."""
_NOT_KEYS = frozenset(
    {
        "CGRU_LOCATION",
        "CGRU_VERSION",
        "CGRU_PYTHONEXE",
        "CGRU_UPDATE_CMD",
        "CGRU_CUSTOM_CONFIG",
        "CGRU_CUSTOM_PYTHONPATH",
        "CGRU_USERNAME",
        "CGRU_HOSTNAME",
        "CGRU_HOME",
        "CGRU_PLATFORM",
    }
)
_SECRET_NAMES = ("*token", "*password*", "*passwd*", "*pswd*", "*secret*", "*_key")
_SECRET_PART = re.compile(r"((?:password|passwd|secret|token)\s*=\s*)[^\s;&]+", re.IGNORECASE)


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """Every value with its layer, and the problems of files and values that were ignored."""

    values: Mapping[str, SettingValue]
    """CGRU's keys by their names, our own as ``trio_afrender.name``, and three that
    `config.derived` makes of several keys: ``name``, ``user_name``, ``server``."""
    files: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    _reading: FileSettings = attrs.field(factory=FileSettings, eq=False, repr=False)

    def place(self, key: str) -> str:
        """Return ``PATH:LINE:COLUMN`` of a value that a file set, else its layer."""
        item = self.values[key]
        from_file = self._reading.origins.get(item.key) == item.origin
        return self._reading.place(item.key) if from_file else item.origin

    def __getitem__(self, key: str) -> object:
        return self.values[key].value

    def shown(self) -> Iterator[tuple[str, SettingValue]]:
        """Yield all values sorted by key; a value whose key names a secret is hidden."""
        for key, setting in sorted(self.values.items()):
            yield key, attrs.evolve(setting, value=_without_secrets(key, setting.value))


def _without_secrets(key: str, value: object) -> object:
    if any(fnmatch.fnmatch(key.lower(), pattern) for pattern in _SECRET_NAMES):
        return "<hidden>"
    if isinstance(value, dict):
        return {name: _without_secrets(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets("", item) for item in value]
    return _SECRET_PART.sub(r"\1<hidden>", value) if isinstance(value, str) else value


def load_settings(
    *,
    environment: Mapping[str, str],
    files: Sequence[Path] = (),
    arguments: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Settings:
    """Read all settings from their layers; blocking.

    `files` are read after CGRU's and must be usable. `arguments` are the texts of ``--<key>
    <value>``, also of studios' keys. `options` are values of named options, by the keys of
    `Settings.values`. Raises `ConfigError`.
    """
    reading = FileSettings()
    _read_cgru_files(reading, environment)
    for path in files:
        reading.read(expand_home(path).absolute(), required=True)
    if name := environment.get("AF_SERVERNAME"):
        # Start scripts of containers set it and write it into the site's file, so it is above the
        # files and below CGRU_AF_SERVERNAME.
        reading.set("af_servername", name, "environment AF_SERVERNAME")
    errors = _Errors()
    _apply_environment(reading, environment, errors)
    if "AF_CMD_PREFIX" in environment:
        # It counts when it is empty, too: that is how one host drops the site's prefix.
        prefix = environment["AF_CMD_PREFIX"]
        reading.set("af_cmdprefix", prefix, "environment AF_CMD_PREFIX")
    arguments = arguments or {}
    for key, text in arguments.items():
        if not key.startswith(PREFIX):
            with errors.caught():
                given = _read_argument(key, text, reading)
                reading.set(key, given.value, given.origin)
    values = {
        key: SettingValue(spec.default, unit=spec.unit)
        for key, spec in {**CGRU, **OURS}.items()
        if spec.kind != SERVICES
    }
    for key, value in reading.values.items():
        if key not in OURS and key != _SECTION:
            unit = CGRU[key].unit if key in CGRU else ""
            values[key] = SettingValue(value, reading.origins[(key,)], unit, (key,))
    with errors.caught():
        section = reading.values.get(_SECTION, {})
        _fill(values, (_SECTION,), section, PREFIX, reading, errors)
    values |= _read_own_variables(environment, errors, reading.problems)
    for key, text in arguments.items():
        if key.startswith(PREFIX):
            with errors.caught():
                values[key] = _read_argument(key, text, reading)
    chosen = {}
    for key, value in (options or {}).items():
        option = _OPTIONS.get(key, "--" + key.removeprefix(PREFIX).replace("_", "-"))
        unit = values.get(key, _UNSET).unit
        chosen[key] = SettingValue(value, f"command line {option}", unit)
    values |= chosen
    values["trio_afrender.plugins"] = plugin_folders(environment, values)
    values["server"] = server(values)
    values["name"] = host_name(environment, values)
    values["user_name"] = chosen.get("user_name") or user_name(environment, values)
    settings = Settings(
        values=values,
        files=tuple(reading.files),
        problems=tuple(reading.problems),
        reading=reading,
    )
    if errors.texts:
        _convert_all(settings, errors)  # for what else is wrong
    errors.raise_all(settings.problems)
    return settings


@attrs.define(slots=True)
class _Errors:
    """Faults of settings, which are reported together."""

    texts: list[str] = attrs.field(factory=list)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Collect a `ConfigError` of the body."""
        try:
            yield
        except ConfigError as error:
            self.texts.append(str(error))

    def raise_all(self, problems: tuple[str, ...] = ()) -> None:
        if self.texts:
            error = ConfigError("\n".join(self.texts))
            error.problems = problems
            raise error


def _read_cgru_files(reading: FileSettings, environment: Mapping[str, str]) -> None:
    location = environment.get("CGRU_LOCATION", "")
    if location:
        _read_named(reading, "CGRU_LOCATION", Path(location) / "config_default.json")
    custom = environment.get("CGRU_CUSTOM_CONFIG", "")
    if custom:
        _read_named(reading, "CGRU_CUSTOM_CONFIG", Path(custom))
    if environment.get("APPDATA"):
        reading.read(Path(environment["APPDATA"]) / "cgru" / "config.json")
    elif environment.get("HOME"):
        reading.read(Path(environment["HOME"]) / ".cgru" / "config.json")


def _read_named(reading: FileSettings, variable: str, path: Path) -> None:
    known = len(reading.files), len(reading.problems)
    reading.read(path)
    if known == (len(reading.files), len(reading.problems)):
        reading.problems.append(f"{variable}: {path} does not exist; ignored")


def _apply_environment(
    reading: FileSettings, environment: Mapping[str, str], errors: _Errors
) -> None:
    """Apply ``CGRU_<KEY>`` for keys that are known or in a file; an empty variable is unset."""
    for variable, text in environment.items():
        key = variable[5:].lower()
        if not variable.startswith("CGRU_") or variable in _NOT_KEYS or not text:
            continue
        # Variables of other programs have this prefix, too: only keys that are known or in a file
        # count. The object ``trio_afrender{}`` cannot be a text.
        if kind := _find_kind(key, reading):
            with errors.caught():
                value = _read_text(kind, text, variable)
                reading.set(key, value, f"environment {variable}")


def _read_own_variables(
    environment: Mapping[str, str], errors: _Errors, problems: list[str]
) -> dict[str, SettingValue]:
    """Return what variables set of our own keys; an empty variable counts as not set."""
    found = {}
    known = {
        _VARIABLE + key.removeprefix(PREFIX).replace(".", "__").upper(): key
        for key, spec in OURS.items()
        if spec.kind != SERVICES
    }
    for variable, text in sorted(environment.items()):
        if not variable.upper().startswith(_VARIABLE):
            near = variable.upper().replace("TRIO_AFRENDER_", _VARIABLE, 1).replace("_", "")
            if meant := [name for name in known if name.replace("_", "") == near]:
                problems.append(f"variable {variable} is not read, did you mean {meant[0]}?")
            continue
        key = known.get(variable.upper())
        if key is None:
            # Of a table by service. Variables are usually in capitals, and services are not: one
            # that has capitals, too, is written as it is, as in
            # TRIO_AFRENDER__LIMITS__SERVICES__Tool__RUN_TIME.
            parts = variable[len(_VARIABLE) :].split("__")
            key = PREFIX + ".".join(part.lower() if part.isupper() else part for part in parts)
        spec = find_spec(key)
        if spec is None or spec.kind == SERVICES:
            near = suggest_key(variable.upper(), known)
            errors.texts.append(f"environment {variable}: no such setting, {near}")
        elif text:
            with errors.caught():
                value = _read_text(spec.kind, text, f"environment {variable}")
                found[key] = SettingValue(value, f"environment {variable}", spec.unit)
    return found


def _find_kind(key: str, reading: FileSettings) -> str:
    """Return the kind of a key of CGRU, or of an unknown one by its value in a file; or nothing."""
    if key in CGRU:
        return CGRU[key].kind
    value = reading.values.get(key)
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        return ""
    return _KINDS_OF_VALUES.get(type(value), "")


def _read_text(kind: str, text: str, source: str) -> object:
    try:
        return from_text(kind, text)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _read_argument(key: str, text: str, reading: FileSettings) -> SettingValue:
    """Return the value of ``--<key> <text>``; our own keys are given by their full names."""
    known = {name for name, spec in OURS.items() if spec.kind != SERVICES}
    unit = ""
    if key.startswith(PREFIX):
        spec = find_spec(key)
        kind = spec.kind if spec is not None and spec.kind != SERVICES else ""
        unit = spec.unit if spec is not None else ""
    else:
        kind = _find_kind(key, reading) or ("str" if key in OTHERS else "")
        known |= {*CGRU, *reading.values}
    if not kind:
        raise ConfigError(f"--{key}: no such setting, {suggest_key(key, known)}")
    return SettingValue(_read_text(kind, text, f"--{key}"), f"command line --{key}", unit)


def _fill(
    values: dict[str, SettingValue],
    where: tuple[str, ...],
    section: object,
    prefix: str,
    reading: FileSettings,
    errors: _Errors,
) -> None:
    """Check the object `section` at the path of keys `where`, and put its settings into `values`.

    `prefix` is that of the keys in `OURS` that the object may set: in a table by service these are
    the keys beside the table. Unknown keys and wrong values are added to `errors`.
    """
    path = ".".join(where)
    known = {key.removeprefix(prefix).partition(".")[0] for key in OURS if key.startswith(prefix)}
    if f"{path}." != prefix:
        known.discard(SERVICES)
    for name, value in _items(section, where, reading):
        inside = (*where, name)
        with errors.caught():
            if name not in known:
                near = suggest_key(name, known)
                raise ConfigError(f'{reading.place(inside)}: no setting "{name}" in {path}, {near}')
            spec = OURS.get(prefix + name)
            if spec is None:
                _fill(values, inside, value, f"{prefix}{name}.", reading, errors)
            elif spec.kind == SERVICES:
                for service, entry in _items(value, inside, reading):
                    _fill(values, (*inside, service), entry, prefix, reading, errors)
            else:
                origin = reading.origins[inside]
                try:
                    checked = check(spec.kind, value, Path(origin.removeprefix("file ")).parent)
                except ConfigError as error:
                    place = f"{reading.place(inside)}: {path}.{name}"
                    raise ConfigError(f"{place}: {error}") from error
                values[f"{path}.{name}"] = SettingValue(checked, origin, spec.unit, inside)


def _items(
    section: object, where: tuple[str, ...], reading: FileSettings
) -> Iterable[tuple[str, object]]:
    if not isinstance(section, dict):
        raise ConfigError(f'{reading.place(where)}: "{".".join(where)}" must be an object')
    return section.items()


def make_config(settings: Settings) -> Config:
    """Return the settings of an agent without the token, which the caller reads from its file.

    Raises `ConfigError` for a value that is not valid, with the key and the layer that set it.
    """
    errors = _Errors()
    fields = _convert_all(settings, errors)
    errors.raise_all()
    return Config(**fields)


def make_log_settings(settings: Settings) -> LogSettings:
    """Return the settings of a program's log. Raises `ConfigError` as `make_config` does."""
    errors = _Errors()
    fields = _make_section(LogSettings, _LOG, settings, errors)
    errors.raise_all()
    return LogSettings(**fields)


def _convert_all(settings: Settings, errors: _Errors) -> dict[str, Any]:
    """Return the fields of `Config`, without those that are added to `errors`."""
    tables: dict[str, dict[str, dict[str, object]]] = {"limits": {}, "stuck": {}, "checks": {}}
    for key, item in settings.values.items():
        section, _, path = key.removeprefix(PREFIX).partition(f".{SERVICES}.")
        if key.startswith(PREFIX) and path:
            service, _, name = path.rpartition(".")
            if _is_good(key, item.value, type(item.value), settings, errors):
                tables[section].setdefault(service, {})[name] = item.value
    others = {
        key: item.value
        for key, item in settings.values.items()
        if not key.startswith(PREFIX) and key not in _DERIVED
    }
    if not settings["name"]:
        errors.texts.append(f"{settings.place('name')}: name must not be empty: give --name")
    else:
        declared = attrs.fields(Config).name.metadata
        _is_good("name", settings["name"], str, settings, errors, declared)
    _make_section(LogSettings, _LOG, settings, errors)  # for their faults alone
    made = _make_section(Config, PREFIX, settings, errors)
    return {
        **made,
        **{key: settings[key] for key in _DERIVED},
        "meters": tuple(filter(None, made.get("meters", ()))),
        "variables": others,
        "service_limits": tables["limits"],
        "service_stuck": tables["stuck"],
        "service_checks": tables["checks"],
    }


def _make_section(
    section: type[attrs.AttrsInstance], prefix: str, settings: Settings, errors: _Errors
) -> dict[str, Any]:
    """Return the fields of a class of settings that are set by one key each."""
    fields: dict[str, Any] = {}
    for field in attrs.fields(section):
        if attrs.has(field.type):
            before = len(errors.texts)
            inner = _make_section(field.type, f"{prefix}{field.name}.", settings, errors)
            if len(errors.texts) == before:
                fields[field.name] = field.type(**inner)
        elif field.metadata and field.type in _FIELD_VALUES and field.name not in _DERIVED:
            key = field.metadata.get("key", prefix + field.name)
            if field.metadata.get("kind") == "str":  # words, split by spaces
                value: object = tuple(str(settings[key]).split())
            else:
                value = _FIELD_VALUES[field.type](settings[key])
            if _is_good(key, value, field.type, settings, errors, field.metadata):
                fields[field.name] = value
    return fields


def _is_good(
    key: str,
    value: object,
    kind: object,
    settings: Settings,
    errors: _Errors,
    declared: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a value is valid; else its fault is added to `errors`."""
    if declared is None:
        spec = find_spec(key)
        declared = attrs.asdict(spec) if spec is not None else {}
    problem = find_problem(kind, value, declared)
    if problem:
        got = show_json(settings[key])
        errors.texts.append(f"{settings.place(key)}: {key}: expected {problem}, got {got}")
    return not problem

"""Settings in layers: defaults < files < environment < command line. Each value records its layer."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from trio_afrender.config.cgru_files import FileSettings
from trio_afrender.config.convert import SettingValue, check, from_text
from trio_afrender.config.derived import host_name, plugin_folders, server, user_name
from trio_afrender.config.keys import CGRU, NESTED, OTHERS, OURS, SERVICES, Key, suggest_key
from trio_afrender.errors import ConfigError

__all__ = ("Settings", "load_settings")

_UNSET = SettingValue(None)
_OWN = "trio_afrender."
"""The prefix of keys of the section ``trio_afrender{}``, "our own keys" below."""
_OPTIONS = {"af_store_folder": "--store", "trio_afrender.nimby": "nimby", "user_name": "--user"}
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
        reading.read(Path.cwd() / path.expanduser(), required=True)
    if name := environment.get("AF_SERVERNAME"):
        # Start scripts of containers set it and write it into the site's file, so it is above the
        # files and below CGRU_AF_SERVERNAME.
        reading.set("af_servername", name, "environment AF_SERVERNAME")
    _apply_environment(reading, environment)
    if "AF_CMD_PREFIX" in environment:
        # It counts when it is empty, too: that is how one host drops the site's prefix.
        prefix = environment["AF_CMD_PREFIX"]
        reading.set("af_cmdprefix", prefix, "environment AF_CMD_PREFIX")
    _apply_arguments(reading, arguments or {})
    values = {key: SettingValue(known.default, unit=known.unit) for key, known in CGRU.items()}
    for key, value in reading.values.items():
        if key != "trio_afrender":
            unit = CGRU[key].unit if key in CGRU else ""
            values[key] = SettingValue(value, reading.origins[(key,)], unit)
    values |= {
        key: SettingValue(known.default, unit=known.unit) for key, known in _own_keys().items()
    }
    _fill(values, ("trio_afrender",), reading.values.get("trio_afrender", {}), OURS, reading)
    values |= _read_own_arguments(arguments or {})
    given = {}
    for key, value in (options or {}).items():
        option = _OPTIONS.get(key, "--" + key.removeprefix(_OWN).replace("_", "-"))
        unit = values.get(key, _UNSET).unit
        given[key] = SettingValue(value, f"command line {option}", unit)
    values |= given
    values["trio_afrender.plugins"] = plugin_folders(environment, values)
    values["server"] = server(values)
    values["name"] = host_name(environment, values)
    values["user_name"] = given.get("user_name") or user_name(environment, values)
    return Settings(values=values, files=tuple(reading.files), problems=tuple(reading.problems))


def _read_cgru_files(reading: FileSettings, environment: Mapping[str, str]) -> None:
    location = environment.get("CGRU_LOCATION", "")
    if location:
        first = Path(location) / "config_default.json"
        reading.read(first)
        if not first.exists():
            reading.problems.append(f"CGRU_LOCATION: {first} does not exist; ignored")
    custom = environment.get("CGRU_CUSTOM_CONFIG", "")
    if custom:
        reading.read(Path(custom))
        if not Path(custom).exists():
            reading.problems.append(f"CGRU_CUSTOM_CONFIG: {custom} does not exist; ignored")
    if environment.get("APPDATA"):
        reading.read(Path(environment["APPDATA"]) / "cgru" / "config.json")
    elif environment.get("HOME"):
        reading.read(Path(environment["HOME"]) / ".cgru" / "config.json")


def _apply_environment(reading: FileSettings, environment: Mapping[str, str]) -> None:
    """Apply ``CGRU_<KEY>`` for keys that are known or in a file; an empty variable is unset."""
    for variable, text in environment.items():
        key = variable[5:].lower()
        if not variable.startswith("CGRU_") or variable in _NOT_KEYS or not text:
            continue
        # Variables of other programs have this prefix, too: only keys that are known or in a file
        # count. The object ``trio_afrender{}`` cannot be a text.
        known = CGRU.get(key) or _guess_kind(reading.values.get(key))
        if known is not None and key != "trio_afrender":
            try:
                reading.set(key, from_text(known, text), f"environment {variable}")
            except ConfigError as error:
                raise ConfigError(f"{variable}: {error}") from error


def _guess_kind(value: object) -> Key | None:
    """Return the kind of an unknown key from the value it has in a file; None: not settable."""
    match value:
        case bool():
            return Key("bool", None)
        case int():
            return Key("int", None)
        case float():
            return Key("float", None)
        case str():
            return Key("str", None)
        case list() if all(isinstance(item, str) for item in value):
            return Key("list", None)
        case _:
            return None


def _apply_arguments(reading: FileSettings, arguments: Mapping[str, str]) -> None:
    for key, text in arguments.items():
        if key.startswith(_OWN):
            continue
        known = CGRU.get(key) or _guess_kind(reading.values.get(key))
        if known is None and key in OTHERS:
            known = Key("str", "")
        if known is None:
            near = suggest_key(key, {*CGRU, *reading.values, *_own_keys()})
            raise ConfigError(f"--{key}: no such setting, {near}")
        reading.set(key, _argument_value(key, known, text), f"command line --{key}")


def _argument_value(key: str, known: Key, text: str) -> object:
    try:
        return from_text(known, text)
    except ConfigError as error:
        raise ConfigError(f"--{key}: {error}") from error


def _read_own_arguments(arguments: Mapping[str, str]) -> dict[str, SettingValue]:
    """Return our own keys given by their full names, as ``--trio_afrender.max_tasks 2``."""
    keys, values = _own_keys(), {}
    for key, text in arguments.items():
        if key.startswith(_OWN):
            if key not in keys:
                raise ConfigError(f"--{key}: no such setting, {suggest_key(key, keys)}")
            value = _argument_value(key, keys[key], text)
            values[key] = SettingValue(value, f"command line --{key}", keys[key].unit)
    return values


def _own_keys() -> dict[str, Key]:
    """Return our own keys by their full names, without the tables by service."""
    keys = {f"{_OWN}{key}": known for key, known in OURS.items() if known.kind not in NESTED}
    return keys | {
        f"{_OWN}{kind}.{key}": known
        for kind, nested in NESTED.items()
        for key, known in nested.items()
        if known.kind != SERVICES
    }


def _fill(
    values: dict[str, SettingValue],
    where: tuple[str, ...],
    section: object,
    known: Mapping[str, Key],
    reading: FileSettings,
) -> None:
    """Check the object `section` at the path of keys `where`, and put its settings into `values`.

    Raises `ConfigError` for an unknown key or a wrong value.
    """
    path = ".".join(where)
    if not isinstance(section, dict):
        raise ConfigError(f'{reading.origins[where]}: "{path}" must be an object')
    for name, value in section.items():
        origin = reading.origins[(*where, name)]
        if name not in known:
            near = suggest_key(name, known)
            raise ConfigError(f'{origin}: no setting "{name}" in {path}, {near}')
        if known[name].kind in NESTED:
            _fill(values, (*where, name), value, NESTED[known[name].kind], reading)
            continue
        if known[name].kind == SERVICES:
            _fill_services(values, (*where, name), value, known, reading)
            continue
        folder = Path(origin.removeprefix("file ")).parent
        try:
            checked = check(known[name], value, folder)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {path}.{name}: {error}") from error
        values[f"{path}.{name}"] = SettingValue(checked, origin, known[name].unit)


def _fill_services(
    values: dict[str, SettingValue],
    where: tuple[str, ...],
    table: object,
    known: Mapping[str, Key],
    reading: FileSettings,
) -> None:
    """Do the same for each entry of a table by service, which may set the keys beside the table."""
    if not isinstance(table, dict):
        path = ".".join(where)
        raise ConfigError(f'{reading.origins[where]}: "{path}" must be an object')
    keys = {name: key for name, key in known.items() if key.kind != SERVICES}
    for service, section in table.items():
        _fill(values, (*where, service), section, keys, reading)

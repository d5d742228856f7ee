"""Defaults, files, environment and command line, one over the other; each value knows its layer."""

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
    """Every value with its layer, and what was wrong with files that could be passed over."""

    values: Mapping[str, SettingValue]
    """CGRU's keys by their names, ours as ``trio_afrender.name``; and what several keys make
    together: ``name``, ``user_name``, ``server``."""
    files: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> object:
        return self.values[key].value

    def shown(self) -> Iterator[tuple[str, SettingValue]]:
        """Yield all values in order, those whose name tells of a secret blotted out."""
        for key, layered in sorted(self.values.items()):
            yield key, attrs.evolve(layered, value=_without_secrets(key, layered.value))


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
    """Read everything that can be set.

    `files` are read over CGRU's and must be usable; `arguments` are ``--<key> <value>`` texts of
    CGRU's keys; `options` are values of the command line by the keys of `Settings.values`, each
    named after its option. Raises `ConfigError`.
    """
    reading = FileSettings()
    _read_cgru_files(reading, environment)
    for path in files:
        reading.read(Path.cwd() / path.expanduser(), required=True)
    _apply_users_variables(reading, environment)
    _apply_environment(reading, environment)
    _apply_prefix(reading, environment)
    _apply_arguments(reading, arguments or {})
    values = {key: SettingValue(known.default, unit=known.unit) for key, known in CGRU.items()}
    for key, value in reading.values.items():
        if key != "trio_afrender":
            unit = CGRU[key].unit if key in CGRU else ""
            values[key] = SettingValue(value, reading.origins[(key,)], unit)
    values |= _own(reading)
    values |= _typed_own(arguments or {})
    typed = {
        key: SettingValue(value, f"command line {_option(key)}", values.get(key, _UNSET).unit)
        for key, value in (options or {}).items()
    }
    values |= typed
    values["trio_afrender.plugins"] = plugin_folders(environment, values)
    values["server"] = server(values)
    values["name"] = host_name(environment, values)
    values["user_name"] = typed.get("user_name") or user_name(environment, values)
    return Settings(values=values, files=tuple(reading.files), problems=tuple(reading.problems))


def _read_cgru_files(reading: FileSettings, environment: Mapping[str, str]) -> None:
    location = environment.get("CGRU_LOCATION", "")
    if location:
        first = Path(location) / "config_default.json"
        reading.read(first)
        if not first.exists():
            reading.problems.append(f"CGRU_LOCATION: {first} does not exist; passed over")
    custom = environment.get("CGRU_CUSTOM_CONFIG", "")
    if custom:
        reading.read(Path(custom))
        if not Path(custom).exists():
            reading.problems.append(f"CGRU_CUSTOM_CONFIG: {custom} does not exist; passed over")
    if environment.get("APPDATA"):
        reading.read(Path(environment["APPDATA"]) / "cgru" / "config.json")
    elif environment.get("HOME"):
        reading.read(Path(environment["HOME"]) / ".cgru" / "config.json")


def _apply_environment(reading: FileSettings, environment: Mapping[str, str]) -> None:
    """Only keys that are known, or stand in a file, can be set; an empty variable is not set."""
    for variable, text in environment.items():
        key = variable[5:].lower()
        if not variable.startswith("CGRU_") or variable in _NOT_KEYS or not text:
            continue
        known = CGRU.get(key) or _like(reading.values.get(key))
        if known is not None and key != "trio_afrender":
            try:
                reading.set(key, from_text(known, text), f"environment {variable}")
            except ConfigError as error:
                raise ConfigError(f"{variable}: {error}") from error


def _apply_users_variables(reading: FileSettings, environment: Mapping[str, str]) -> None:
    """``AF_SERVERNAME`` is the word of container start scripts, which write it into the site's
    file: it stands over the files and below ``CGRU_AF_SERVERNAME``."""
    if environment.get("AF_SERVERNAME"):
        name = environment["AF_SERVERNAME"]
        reading.set("af_servername", name, "environment AF_SERVERNAME")


def _apply_prefix(reading: FileSettings, environment: Mapping[str, str]) -> None:
    """``AF_CMD_PREFIX`` wins over the key by being there, empty too."""
    if "AF_CMD_PREFIX" in environment:
        prefix = environment["AF_CMD_PREFIX"]
        reading.set("af_cmdprefix", prefix, "environment AF_CMD_PREFIX")


def _like(value: object) -> Key | None:
    """Return the kind of a key that we do not know from the value it has in a file."""
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
        known = CGRU.get(key) or _like(reading.values.get(key))
        if known is None and key in OTHERS:
            known = Key("str", "")
        if known is None:
            near = suggest_key(key, {*CGRU, *reading.values, *_own_keys()})
            raise ConfigError(f"--{key}: no such setting, {near}")
        reading.set(key, _typed(key, known, text), f"command line --{key}")


def _typed(key: str, known: Key, text: str) -> object:
    try:
        return from_text(known, text)
    except ConfigError as error:
        raise ConfigError(f"--{key}: {error}") from error


def _typed_own(arguments: Mapping[str, str]) -> dict[str, SettingValue]:
    """Return those of our own keys that are typed in full, as ``--trio_afrender.max_tasks 2``."""
    keys, values = _own_keys(), {}
    for key, text in arguments.items():
        if key.startswith(_OWN):
            if key not in keys:
                raise ConfigError(f"--{key}: no such setting, {suggest_key(key, keys)}")
            value = _typed(key, keys[key], text)
            values[key] = SettingValue(value, f"command line --{key}", keys[key].unit)
    return values


def _own_keys() -> dict[str, Key]:
    """Our own keys by their full names, but for tables by service."""
    keys = {f"{_OWN}{key}": known for key, known in OURS.items() if known.kind not in NESTED}
    return keys | {
        f"{_OWN}{kind}.{key}": known
        for kind, nested in NESTED.items()
        for key, known in nested.items()
        if known.kind != SERVICES
    }


def _own(reading: FileSettings) -> dict[str, SettingValue]:
    """Return our own section, where a name we do not know is an error."""
    values = {
        key: SettingValue(known.default, unit=known.unit) for key, known in _own_keys().items()
    }
    _fill(values, ("trio_afrender",), reading.values.get("trio_afrender", {}), OURS, reading)
    return values


def _fill(
    values: dict[str, SettingValue],
    where: tuple[str, ...],
    section: object,
    known: Mapping[str, Key],
    reading: FileSettings,
) -> None:
    place = ".".join(where)
    if not isinstance(section, dict):
        raise ConfigError(f'{reading.origins[where]}: "{place}" must be an object')
    for name, value in section.items():
        origin = reading.origins[(*where, name)]
        if name not in known:
            near = suggest_key(name, known)
            raise ConfigError(f'{origin}: no setting "{name}" in {place}, {near}')
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
            raise ConfigError(f"{origin}: {place}.{name}: {error}") from error
        values[f"{place}.{name}"] = SettingValue(checked, origin, known[name].unit)


def _fill_services(
    values: dict[str, SettingValue],
    where: tuple[str, ...],
    table: object,
    known: Mapping[str, Key],
    reading: FileSettings,
) -> None:
    """Take what a table by services' names sets: the keys that stand beside it."""
    if not isinstance(table, dict):
        place = ".".join(where)
        raise ConfigError(f'{reading.origins[where]}: "{place}" must be an object')
    keys = {name: key for name, key in known.items() if key.kind != SERVICES}
    for service, section in table.items():
        _fill(values, (*where, service), section, keys, reading)


def _option(key: str) -> str:
    names = {
        "af_store_folder": "--store",
        "trio_afrender.nimby": "nimby",
        "user_name": "--user",
    }
    return names.get(key, "--" + key.removeprefix("trio_afrender.").replace("_", "-"))

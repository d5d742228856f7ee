"""Defaults, files, environment and command line, one over the other; each value knows its layer."""

from __future__ import annotations

import fnmatch
import getpass
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from trio_afrender.config.cgru import Reading
from trio_afrender.config.keys import CGRU, NESTED, OTHERS, OURS, Key, near_key
from trio_afrender.config.values import check, from_text
from trio_afrender.errors import ConfigError

__all__ = ("Layered", "Settings", "load_settings")

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
_SECRET_NAMES = ("*token", "*password*", "*secret*", "*_key")
_SECRET_PART = re.compile(r"((?:password|passwd|secret|token)\s*=\s*)[^\s;&]+", re.IGNORECASE)


@attrs.frozen(slots=True)
class Layered:
    """A value, its unit, and where it was set."""

    value: object
    origin: str = "default"
    unit: str = ""


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """Every value with its layer, and what was wrong with files that could be passed over."""

    values: Mapping[str, Layered]
    """CGRU's keys by their names, ours as ``trio_afrender.name``, and ``name``, ``user_name``."""
    files: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> object:
        return self.values[key].value

    def shown(self) -> Iterator[tuple[str, Layered]]:
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
    reading = Reading()
    _read_cgru_files(reading, environment)
    for path in files:
        reading.read(Path.cwd() / path.expanduser(), required=True)
    _apply_environment(reading, environment)
    _apply_arguments(reading, arguments or {})
    values = {key: Layered(known.default, unit=known.unit) for key, known in CGRU.items()}
    for key, value in reading.values.items():
        if key != "trio_afrender":
            unit = CGRU[key].unit if key in CGRU else ""
            values[key] = Layered(value, reading.origins[(key,)], unit)
    values |= _own(reading)
    values |= {
        key: attrs.evolve(values[key], value=value, origin=f"command line {_option(key)}")
        for key, value in (options or {}).items()
    }
    values["name"] = _host_name(environment, values)
    values["user_name"] = _user_name(environment, values)
    return Settings(values=values, files=tuple(reading.files), problems=tuple(reading.problems))


def _read_cgru_files(reading: Reading, environment: Mapping[str, str]) -> None:
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


def _apply_environment(reading: Reading, environment: Mapping[str, str]) -> None:
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


def _apply_arguments(reading: Reading, arguments: Mapping[str, str]) -> None:
    for key, text in arguments.items():
        known = CGRU.get(key) or _like(reading.values.get(key))
        if known is None and key in OTHERS:
            known = Key("str", "")
        if known is None:
            raise ConfigError(f"--{key}: no such setting, {near_key(key, CGRU)}")
        try:
            reading.set(key, from_text(known, text), f"command line --{key}")
        except ConfigError as error:
            raise ConfigError(f"--{key}: {error}") from error


def _own(reading: Reading) -> dict[str, Layered]:
    """Return our own section, where a name we do not know is an error."""
    values = {
        f"trio_afrender.{key}": Layered(known.default, unit=known.unit)
        for key, known in OURS.items()
        if known.kind not in NESTED
    }
    values |= {
        f"trio_afrender.{kind}.{key}": Layered(known.default, unit=known.unit)
        for kind, keys in NESTED.items()
        for key, known in keys.items()
    }
    _fill(values, ("trio_afrender",), reading.values.get("trio_afrender", {}), OURS, reading)
    return values


def _fill(
    values: dict[str, Layered],
    where: tuple[str, ...],
    section: object,
    known: Mapping[str, Key],
    reading: Reading,
) -> None:
    place = ".".join(where)
    if not isinstance(section, dict):
        raise ConfigError(f'{reading.origins[where]}: "{place}" must be an object')
    for name, value in section.items():
        origin = reading.origins[(*where, name)]
        if name not in known:
            near = near_key(name, known)
            raise ConfigError(f'{origin}: no setting "{name}" in {place}, {near}')
        if known[name].kind in NESTED:
            _fill(values, (*where, name), value, NESTED[known[name].kind], reading)
            continue
        folder = Path(origin.removeprefix("file ")).parent
        try:
            checked = check(known[name], value, folder)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {place}.{name}: {error}") from error
        values[f"{place}.{name}"] = Layered(checked, origin, known[name].unit)


def _option(key: str) -> str:
    names = {"af_store_folder": "--store", "trio_afrender.nimby": "nimby"}
    return names.get(key, "--" + key.removeprefix("trio_afrender.").replace("_", "-"))


def _host_name(environment: Mapping[str, str], values: Mapping[str, Layered]) -> Layered:
    own = values["trio_afrender.name"]
    if own.value and own.origin.startswith("command line"):
        return own
    if environment.get("AF_HOSTNAME"):
        return Layered(environment["AF_HOSTNAME"], "environment AF_HOSTNAME")
    if own.value:
        return own
    name = environment.get("HOSTNAME") or environment.get("COMPUTERNAME") or platform.node()
    name = name.lower()
    if values["af_render_cut_domain_name"].value:
        name = name.partition(".")[0]
    return Layered(name, "this computer's name")


def _user_name(environment: Mapping[str, str], values: Mapping[str, Layered]) -> Layered:
    for variable in ("AF_USERNAME", "CGRU_USERNAME"):
        if environment.get(variable):
            return Layered(environment[variable], f"environment {variable}")
    name = environment.get("USER") or environment.get("USERNAME") or _login()
    if values["af_user_cut_domain_name"].value:
        name = name.rpartition("/" if "/" in name else "\\")[2]
    return Layered(name.lower(), "this login's name")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"

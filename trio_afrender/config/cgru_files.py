"""Reads CGRU's config files unchanged: platform sections, includes, merging, problems.

CGRU has two readers, which differ; this one accepts what either accepts. A file that cannot be
read becomes a problem with a message, and the other files still count. The origin of each value
is recorded.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.config.convert import check, is_pair
from trio_afrender.config.json_positions import find_keys, make_locator
from trio_afrender.config.settings import CGRU
from trio_afrender.errors import ConfigError, is_exhausted
from trio_afrender.text import refuse_constant

__all__ = ("FileSettings", "parse_file", "platform_tokens")

_MAX_BYTES = 16 * 1024 * 1024
_MAX_DEPTH = 100
"""Objects and lists inside of each other; what reads settings calls itself for each of them."""
_SHIPPED = "config_default.json"
"""The name of files that CGRU ships. They include files of the site that need not exist."""
_ARCHITECTURES = {"aarch64": "aarch64", "arm64": "aarch64", "armv7l": "arm32", "armv6l": "arm32"}


def platform_tokens() -> tuple[str, ...]:
    """Return the tokens of the ``OS_<token>`` sections that count on this host; later ones win."""
    system = platform.system()
    tokens = ["windows"] if system == "Windows" else ["unix"]
    tokens += {"Darwin": ["macosx"], "Linux": ["linux"]}.get(system, [])
    machine = platform.machine().lower()
    tokens.append(_ARCHITECTURES.get(machine, "64" if "64" in machine else "32"))
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    tokens += [release[key].lower() for key in ("ID", "VERSION_ID") if release.get(key)]
    return tuple(tokens)


@attrs.define(slots=True)
class FileSettings:
    """The values read so far, the origin of each (by its path of keys), and problems."""

    tokens: Sequence[str] = attrs.field(factory=platform_tokens)
    values: dict[str, object] = attrs.field(factory=dict)
    origins: dict[tuple[str, ...], str] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    files: list[Path] = attrs.field(factory=list)
    """The files that were used, in the order of reading."""
    _seen: set[str] = attrs.field(factory=set)
    _places: dict[str, dict[tuple[str, ...], str]] = attrs.field(factory=dict)
    """By file: ``LINE:COLUMN`` of its keys, once one of them was asked for."""

    def read(self, path: Path, *, required: bool = False) -> None:
        """Merge a file, and then its includes, over the present values.

        A missing file is ignored and an unusable one added to `problems`. With `required` both
        raise `ConfigError`. Includes that are missing or unusable are added to `problems`. A host
        without a free descriptor or memory raises in any case: what the file sets is not known.
        """
        if required:  # an option may name a file that was also found in its usual place
            self._seen.discard(str(path))
        try:
            self._read(path, required=required)
        except ConfigError as error:
            if required or is_exhausted(error):
                raise
            self.problems.append(str(error))

    def _read(self, path: Path, *, required: bool) -> None:
        if str(path) in self._seen:
            # An include of an including file would recurse for ever.
            raise ConfigError(f"config file {path} was already read; the second time is ignored")
        self._seen.add(str(path))
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)  # it may be a device without an end
        except FileNotFoundError:
            if required:
                raise ConfigError(f"config file {path} does not exist") from None
            return
        except OSError as error:
            raise ConfigError(f"config file {path} cannot be read: {error.strerror}") from error
        except ValueError as error:  # the path contains NUL or a lone surrogate
            raise ConfigError(f"config file {str(path)!r} cannot be read: {error}") from error
        own = parse_file(data, path, self.tokens, self.problems)
        self.files.append(path)
        includes = own.pop("include", [])
        for key, value in own.items():
            kind = CGRU[key].kind if key in CGRU else ""
            if kind == "pairs":
                value = self._good_pairs(key, value, path)
            try:
                checked = check(kind, value, path.parent) if kind else value
            except ConfigError as error:
                # The value of an earlier file stays, as in CGRU's reader, which does not report it.
                self.problems.append(f"{self._find(path, (key,))}: {key}: {error}; ignored")
            else:
                self._put((key,), checked, f"file {path}")
        if isinstance(includes, list) and all(isinstance(name, str) for name in includes):
            for name in filter(None, includes):
                self._include(Path(os.path.normpath(path.parent / name)), path)
        else:
            place = self._find(path, ("include",))
            self.problems.append(f'{place}: "include" must be a list of file names; ignored')

    def _include(self, included: Path, path: Path) -> None:
        known = len(self.files), len(self.problems)
        self.read(included)
        missing = known == (len(self.files), len(self.problems))
        if missing and path.name != _SHIPPED:
            place = self._find(path, ("include",))
            self.problems.append(f"{place}: include: {included} does not exist; ignored")

    def place(self, where: tuple[str, ...]) -> str:
        """Return ``PATH:LINE:COLUMN`` of a value that a file set, else its origin."""
        origin = self.origins[where]
        path = origin.removeprefix("file ")
        return self._find(Path(path), where) if path != origin else origin

    def _find(self, path: Path, where: tuple[str, ...]) -> str:
        """Return ``PATH:LINE:COLUMN`` of a key, or the path if the file has changed since."""
        if str(path) not in self._places:
            found: dict[tuple[str, ...], str] = {}
            # The file may have changed since; a pipe, as a shell's <(...), has been read already.
            with suppress(OSError, ValueError, IndexError):
                if path.is_file():
                    found = _find_places(path.read_bytes().decode("utf-8-sig"), self.tokens)
            self._places[str(path)] = found
        place = self._places[str(path)].get(where, "")
        return f"{path}:{place}" if place else str(path)

    def _good_pairs(self, key: str, pairs: object, path: Path) -> object:
        """Return the pairs before the first bad one, as CGRU's reader does."""
        if not isinstance(pairs, list):
            return pairs
        for index, pair in enumerate(pairs):
            if not is_pair(pair):
                self.problems.append(
                    f"{self._find(path, (key,))}: {key}[{index}]: expected a pair of strings; ignored with all after it"
                )
                return pairs[:index]
        return pairs

    def _put(self, where: tuple[str, ...], value: object, origin: str) -> None:
        """Merge objects key by key; replace everything else."""
        into = self.values
        for key in where[:-1]:
            inner = into[key]
            assert isinstance(inner, dict)  # noqa: S101 - the call for the parent put it there
            into = inner
        old = into.get(where[-1])
        self.origins[where] = origin
        if isinstance(value, dict) and isinstance(old, dict):
            for name, item in value.items():
                self._put((*where, name), item, origin)
            return
        # The value replaces an object or the reverse: origins of the old object's keys are void.
        depth = len(where)
        self.origins = {k: v for k, v in self.origins.items() if k[:depth] != where or k == where}
        into[where[-1]] = {} if isinstance(value, dict) else value
        if isinstance(value, dict):
            self._put(where, value, origin)

    def set(self, key: str, value: object, origin: str) -> None:
        """Set one value over everything read so far (for the environment, the command line)."""
        self.values[key] = value
        self.origins[(key,)] = origin


def parse_file(
    data: bytes, path: Path, tokens: Sequence[str], problems: list[str]
) -> dict[str, object]:
    """Return the keys that a file sets on this platform; keys that stand twice go to `problems`.

    Raises `ConfigError` with the path, and for bad JSON with line and column.
    """
    repeated = False

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made = dict(pairs)
        repeated = repeated or len(made) < len(pairs)
        return made

    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes, the limit for a config file")
    try:
        # Editors on Windows write a byte order mark; Python reads NaN, which JSON does not have.
        root = json.loads(
            data.decode("utf-8-sig"),
            parse_constant=refuse_constant,
            object_pairs_hook=make_object,
        )
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(_explain_json(error, path)) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if _is_deeper(root, _MAX_DEPTH):
        raise ConfigError(f"{path}: nested too deeply")
    if not isinstance(root, dict):
        raise ConfigError(f"{path}: not a JSON object")
    own = root.get("cgru_config", {})
    if not isinstance(own, dict):
        raise ConfigError(f'{path}: "cgru_config" is not an object')
    if root and "cgru_config" not in root:
        raise ConfigError(f'{path}: has no object "cgru_config"')
    if repeated:
        problems += _find_repeated(data.decode("utf-8-sig"), path)
    return _filtered(own, tokens)


def _is_deeper(value: object, most: int) -> bool:
    """Whether more than `most` objects and lists are inside of each other."""
    level = [value]
    for _ in range(most + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _explain_json(error: json.JSONDecodeError, path: Path) -> str:
    """Name the place of a fault, and how the two common ones of files edited by hand are corrected."""
    before = error.doc[: error.pos].rstrip()
    here = error.doc[error.pos : error.pos + 2]
    hint = ""
    if here in ("//", "/*") or here[:1] == "#":
        hint = ' (JSON has no comments: write the text as the value of a key "")'
    elif before.endswith(",") and here[:1] in ("}", "]"):
        hint = " (remove the comma before the closing bracket)"
    return f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}{hint}"


def _find_repeated(text: str, path: Path) -> Iterator[str]:
    """Yield a sentence for each key that replaces one of its own object."""
    seen: dict[tuple[str, ...], int] = {}
    locate = make_locator(text)
    for where, offset in find_keys(text):
        # Keys that are empty or begin with "-" are comments; objects of a list have the same path.
        comment = any(not key or key.startswith("-") for key in where)
        if where in seen and not comment and "[]" not in where:
            line = locate(seen[where]).partition(":")[0]
            yield (
                f'{path}:{locate(offset)}: "{where[-1]}" stands in line {line} already; this one counts'
            )
        seen[where] = offset


def _find_places(text: str, tokens: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Return ``LINE:COLUMN`` of the keys that count on this platform, by their paths."""
    found: dict[tuple[str, ...], tuple[tuple[int, ...], int]] = {}
    for (root, *keys), offset in find_keys(text):
        sections = [key[3:].lower() for key in keys if key.startswith("OS_")]
        if root != "cgru_config" or not all(section in tokens for section in sections):
            continue
        where = tuple(key for key in keys if not key.startswith("OS_"))
        rank = tuple(tokens.index(section) for section in sections)
        if where not in found or rank >= found[where][0]:
            found[where] = rank, offset
    locate = make_locator(text)
    return {where: locate(offset) for where, (_, offset) in found.items()}


def _filtered(own: Mapping[str, object], tokens: Sequence[str]) -> dict[str, object]:
    """Drop comments (key ``""``) and disabled keys (``-key``); merge matching platform sections
    over the plain keys."""
    plain: dict[str, object] = {}
    for key, value in own.items():
        if key and not key.startswith(("-", "OS_")):
            plain[key] = _filtered(value, tokens) if isinstance(value, dict) else value
    # By token, not in the order of the file: a more specific section wins (OS_linux over OS_unix).
    for token in tokens:
        for key, value in own.items():
            if key.startswith("OS_") and key[3:].lower() == token and isinstance(value, dict):
                _overlay(plain, _filtered(value, tokens))
    return plain


def _overlay(below: dict[str, object], above: Mapping[str, object]) -> None:
    for key, value in above.items():
        inner = below.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            _overlay(inner, value)
        else:
            below[key] = value

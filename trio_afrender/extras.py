"""The command that installs an extra of this package, by the way the package was installed.

No command names the package as an index would find it: there the name may belong to another project.
Either it names the place that this package came from, or the packages of the extra, which its metadata list.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from trio_afrender.cmd_words import join_for_cmd

__all__ = ("choose_command", "how_to_install", "packages_of")

DISTRIBUTION = "trio_afrender"


def how_to_install(extra: str) -> str:
    """Return words for a message: the extra, and the command that installs it."""
    # Slow to import, and plugin hosts import this module.
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:  # a source tree on PYTHONPATH
        return f'install the extra "{extra}" of trio_afrender'
    try:
        # Missing if the package came from an index or a folder of packages.
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        origin = {}
    command = choose_command(
        extra,
        packages=packages_of(extra, found.requires or ()),
        origin=origin if isinstance(origin, dict) else {},
        installer=(found.read_text("INSTALLER") or "").strip(),
        prefix=Path(sys.prefix),
        python=sys.executable or "python3",
    )
    return f'install the extra "{extra}": {command}'


def packages_of(extra: str, requires: Sequence[str]) -> tuple[str, ...]:
    """Return the requirements of an extra, those of extras that it names included."""

    def walk(name: str, seen: frozenset[str]) -> Iterator[str]:
        for line in requires:
            requirement, _, marker = line.partition(";")
            wanted, quoted = requirement.strip(), marker.replace('"', "'")
            if f"extra == '{name}'" not in quoted:
                continue
            own, bracket, listed = wanted.partition("[")
            if bracket and own.replace("-", "_") == DISTRIBUTION:
                for other in listed.rstrip("]").split(","):
                    if other.strip() not in seen:
                        yield from walk(other.strip(), seen | {other.strip()})
            else:
                yield wanted

    return tuple(dict.fromkeys(walk(extra, frozenset({extra}))))


def choose_command(
    extra: str,
    *,
    packages: Sequence[str],
    origin: Mapping[str, object],
    installer: str,
    prefix: Path,
    python: str,
) -> str:
    """Return the command. `origin` is the content of ``direct_url.json``, `prefix` that of Python."""
    # Large: it loads the HTTP client and OpenSSL.
    from urllib.request import url2pathname

    if installer == "dpkg":
        return f"build the Debian package with it (make deb EXTRAS={extra},...)"
    quoted = " ".join(map(_quote, packages))
    if (prefix / "pipx_metadata.json").is_file():
        return f"pipx inject {prefix.name} {quoted}"
    pip = f"uv pip install --python {_quote(python)}"
    if installer != "uv":
        pip = f"{_quote(python)} -m pip install"
    url = urlsplit(str(origin.get("url", "")))
    path = url2pathname(f"//{url.netloc}{url.path}" if url.netloc else url.path)
    # Not `Path.exists`, which raises PermissionError: root may have installed it from its own home.
    if url.scheme == "file" and os.access(path, os.R_OK):
        if (receipt := prefix / "uv-receipt.toml").is_file():
            # `uv tool` makes the environment anew, with the extras that are named and no others.
            extras = ",".join([*_read_uv_extras(receipt), extra])
            return f"uv tool install --force {_quote(f'{path}[{extras}]')}"
        kind = origin.get("dir_info")
        editable = isinstance(kind, dict) and kind.get("editable") is True
        place = _quote(f"{path}[{extra}]")
        return f"{pip} {'--editable ' if editable else ''}{place}"
    return f"{pip} {quoted}"


def _read_uv_extras(receipt: Path) -> list[str]:
    """Return the extras that `uv tool` has installed; none if its record cannot be read."""
    import tomllib

    try:
        record = tomllib.loads(receipt.read_text(encoding="utf-8"))
        return [
            extra
            for requirement in record["tool"]["requirements"]
            if requirement["name"].replace("-", "_") == DISTRIBUTION
            for extra in requirement.get("extras", ())
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _quote(word: str) -> str:
    """Return the word for the shell of this host; `cmd` reads no single quotes, and ``>`` writes a file."""
    return shlex.quote(word) if hasattr(os, "fork") else join_for_cmd([word])

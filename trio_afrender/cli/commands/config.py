"""``trio_afrender config``: prints every setting and the layer it comes from."""

from __future__ import annotations

import fnmatch
import json
import sys
from argparse import Namespace
from collections.abc import Collection, Sequence

from trio_afrender.cli.arguments import NIMBIES
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.load import make_config
from trio_afrender.config.settings import PREFIX, suggest_key
from trio_afrender.errors import ConfigError

__all__ = ("run",)


def _choose(patterns: Sequence[str], keys: Collection[str]) -> list[str]:
    """Return the keys that match a pattern, in their order; our own keys also without their prefix."""
    chosen: set[str] = set()
    problems = []
    for pattern in patterns:
        found = {
            key
            for key in keys
            if fnmatch.fnmatchcase(key, pattern)
            or (pattern not in keys and fnmatch.fnmatchcase(key.removeprefix(PREFIX), pattern))
        }
        if not found:
            problems.append(f'no setting "{pattern}", {suggest_key(pattern, keys)}')
        chosen |= found
    if problems:
        raise ConfigError("\n".join(problems))
    return [key for key in keys if key in chosen]


def run(options: Namespace) -> int:
    """Print the settings to stdout. Raises `ConfigError` for a setting that cannot be used."""
    # The agent's words for nimby may stand among the keys. NIMBY, which sorts first, is stronger.
    given = {options.nimby, *options.keys} & {*NIMBIES}
    options.nimby = min(given, default=None)
    settings = load_options(options)
    make_config(settings)
    patterns = [key for key in options.keys if key not in NIMBIES]
    shown = dict(settings.shown())
    if patterns:
        shown = {key: shown[key] for key in _choose(patterns, shown)}
    if options.json:
        report = {
            "values": {
                key: {"value": item.value, "unit": item.unit, "from": item.origin}
                for key, item in shown.items()
            },
            "files": [str(path) for path in settings.files],
            "problems": list(settings.problems),
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return 0
    rows = [
        (key, f"{json.dumps(item.value, ensure_ascii=False)} {item.unit}".rstrip(), item.origin)
        for key, item in shown.items()
    ]
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        sys.stdout.write(clean(f"{key:<{width}}  {value}  [{origin}]") + "\n")
    names = ", ".join(str(path) for path in settings.files) or "none"
    print_line(f"config files read: {clean(names)}")
    return 0

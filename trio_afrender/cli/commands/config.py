"""``trio_afrender config``: prints every setting and the layer it comes from."""

from __future__ import annotations

import fnmatch
import json
import sys
from argparse import Namespace
from collections.abc import Sequence

from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config.convert import SettingValue
from trio_afrender.config.load import Settings, make_config
from trio_afrender.config.settings import suggest_key
from trio_afrender.errors import ConfigError

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Print the settings to stdout. Raises `ConfigError` for a setting that cannot be used."""
    settings = load_options(options)
    make_config(settings)
    shown = _select(settings, options.keys)
    if options.json:
        report = {
            "values": {
                key: {"value": item.value, "unit": item.unit, "from": item.origin}
                for key, item in shown.items()
            },
            "files": [str(path) for path in settings.files],
            "problems": list(settings.problems),
        }
        json.dump(report, sys.stdout, indent=2)
        sys.stdout.write("\n")
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


def _select(settings: Settings, patterns: Sequence[str]) -> dict[str, SettingValue]:
    """Return the settings that match a pattern, all without patterns.

    Raises `ConfigError` for a pattern without a match.
    """
    shown = dict(settings.shown())
    for pattern in patterns:
        if not fnmatch.filter(shown, pattern):
            raise ConfigError(f"no setting {pattern}, {suggest_key(pattern, shown)}")
    wanted = [key for key in shown if any(fnmatch.fnmatchcase(key, each) for each in patterns)]
    return {key: shown[key] for key in wanted} if patterns else shown

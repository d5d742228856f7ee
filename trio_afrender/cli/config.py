"""``trio_afrender config``: every value and the layer it came from."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from trio_afrender.cli.options import load_options
from trio_afrender.cli.terminal import clean, say
from trio_afrender.config.build import make_config
from trio_afrender.config.layers import Settings

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Print the settings to stdout. Raises `ConfigError` for those that cannot be used."""
    settings = load_options(options)
    make_config(settings)
    if options.json:
        json.dump(_as_json(settings), sys.stdout, indent=2)
        sys.stdout.write("\n")
        return 0
    rows = [
        (key, f"{json.dumps(item.value, ensure_ascii=False)} {item.unit}".rstrip(), item.origin)
        for key, item in settings.shown()
    ]
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        sys.stdout.write(clean(f"{key:<{width}}  {value}  [{origin}]") + "\n")
    names = ", ".join(str(path) for path in settings.files) or "none"
    say(f"config files read: {clean(names)}")
    return 0


def _as_json(settings: Settings) -> dict[str, object]:
    return {
        "values": {
            key: {"value": item.value, "unit": item.unit, "from": item.origin}
            for key, item in settings.shown()
        },
        "files": [str(path) for path in settings.files],
        "problems": list(settings.problems),
    }

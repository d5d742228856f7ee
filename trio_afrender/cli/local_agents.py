"""Agents in this process, for an embedded farm: their settings, and their names."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import attrs

from trio_afrender.config import Config
from trio_afrender.transport.tokens import make_token

__all__ = ("make_local_configs",)


def make_local_configs(config: Config, agents: int, store: Path) -> list[Config]:
    """Return the settings of each agent, with a name and a token of its own.

    They are those of this host, except for what is about another farm.
    """
    host = re.sub(r"[^A-Za-z0-9-]+", "-", platform.node().partition(".")[0]).strip("-") or "host"
    return [
        attrs.evolve(
            config,
            name=host if agents == 1 else f"{host}-{number + 1}",
            token=make_token(),
            ca_file=None,
            store=store,
        )
        for number in range(agents)
    ]

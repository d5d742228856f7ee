"""What a run needs from outside itself, gathered so that a test can hand in fakes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import attrs

from trio_afrender.child.base import Child, Spawn
from trio_afrender.config import Config
from trio_afrender.plugins.base import PluginRunner
from trio_afrender.task.command import AgentEnvironment
from trio_afrender.task.place import OpenPlace

__all__ = ("Tools",)


def _new_token() -> str:
    return secrets.token_hex(16)


@attrs.frozen(kw_only=True, eq=False)
class Tools:
    """Everything with an effect. Whoever made the parts closes them."""

    config: Config
    spawn: Spawn
    plugins: PluginRunner
    open_place: OpenPlace
    adopt: Callable[[Child, tuple[int, ...]], None]
    """Takes over a child whose tree could not be emptied; reaps it when it is gone at last."""
    resources: Callable[[], str] = lambda: ""
    """The host's load as JSON text, for parsers."""
    wall: Callable[[], float] = time.time
    new_token: Callable[[], str] = _new_token
    environment: AgentEnvironment = attrs.field(factory=lambda: AgentEnvironment({}, ()))

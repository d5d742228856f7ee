"""Tools for plugin authors: replay a log through a parser, preview a service, check all plugins.

`docs/plugins.md` has examples; `trio_afrender check` prints what these return.
"""

from __future__ import annotations

from trio_afrender.devtools.plugin_check import Report, check_meter, check_plugins
from trio_afrender.devtools.replay import Event, Replay, replay_parser
from trio_afrender.devtools.service_preview import ServiceView, make_service, read_tasks

__all__ = (
    "Event",
    "Replay",
    "Report",
    "ServiceView",
    "check_meter",
    "check_plugins",
    "make_service",
    "read_tasks",
    "replay_parser",
)

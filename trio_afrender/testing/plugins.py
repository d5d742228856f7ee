"""What authors of plugins test with: a log through a parser, a task through a service, all at once.

`docs/plugins.md` has examples; `trio_afrender check` prints what these return.
"""

from __future__ import annotations

from trio_afrender.testing.replay import Event, Replay, replay_parser
from trio_afrender.testing.survey import Report, check_meter, check_plugins
from trio_afrender.testing.tasks import ServiceView, make_service, read_tasks

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

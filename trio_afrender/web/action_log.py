"""Who has done what on the page, and how it is undone. Kept in memory, the last ones. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import attrs

from trio_afrender.text import shorten
from trio_afrender.web.page_steering import PageChange
from trio_afrender.web.topic import TableTopic

__all__ = ("ActionLog",)

_KEPT = 200
_MAX_TEXT = 2000


@attrs.define(slots=True, eq=False)
class ActionLog:
    """The log, as a topic."""

    wake: Callable[[], None]
    topic: TableTopic = attrs.field(init=False)
    _steps: OrderedDict[int, Sequence[PageChange]] = attrs.field(factory=OrderedDict)
    _last: int = 0

    def __attrs_post_init__(self) -> None:
        self.topic = TableTopic("log", self.wake)
        self.topic.show()

    def add(
        self,
        *,
        now: float,
        who: str,
        address: str,
        text: str,
        problems: Sequence[str],
        undo: str,
        steps: Sequence[PageChange],
    ) -> int:
        """Add an action; return its id. `undo` says what `steps` do."""
        self._last += 1
        row = {
            "id": self._last,
            "time": round(now, 1),
            "who": who,
            "address": address,
            "text": shorten(text, _MAX_TEXT),
            "problems": [shorten(each, _MAX_TEXT) for each in problems[:20]],
            "undo": shorten(undo, _MAX_TEXT) if steps else "",
            "undone": False,
        }
        self._steps[self._last] = steps
        gone = []
        if len(self._steps) > _KEPT:
            gone.append(self._steps.popitem(last=False)[0])
        self.topic.update([row], gone)
        return self._last

    def take_undo(self, number: int) -> Sequence[PageChange]:
        """What undoes an action, once; empty if nothing does."""
        steps = self._steps.get(number)
        row = self.topic.rows.get(number)
        if not steps or row is None or row["undone"]:
            return ()
        self.topic.update([{**row, "undone": True}])
        return steps

    def return_undo(self, number: int, steps: Sequence[PageChange]) -> None:
        """Let an action be undone again, by the steps that were not done."""
        if (row := self.topic.rows.get(number)) is not None:
            self._steps[number] = steps
            self.topic.update([{**row, "undone": False}])

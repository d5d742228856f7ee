"""The chain that answers "why": kept as facts, shown as lines at the end of the task's log."""

from __future__ import annotations

from collections.abc import Callable

from trio_afrender.protocol.messages import Reason

__all__ = ("ReasonLog",)

MAX_STEPS = 100
MAX_TEXT = 1000


class ReasonLog:
    """Collects steps in the order they happened. Bounded: a storm of steps keeps its beginning."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._steps: list[Reason] = []
        self._dropped = 0

    def add(self, event: str, text: str, pids: tuple[int, ...] = ()) -> None:
        """Note one fact; `event` is one of the stable words of `WhyStep`."""
        if len(self._steps) >= MAX_STEPS:
            self._dropped += 1
            return
        step = Reason(time=self._wall(), event=event, text=text[:MAX_TEXT], pids=pids)
        self._steps.append(step)

    def steps(self) -> tuple[Reason, ...]:
        if not self._dropped:
            return tuple(self._steps)
        more = Reason(time=self._wall(), event="more", text=f"{self._dropped} more steps")
        return (*self._steps, more)

    def text(self) -> str:
        """Lines for people, times relative to the first step; empty when nothing happened."""
        steps = self.steps()
        if not steps:
            return ""
        lines = [_line(step, steps[0].time) for step in steps]
        return "Why:\n" + "\n".join(lines)


def _line(step: Reason, zero: float) -> str:
    pids = f" [pids {', '.join(map(str, step.pids))}]" if step.pids else ""
    return f"  +{step.time - zero:.2f}s {step.event}: {step.text}{pids}"

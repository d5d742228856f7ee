"""The reason log of a run: facts that answer "why", shown as lines at the end of the task's log."""

from __future__ import annotations

from collections.abc import Callable

from trio_afrender.protocol.messages import Reason

__all__ = ("ReasonLog",)

MAX_STEPS = 100
MAX_TEXT = 1000


class ReasonLog:
    """Collects reasons in the order in which they happened.

    Bounded to the first `MAX_STEPS`: the cause comes early, repetitions come late.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        """`wall` returns Unix time."""
        self._wall = wall
        self._steps: list[Reason] = []
        self._dropped = 0

    def add(self, event: str, text: str, pids: tuple[int, ...] = ()) -> None:
        """Add a fact; `event` is a fixed word, see `Reason.event`."""
        if len(self._steps) >= MAX_STEPS:
            self._dropped += 1
            return
        # Cut: some texts quote the output of the task.
        step = Reason(time=self._wall(), event=event, text=text[:MAX_TEXT], pids=pids)
        self._steps.append(step)

    def steps(self) -> tuple[Reason, ...]:
        """Return the reasons, with a last one that counts what was dropped, if anything was."""
        if not self._dropped:
            return tuple(self._steps)
        more = Reason(time=self._wall(), event="more", text=f"{self._dropped} more steps")
        return (*self._steps, more)

    def text(self) -> str:
        """Return lines for people, with times relative to the first; empty if nothing happened."""
        steps = self.steps()
        if not steps:
            return ""
        lines = ["Why:"]
        for step in steps:
            pids = f" [pids {', '.join(map(str, step.pids))}]" if step.pids else ""
            lines.append(f"  +{step.time - steps[0].time:.2f}s {step.event}: {step.text}{pids}")
        return "\n".join(lines)

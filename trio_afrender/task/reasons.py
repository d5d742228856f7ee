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

    def __init__(
        self, wall: Callable[[], float], redact: Callable[[str], str] = lambda text: text
    ) -> None:
        """`wall` returns Unix time; `redact` removes the secrets from a text."""
        self._wall = wall
        self._redact = redact
        self._leading: list[tuple[str, str]] = []
        self._steps: list[Reason] = []
        self._dropped = 0

    def add(self, event: str, text: str, pids: tuple[int, ...] = ()) -> None:
        """Add a fact; `event` is a fixed word, see `Reason.event`."""
        if len(self._steps) >= MAX_STEPS:
            self._dropped += 1
            return
        # Cut, because some texts quote the output of the task; redacted before that, because a cut
        # secret is not recognized any more.
        cut = self._redact(text)[:MAX_TEXT]
        step = Reason(time=self._wall(), event=event, text=cut, pids=pids)
        self._steps.append(step)

    def lead(self, event: str, text: str) -> None:
        """Add the cause, or what explains it: these come before all facts, in this order."""
        if text:
            self._leading.append((event, self._redact(text)[:MAX_TEXT]))

    @property
    def cause(self) -> str:
        """What the reasons begin with; empty if no cause is known."""
        return next((text for event, text in self._leading if event == "cause"), "")

    def steps(self) -> tuple[Reason, ...]:
        """Return the reasons, with a last one that counts what was dropped, if anything was."""
        # With the time of the first fact, so that times do not decrease.
        start = self._steps[0].time if self._steps else self._wall()
        leading = (Reason(time=start, event=event, text=text) for event, text in self._leading)
        if not self._dropped:
            return (*leading, *self._steps)
        more = Reason(time=self._wall(), event="more", text=f"{self._dropped} more steps")
        return (*leading, *self._steps, more)

    def text(self) -> str:
        """Return lines for people, with times relative to the first; empty if nothing happened."""
        steps = self.steps()
        if not steps:
            return ""
        lines = ["Why:"]
        lines += [f"  {step.event}: {step.text}" for step in steps[: len(self._leading)]]
        for step in steps[len(self._leading) :]:
            pids = f" [pids {', '.join(map(str, step.pids))}]" if step.pids else ""
            lines.append(f"  +{step.time - steps[0].time:.2f}s {step.event}: {step.text}{pids}")
        return "\n".join(lines)

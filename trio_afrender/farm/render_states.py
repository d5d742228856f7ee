"""The states of a render: one table (state, event) -> state, and Afanasy's bits for them. No I/O.

A render is in several states at once, one of each kind: whether it is there, who has it reserved,
whether it is paused, sick, has limits of its own. An event may change several of them; what the
table does not list stays as it is. So each combination that can be written down is a legal one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias, TypeVar, cast

import attrs

__all__ = (
    "TRANSITIONS",
    "Health",
    "HostNimby",
    "LimitsOrigin",
    "NimbyMode",
    "PauseMode",
    "Presence",
    "RenderBit",
    "RenderEvent",
    "RenderPart",
    "RenderStates",
    "advance",
    "host_event",
)


class RenderBit(enum.IntFlag):
    """Afanasy's bits, in the order of their words in a state text."""

    ONL = 1
    NbY = 2
    NBY = 4
    RUN = 8
    DRT = 16
    WFL = 32
    WSL = 64
    WWK = 128
    PAU = 256
    SIC = 512


class Presence(enum.StrEnum):
    """Whether the render is there. A render whose link was lost is, until its zombie time ends."""

    OFFLINE = "offline"
    ONLINE = "online"
    RUNNING = "running"
    """Online, and it has tasks."""
    FALLING = "falling asleep"
    """Online, and ordered to sleep: it gets no task."""
    ASLEEP = "asleep"
    WAKING = "waking"
    """Asleep, and packets to wake it were sent."""

    @property
    def online(self) -> bool:
        return self in (Presence.ONLINE, Presence.RUNNING, Presence.FALLING)


class NimbyMode(enum.StrEnum):
    """Whose jobs the render takes, as users or the rules of the farm have set it."""

    FREE = "free"
    OWN = "nimby"
    """Only the jobs of its own user."""
    ALL = "NIMBY"
    """No jobs."""


class HostNimby(enum.StrEnum):
    """Whose jobs the render takes, as it reports itself: its configuration, a drain, a lack of memory."""

    FREE = "host free"
    OWN = "host nimby"
    ALL = "host NIMBY"


class PauseMode(enum.StrEnum):
    """Whether a user has paused the render."""

    STARTED = "started"
    PAUSED = "paused"


class Health(enum.StrEnum):
    """Whether tasks of too many different users have failed on the render."""

    WELL = "well"
    SICK = "sick"


class LimitsOrigin(enum.StrEnum):
    """Whether capacity or number of tasks were set for this render alone."""

    COMMON = "common limits"
    OWN = "own limits"


RenderPart: TypeAlias = Presence | NimbyMode | HostNimby | PauseMode | Health | LimitsOrigin
_Part = TypeVar("_Part", bound=RenderPart)


class RenderEvent(enum.StrEnum):
    """What changes the states of a render."""

    REGISTER = "register"
    LEAVE = "leave"
    """It deregisters, or is silent for a zombie time."""
    TASKS = "tasks"
    """It has tasks: the first one was set, or it brought one back."""
    NO_TASKS = "no tasks"
    """It has no task left after a round of the scheduler."""
    SLEEP = "sleep"
    SLEEP_FAILED = "sleep failed"
    WAKE = "wake"
    WAKE_FAILED = "wake failed"
    NIMBY = "nimby"
    NIMBY_ALL = "NIMBY"
    FREE = "free"
    AUTO_NIMBY = "auto nimby"
    AUTO_FREE = "auto free"
    HOST_FREE = "host free"
    HOST_NIMBY = "host nimby"
    HOST_NIMBY_ALL = "host NIMBY"
    PAUSE = "pause"
    START = "start"
    FALL_ILL = "fall ill"
    RECOVER = "recover"
    SET_LIMITS = "set limits"
    CLEAR_LIMITS = "clear limits"


def _from_any(
    states: Iterable[RenderPart], event: RenderEvent, to: RenderPart
) -> dict[tuple[RenderPart, RenderEvent], RenderPart]:
    return {(state, event): to for state in states}


TRANSITIONS: Mapping[tuple[RenderPart, RenderEvent], RenderPart] = MappingProxyType(
    {
        (Presence.OFFLINE, RenderEvent.REGISTER): Presence.ONLINE,
        (Presence.FALLING, RenderEvent.REGISTER): Presence.ONLINE,
        (Presence.ASLEEP, RenderEvent.REGISTER): Presence.ONLINE,
        (Presence.WAKING, RenderEvent.REGISTER): Presence.ONLINE,
        (Presence.ONLINE, RenderEvent.LEAVE): Presence.OFFLINE,
        (Presence.RUNNING, RenderEvent.LEAVE): Presence.OFFLINE,
        (Presence.FALLING, RenderEvent.LEAVE): Presence.ASLEEP,
        (Presence.ONLINE, RenderEvent.TASKS): Presence.RUNNING,
        (Presence.RUNNING, RenderEvent.NO_TASKS): Presence.ONLINE,
        # Only from here: a render with tasks, or without a link, does not sleep.
        (Presence.ONLINE, RenderEvent.SLEEP): Presence.FALLING,
        (Presence.FALLING, RenderEvent.SLEEP_FAILED): Presence.ONLINE,
        (Presence.ASLEEP, RenderEvent.WAKE): Presence.WAKING,
        (Presence.WAKING, RenderEvent.WAKE_FAILED): Presence.ASLEEP,
        **_from_any(NimbyMode, RenderEvent.NIMBY, NimbyMode.OWN),
        **_from_any(NimbyMode, RenderEvent.NIMBY_ALL, NimbyMode.ALL),
        **_from_any(NimbyMode, RenderEvent.FREE, NimbyMode.FREE),
        **_from_any(NimbyMode, RenderEvent.AUTO_NIMBY, NimbyMode.ALL),
        **_from_any(NimbyMode, RenderEvent.AUTO_FREE, NimbyMode.FREE),
        # What a user sets holds until the render reports something else.
        **_from_any(HostNimby, RenderEvent.FREE, HostNimby.FREE),
        **_from_any(HostNimby, RenderEvent.HOST_FREE, HostNimby.FREE),
        **_from_any(HostNimby, RenderEvent.HOST_NIMBY, HostNimby.OWN),
        **_from_any(HostNimby, RenderEvent.HOST_NIMBY_ALL, HostNimby.ALL),
        # It drains before it leaves: one that is asleep would never be woken for a job.
        **_from_any(HostNimby, RenderEvent.LEAVE, HostNimby.FREE),
        **_from_any(PauseMode, RenderEvent.PAUSE, PauseMode.PAUSED),
        **_from_any(PauseMode, RenderEvent.START, PauseMode.STARTED),
        **_from_any(Health, RenderEvent.FALL_ILL, Health.SICK),
        **_from_any(Health, RenderEvent.RECOVER, Health.WELL),
        **_from_any(LimitsOrigin, RenderEvent.SET_LIMITS, LimitsOrigin.OWN),
        **_from_any(LimitsOrigin, RenderEvent.CLEAR_LIMITS, LimitsOrigin.COMMON),
    }
)
"""What is not listed does not change the state."""

_BITS: Mapping[RenderPart, RenderBit] = {
    Presence.ONLINE: RenderBit.ONL,
    Presence.RUNNING: RenderBit.ONL | RenderBit.RUN,
    Presence.FALLING: RenderBit.ONL | RenderBit.WFL,
    Presence.ASLEEP: RenderBit.WSL,
    Presence.WAKING: RenderBit.WSL | RenderBit.WWK,
    NimbyMode.OWN: RenderBit.NbY,
    NimbyMode.ALL: RenderBit.NBY,
    HostNimby.OWN: RenderBit.NbY,
    HostNimby.ALL: RenderBit.NBY,
    PauseMode.PAUSED: RenderBit.PAU,
    Health.SICK: RenderBit.SIC,
    LimitsOrigin.OWN: RenderBit.DRT,
}
_NOTHING = RenderBit(0)


@attrs.frozen(slots=True, kw_only=True)
class RenderStates:
    """All states of one render."""

    presence: Presence = Presence.OFFLINE
    nimby: NimbyMode = NimbyMode.FREE
    host: HostNimby = HostNimby.FREE
    pause: PauseMode = PauseMode.STARTED
    health: Health = Health.WELL
    limits: LimitsOrigin = LimitsOrigin.COMMON

    @property
    def parts(self) -> tuple[RenderPart, ...]:
        return (self.presence, self.nimby, self.host, self.pause, self.health, self.limits)

    @property
    def bits(self) -> RenderBit:
        """Afanasy's ``st``."""
        found = _NOTHING
        for part in self.parts:
            found |= _BITS.get(part, _NOTHING)
        if RenderBit.NBY in found:
            found &= ~RenderBit.NbY
        return found

    @property
    def words(self) -> str:
        """Afanasy's ``state``: words with a blank before each."""
        found = self.bits
        words = [bit.name or "" for bit in RenderBit if bit in found]
        if RenderBit.ONL not in found:
            words.insert(0, "OFF")
        return "".join(f" {word}" for word in words)

    @classmethod
    def restore(cls, bits: int) -> RenderStates:
        """The states of a render that has not registered since the farm was started.

        What a render itself reported is not restored: it reports it again.
        """
        found = RenderBit(bits)
        asleep = found & (RenderBit.WFL | RenderBit.WSL)
        own = NimbyMode.OWN if RenderBit.NbY in found else NimbyMode.FREE
        return cls(
            presence=Presence.ASLEEP if asleep else Presence.OFFLINE,
            nimby=NimbyMode.ALL if RenderBit.NBY in found else own,
            pause=PauseMode.PAUSED if RenderBit.PAU in found else PauseMode.STARTED,
            health=Health.SICK if RenderBit.SIC in found else Health.WELL,
            limits=LimitsOrigin.OWN if RenderBit.DRT in found else LimitsOrigin.COMMON,
        )

    @property
    def kept(self) -> RenderBit:
        """The bits for `restore`: without what the render itself reported."""
        return attrs.evolve(self, host=HostNimby.FREE).bits


def advance(states: RenderStates, event: RenderEvent) -> RenderStates:
    """Return the states after an event."""

    return RenderStates(
        presence=_step_part(states.presence, event),
        nimby=_step_part(states.nimby, event),
        host=_step_part(states.host, event),
        pause=_step_part(states.pause, event),
        health=_step_part(states.health, event),
        limits=_step_part(states.limits, event),
    )


def _step_part(part: _Part, event: RenderEvent) -> _Part:
    # The table leads from each kind of state to the same kind: the exhaustive test checks it.
    return cast("_Part", TRANSITIONS.get((part, event), part))


def host_event(bits: int) -> RenderEvent:
    """The event for the state bits that a render reports: of these, only the two for nimby count."""
    if bits & RenderBit.NBY:
        return RenderEvent.HOST_NIMBY_ALL
    return RenderEvent.HOST_NIMBY if bits & RenderBit.NbY else RenderEvent.HOST_FREE

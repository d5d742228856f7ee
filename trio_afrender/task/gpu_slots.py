"""Which task has which cards of this host. A decision over values, and the room that keeps it.

A task waits, in the order of arrival, until as many cards as it is to have are free enough; nobody
overtakes, so a task that wants several is not starved by those that want one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs
import trio

from trio_afrender.config import GpuSlots
from trio_afrender.protocol.messages import GpuCard

__all__ = (
    "GpuAllocations",
    "GpuAllocator",
    "choose_cards",
    "hidden_cards",
    "host_gpu_allocations",
    "name_cards",
    "show_cards",
)

CUDA_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Else CUDA counts the fastest card first, and its numbers are not the driver's."""
GPU_NUMBER_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)
"""NVIDIA's, AMD's two (HIP, OpenCL), Intel's. Not ROCR_VISIBLE_DEVICES: it renumbers for the others."""
TASK_GPUS_VARIABLE = "AF_TASK_GPUS"


def choose_cards(
    cards: Sequence[str], taken: Mapping[str, int], *, each: int, most: int
) -> tuple[str, ...] | None:
    """Return `each` cards with fewer than `most` tasks, the emptiest first; None: not now.

    A host with fewer cards than that gives all it has.
    """
    free = [card for card in cards if taken.get(card, 0) < most]
    wanted = min(each, len(cards))
    if len(free) < wanted:
        return None
    free.sort(key=lambda card: taken.get(card, 0))  # stable: the driver's order among equals
    chosen = set(free[:wanted])
    return tuple(card for card in cards if card in chosen)


def name_cards(cards: Sequence[GpuCard]) -> tuple[str, ...]:
    """How programs are told of cards: their numbers; of parts their long names, they have no other."""
    return tuple(str(card.index) if card.part is None else card.uuid for card in cards)


def show_cards(cards: Sequence[str]) -> dict[str, str]:
    """The variables by which a program sees these cards alone."""
    listed = ",".join(cards)
    names = (
        GPU_NUMBER_VARIABLES if all(card.isdigit() for card in cards) else GPU_NUMBER_VARIABLES[:1]
    )
    return {**CUDA_ORDER, **dict.fromkeys(names, listed), TASK_GPUS_VARIABLE: listed}


def hidden_cards() -> dict[str, str]:
    """The variables by which a program sees no card. Intel's has no word for that."""
    return {**dict.fromkeys(GPU_NUMBER_VARIABLES[:-1], "-1"), TASK_GPUS_VARIABLE: ""}


@attrs.define(eq=False)
class GpuAllocations:
    """How many tasks each card has."""

    taken: Counter[str] = attrs.field(factory=Counter)
    changed: trio.Event = attrs.field(factory=trio.Event)
    unknown: int = 0
    """Runs of an earlier agent whose cards are being looked up."""


_BOOK: trio.lowlevel.RunVar[GpuAllocations] = trio.lowlevel.RunVar("cards of this host")


def host_gpu_allocations() -> GpuAllocations:
    """The one book of all agents in this loop: the cards are the host's, not an agent's."""
    try:
        return _BOOK.get()
    except LookupError:
        book = GpuAllocations()
        _BOOK.set(book)
        return book


@attrs.define(eq=False)
class GpuAllocator:
    """The cards of this host and who has them."""

    rule: GpuSlots = attrs.field(factory=GpuSlots)
    known: Callable[[], Sequence[GpuCard] | None] = lambda: ()
    """What was measured last; None: the driver has not answered yet."""
    given: str = ""
    """``CUDA_VISIBLE_DEVICES`` of the agent itself: whoever set it leaves us these alone."""
    book: GpuAllocations = attrs.field(factory=lambda: GpuAllocations())
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    def cards(self) -> tuple[str, ...] | None:
        """The cards that are given to tasks; None: not known yet."""
        listed = self.rule.cards or tuple(filter(None, self.given.replace(" ", "").split(",")))
        if listed:
            return listed
        known = self.known()
        return None if known is None else name_cards(known)

    @property
    def slots(self) -> int | None:
        """How many tasks can run at once; None: the cards do not say, as some tasks have none."""
        cards = self.cards()
        if not self.rule.tasks_per_card or self.rule.services or not cards:
            return None
        each = min(self.rule.cards_per_task, len(cards))
        return max(len(cards) * self.rule.tasks_per_card // each, 1)

    def wants(self, service: str) -> bool:
        """Whether a task of that service is to have cards of its own."""
        return not self.rule.services or service in self.rule.services

    def choose(self) -> tuple[str, ...] | None:
        """Return cards that are free now, () on a host without any; None: wait."""
        cards = self.cards()
        if cards is None or self.book.unknown:
            return None
        each, most = self.rule.cards_per_task, self.rule.tasks_per_card
        return choose_cards(cards, self.book.taken, each=each, most=most)

    async def take(self) -> tuple[str, ...]:
        """Wait until cards are free, and take them; the caller gives them back with `free`."""
        async with self._turn:
            while (chosen := self.choose()) is None:
                await self.book.changed.wait()
            self.book.taken.update(chosen)  # no checkpoint from here on
        return chosen

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Give no cards to anybody meanwhile: it is being found out who has some already."""
        self.book.unknown += 1
        try:
            yield
        finally:
            self.book.unknown -= 1
            self.look_again()

    def hold(self, cards: Sequence[str]) -> None:
        """Count cards that a run of an earlier agent has; as `take`, give them back with `free`."""
        self.book.taken.update(cards)

    def free(self, cards: Sequence[str]) -> None:
        """Give cards back."""
        self.book.taken.subtract(cards)
        self.look_again()

    def look_again(self) -> None:
        """Say that more may be known of the cards than before."""
        self.book.changed.set()
        self.book.changed = trio.Event()

    def is_busy(self) -> bool:
        """Whether a task that comes now has to wait."""
        return self._turn.locked() or self.choose() is None

"""The collector of cycles in long-lived programs: what it looks at, and what it still frees."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from trio_afrender.cli.collector_pauses import CollectorPauses, short_pauses


class Loop:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def pauses() -> Iterator[CollectorPauses]:
    thresholds = gc.get_threshold()
    with short_pauses() as made:
        yield made
    gc.unfreeze()
    assert gc.get_threshold() == thresholds
    assert made not in gc.callbacks


def is_looked_at(thing: object) -> bool:
    return any(each is thing for each in gc.get_objects())


def test_what_survives_a_collection_is_not_looked_at_again(pauses: CollectorPauses) -> None:
    kept = Loop()
    assert is_looked_at(kept)
    gc.collect(1)
    assert is_looked_at(kept)
    gc.collect()
    assert not is_looked_at(kept)


def test_reference_counts_free_what_is_not_looked_at(pauses: CollectorPauses) -> None:
    kept = Loop()
    kept.itself = None  # type: ignore[assignment] # no cycle
    gone = weakref.ref(kept)
    gc.collect()
    del kept
    assert gone() is None


def test_cycles_are_freed_when_everything_is_looked_at(pauses: CollectorPauses) -> None:
    kept = Loop()
    gone = weakref.ref(kept)
    gc.collect()
    del kept
    gc.collect()
    assert gone() is not None
    pauses.left = 1
    gc.collect()
    assert gone() is None
    assert pauses.left > 1
    assert gc.get_freeze_count() > 0

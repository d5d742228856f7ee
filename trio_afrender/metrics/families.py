"""Families of figures and their text for Prometheus, version 0.0.4. No I/O.

Names follow Prometheus' conventions: base units (seconds, bytes, ratios from 0 to 1), and ``_total`` at
the end of what only grows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

import attrs

__all__ = (
    "CONTENT_TYPE",
    "Histogram",
    "MetricFamily",
    "counter",
    "format_families",
    "gauge",
    "histogram",
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


@attrs.define(eq=False)
class Histogram:
    """Counts of values by their size. `bounds` are the upper limits of the buckets, ascending."""

    bounds: tuple[float, ...]
    total: float = 0.0
    """The sum of all values."""
    _counts: list[int] = attrs.Factory(lambda self: [0] * (len(self.bounds) + 1), takes_self=True)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> tuple[tuple[str, int], ...]:
        """Return for each bound, and for infinity, how many values are not above it."""
        names = [*map(_figure, self.bounds), "+Inf"]
        return tuple(zip(names, accumulate(self._counts), strict=True))


@attrs.frozen
class MetricFamily:
    """Figures of one name, each with labels: pairs of the labels and a number or a `Histogram`."""

    name: str
    """Of a counter with ``_total``."""
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    text: str
    """One sentence."""
    samples: tuple[tuple[Mapping[str, str], float | Histogram], ...]

    def labelled(self, name: str, value: str) -> MetricFamily:
        """Return it with one more label on each figure."""
        samples = tuple(({name: value, **labels}, number) for labels, number in self.samples)
        return attrs.evolve(self, samples=samples)


def counter(
    name: str, text: str, value: float | Mapping[str, float], label: str = ""
) -> MetricFamily:
    """Return a counter, with a mapping one figure for each value of `label`."""
    return MetricFamily(f"{name}_total", "counter", text, _samples(value, label))


def gauge(
    name: str, text: str, value: float | Mapping[str, float], label: str = ""
) -> MetricFamily:
    """Return a figure that rises and falls."""
    return MetricFamily(name, "gauge", text, _samples(value, label))


def histogram(name: str, text: str, value: Histogram) -> MetricFamily:
    return MetricFamily(name, "histogram", text, (({}, value),))


def _samples(
    value: float | Mapping[str, float], label: str
) -> tuple[tuple[Mapping[str, str], float], ...]:
    if isinstance(value, Mapping):
        return tuple(({label: name}, number) for name, number in value.items())
    return (({}, value),)


def format_families(families: Iterable[MetricFamily]) -> str:
    """Return the text of families. Those of one name, as of several agents, become one."""
    merged: dict[str, MetricFamily] = {}
    for family in families:
        first = merged.get(family.name)
        if first is not None:
            family = attrs.evolve(first, samples=(*first.samples, *family.samples))
        merged[family.name] = family
    lines: list[str] = []
    for family in merged.values():
        lines.append(f"# HELP {family.name} {family.text.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                buckets = value.buckets()
                lines += [
                    f"{family.name}_bucket{_format_labels({**labels, 'le': bound})} {count}"
                    for bound, count in buckets
                ]
                lines.append(f"{family.name}_sum{_format_labels(labels)} {_figure(value.total)}")
                lines.append(f"{family.name}_count{_format_labels(labels)} {buckets[-1][1]}")
            else:
                lines.append(f"{family.name}{_format_labels(labels)} {_figure(value)}")
    return "".join(f"{line}\n" for line in lines)


def _format_labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    # A name may have any character; a lone surrogate cannot be sent.
    pairs = (
        f'{name}="{value.encode("utf-8", "replace").decode().translate(_ESCAPES)}"'
        for name, value in labels.items()
    )
    return f"{{{','.join(pairs)}}}"


def _figure(number: float) -> str:
    # Whole numbers exactly: a counter of bytes soon has more than ten digits.
    return f"{number:d}" if isinstance(number, int) else f"{number:.10g}"

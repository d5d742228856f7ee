r"""Parsers whose `resources` has what a task used: the host's figures and the program's own.

    class arnold(UsageParser):
        rules = (rule("peak CPU memory", r"peak CPU memory used +([\d.]+) *(\w+)", memory("arnold_gb")),)

makes ``mem_peak_mb:9000 arnold_gb:1.5 cpu_avg:97``. Of several values of a figure the greatest
counts.
"""

from __future__ import annotations

from parsers.parser import Aside, Found, RuleParser, progress_only

__all__ = ("UsageParser", "greatest", "memory")

_UNITS = {"b": 0, "kb": 1, "mb": 2, "gb": 3, "tb": 4}


class UsageParser(RuleParser):
    """A table whose actions may also be `memory` and `greatest`."""

    # A renderer can be silent for an hour, and the host's peak memory is the greatest value seen.
    ticks = True

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, float] = {}
        """The program's figures, by their names in `resources`."""

    def do(self, i_args: dict[str, object]) -> str | None:
        result = super().do(i_args)
        figures: dict[str, float | None] = {
            "mem_peak_mb": self.res_mem_peak_mb,
            **self.used,
            "cpu_avg": self.res_cpu_agv,
        }
        self.resources = " ".join(
            f"{name}:{_format_number(value)}"
            for name, value in figures.items()
            if value is not None
        )
        return result

    # Marked though a figure is no progress: unmarked, the table would be read line by line
    # (`parsers._rules._has_known_methods`).
    @progress_only
    def use(self, name: str, value: float) -> None:
        """Set a figure; a smaller value than before changes nothing."""
        self.used[name] = max(value, self.used.get(name, 0))


def memory(name: str) -> Aside:
    """Set a figure in GiB from a number and a unit, the first two groups; skip unknown units."""

    def act(parser: RuleParser, found: Found) -> None:
        assert isinstance(parser, UsageParser)  # noqa: S101 - see the class
        power = _UNITS.get(found.group(2).lower())
        if power is not None:
            parser.use(name, float(found.group(1)) * 1024.0 ** (power - 3))

    return Aside(act, "each", name)


def greatest(name: str) -> Aside:
    """Set a figure from the first group, a whole number that may have commas between thousands."""

    def act(parser: RuleParser, found: Found) -> None:
        assert isinstance(parser, UsageParser)  # noqa: S101 - as above
        parser.use(name, int(found.group(1).replace(",", "")))

    return Aside(act, "each", name)


def _format_number(value: float) -> str:
    """At most two digits after the point, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")

"""One meter's object, and the calls into it. Plain blocking code for the plugin host."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.config.settings import PluginSettings
from trio_afrender.errors import PluginError
from trio_afrender.plugins.compat import active_settings
from trio_afrender.plugins.diagnostics import Captured, Problems, capturing, shorten_middle
from trio_afrender.plugins.lookup import load_class
from trio_afrender.plugins.meters.values import read_meter
from trio_afrender.protocol.messages import CustomMeter

__all__ = ("Measurement", "MeterWorker")


@attrs.frozen
class Measurement:
    """The result of one call."""

    shown: CustomMeter | None = None
    """None: the meter is not valid, because it has nothing to measure on this host."""
    raised: bool = False


class MeterWorker:
    """Holds a meter by name. The constructor raises `PluginNotFound` and `PluginError`, `measure` only
    `PluginError`, for a changed file that cannot be loaded."""

    position = 0
    """Always 0: replies of a plugin host have the offset up to which a log was read."""

    def __init__(self, name: str, settings: PluginSettings, folders: Sequence[Path] = ()) -> None:
        self.name = name
        self._settings = settings
        self._folders = tuple(folders)
        self._problems = Problems()
        self._printed = Captured()
        self._class: type = load_class("meter", name, self._folders)
        self._last = CustomMeter()
        self._meter = self._make_meter()

    def _make_meter(self) -> Any:  # noqa: ANN401 - a plugin's own type
        active_settings.use(self._settings)
        made: Any = self._class
        try:
            with capturing(self._printed):
                meter = made.__new__(made)
                meter.settings = self._settings
                meter.__init__()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f'meter "{self.name}" could not be made: {type(error).__name__}: {error}'
            raise PluginError(
                shorten_middle(text, 500), _trace(error) + self._take_printed()
            ) from error
        return meter

    def measure(self) -> Measurement:
        """Update the meter and read its properties. A changed file is loaded first."""
        newest = load_class("meter", self.name, self._folders)
        if newest is not self._class:
            self._class = newest
            self._meter = self._make_meter()
        if getattr(self._meter, "valid", None) is not True:
            self._problems.add(self._not_valid())
            return Measurement()
        fault = ""
        try:
            with capturing(self._printed):
                measured = self._meter.do()
            fault = str(getattr(self._meter, "problem", "") or "")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
            measured, fault = self._meter, _trace(error)
            self._meter.label = "Error"
            self._meter.tooltip = f"{self.name}: {type(error).__name__}: {error}"
        if measured is None:
            self._problems.add(self._not_valid())
            return Measurement()
        if fault:
            self._problems.add(fault + self._take_printed())
        # Many meters print at each update, so prints are reported together with a fault only.
        self._printed.take()
        self._last, mistakes = read_meter(measured, self._last)
        for text in mistakes:
            self._problems.add(text)
        return Measurement(self._last, bool(fault) or getattr(measured, "label", "") == "Error")

    def problems(self) -> tuple[str, ...]:
        """Faults of the meter since the last call of this method."""
        return self._problems.take()

    def _not_valid(self) -> str:
        valid = getattr(self._meter, "valid", None)
        odd = "" if valid is False else f" (valid is {valid!r:.50}, not a bool)"
        return f"it has nothing to measure on this host{odd}{self._take_printed()}"

    def _take_printed(self) -> str:
        printed = self._printed.take().strip()
        return f"\nIt printed: {printed}" if printed else ""


def _trace(error: BaseException) -> str:
    """The traceback without its first frame, which is this module's."""
    trace = error.__traceback__
    lines = traceback.format_exception(type(error), error, trace.tb_next if trace else None)
    return shorten_middle("".join(lines))

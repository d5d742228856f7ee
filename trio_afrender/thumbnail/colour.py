"""From the values in a file to what a screen shows (sRGB), for pictures that are small already.

By hand, because names of colour spaces depend on ``$OCIO`` and an agent's thumbnails must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trio_afrender.thumbnail.image_source import ImageSource

__all__ = ("FLOATS", "Tone", "clip_limit", "find_tone", "primaries_matrix", "to_screen")

Tone = str
"""``linear`` light, ``log`` (film), ``screen`` or ``data``."""
FLOATS = ("half", "float", "double")
"""Types of values that may be anything; the others are between 0 and 1."""
_REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
_PRIMARIES = {
    "ap0": (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767),
    "aces2065": (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767),
    "ap1": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
    "acescg": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
    "rec2020": (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
    "p3": (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),
}
"""Chromaticities of red, green, blue and white, by a word in a colour space's name."""
_BLACK, _WHITE, _STEP, _GAMMA = 95.0, 685.0, 0.002, 0.6
"""Of film: Kodak's codes for black and white of 1023, density a code, gamma of the negative."""


def find_tone(source: ImageSource) -> Tone:
    """What the values of a file mean: what it says itself, else what is usual for its kind."""
    if source.is_data:
        return "data"
    space = source.colour_space.casefold()
    if source.format_name == "cineon":
        return "log"
    if source.format_name == "dpx":
        said = source.transfer.casefold()
        if said.startswith("linear"):
            return "linear"
        # Ten bits that do not say are film's: so read them compositing programs.
        known = any(word in said for word in ("709", "601", "video", "srgb"))
        return "screen" if known else "log"
    if "log" in space:
        return "log"
    if space.startswith(("lin", "scene_lin", "aces2065", "acescg")):
        return "linear"
    if space.startswith(("srgb", "rec709", "g22", "g24", "gamma")):
        return "screen"
    return "linear" if source.depth in FLOATS else "screen"


def clip_limit(tone: Tone, source: ImageSource) -> float:
    """The brightest value that counts before pixels are averaged.

    A single pixel of a hundred times white must not whiten its whole box: on a screen it is white.
    With foreign primaries white is reached only after their conversion.
    """
    if tone == "data":
        return float("inf")
    if tone == "linear" and _find_primaries(source) is not None:
        return 4.0
    return 1.0


def to_screen(small: NDArray[np.float32], tone: Tone, source: ImageSource) -> NDArray[np.float32]:
    """The picture as sRGB stores it, 0 to 1, three channels."""
    if tone == "data":
        small = _stretch(small)
    elif tone == "log":
        small = _encode(_from_film(small))
    elif tone == "linear":
        primaries = _find_primaries(source)
        if primaries is not None and small.shape[2] == 3:
            small = small @ primaries_matrix(primaries).T.astype(np.float32)
        small = _encode(small)
    if small.shape[2] == 1:
        small = np.repeat(small, 3, axis=2)
    return np.clip(small, 0.0, 1.0).astype(np.float32)


def _find_primaries(source: ImageSource) -> tuple[float, ...] | None:
    """Other primaries than a screen's; None when they are the same or not told."""
    if len(source.chromaticities) == 8:
        told = source.chromaticities
        return told if np.abs(np.subtract(told, _REC709)).max() > 0.005 else None
    space = source.colour_space.casefold()
    return next((found for word, found in _PRIMARIES.items() if word in space), None)


def primaries_matrix(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """From linear light of these primaries to a screen's, their whites on one another."""
    try:
        matrix = np.linalg.inv(_to_xyz(_REC709)) @ _adapt(primaries) @ _to_xyz(primaries)
    except np.linalg.LinAlgError:  # nonsense in the file
        return np.eye(3)
    return matrix if np.isfinite(matrix).all() else np.eye(3)


def _to_xyz(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    points = np.array([_xyz(*primaries[index : index + 2]) for index in (0, 2, 4)]).T
    white = _xyz(*primaries[6:8])
    return np.asarray(points * np.linalg.solve(points, white), np.float64)


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    y = y if abs(y) > 1e-6 else 1e-6
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adapt(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """Bradford's adaptation of their white to a screen's."""
    cones = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    there = cones @ _xyz(*primaries[6:8])
    here = cones @ _xyz(*_REC709[6:8])
    return np.asarray(np.linalg.inv(cones) @ np.diag(here / there) @ cones, np.float64)


def _from_film(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light of printing density: 685 of 1023 is white, 95 black."""
    offset = 10.0 ** ((_BLACK - _WHITE) * _STEP / _GAMMA)
    light = 10.0 ** ((codes * 1023.0 - _WHITE) * _STEP / _GAMMA)
    linear: NDArray[np.float32] = ((light - offset) / (1.0 - offset)).astype(np.float32)
    return linear


def _encode(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light as sRGB stores it."""
    light = np.clip(light, 0.0, 1.0)
    bright = 1.055 * np.power(light, 1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, bright).astype(np.float32)


def _stretch(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth and the like: from the least to the greatest value there is."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if high <= low:
        return np.full_like(values, 1.0 if high > 0 else 0.0)
    stretched: NDArray[np.float32] = (values - low) / (high - low)
    return np.where(np.isfinite(values), stretched, 1.0).astype(np.float32)

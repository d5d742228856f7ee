"""Converts the values of a file to sRGB, for pictures that are already small.

Done without OpenColorIO, because its colour space names depend on ``$OCIO``, which is a setting of
the studio's programs and must not change thumbnails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trio_afrender.thumbnail.image_source import ImageSource

__all__ = ("FLOATS", "Tone", "clip_limit", "find_tone", "primaries_matrix", "to_screen")

Tone = str
"""The meaning of values: ``linear`` light, ``log`` (film), ``screen`` (sRGB) or ``data`` (no light)."""
FLOATS = ("half", "float", "double")
"""Value types without a range; values of the other types are read as 0 to 1."""
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
"""Kodak's film codes for black and white (of 1023), density per code, gamma of the negative."""


def find_tone(source: ImageSource) -> Tone:
    """Return the meaning of a file's values: from its metadata, else the default of its format."""
    if source.is_data:
        return "data"
    space = source.colour_space.casefold()
    if source.format_name == "cineon":
        return "log"
    if source.format_name == "dpx":
        transfer = source.transfer.casefold()
        if transfer.startswith("linear"):
            return "linear"
        # Compositing programs read a DPX file without a known transfer as film, so we do, too.
        known = any(word in transfer for word in ("709", "601", "video", "srgb"))
        return "screen" if known else "log"
    if "log" in space:
        return "log"
    if space.startswith(("lin", "scene_lin", "aces2065", "acescg")):
        return "linear"
    if space.startswith(("srgb", "rec709", "g22", "g24", "gamma")):
        return "screen"
    return "linear" if source.depth in FLOATS else "screen"


def clip_limit(tone: Tone, source: ImageSource) -> float:
    """Return the value to which pixels are clipped before they are averaged.

    Without it a single pixel of a hundred times white would make its whole box white. With primaries
    other than a screen's the limit is higher, because their conversion changes the values.
    """
    if tone == "data":
        return float("inf")
    if tone == "linear" and _find_primaries(source) is not None:
        return 4.0
    return 1.0


def to_screen(small: NDArray[np.float32], tone: Tone, source: ImageSource) -> NDArray[np.float32]:
    """Return the picture as sRGB values 0 to 1 in three channels."""
    if tone == "data":
        # Values such as depth are scaled from their minimum and maximum to 0 and 1.
        finite = np.isfinite(small)
        known = small[finite]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        if high > low:
            small = np.where(finite, (small - low) / (high - low), 1.0).astype(np.float32)
        else:
            small = np.full_like(small, 1.0 if high > 0 else 0.0)
    elif tone == "log":
        # From printing density to linear light: code 685 of 1023 becomes 1, code 95 becomes 0.
        offset = 10.0 ** ((_BLACK - _WHITE) * _STEP / _GAMMA)
        light = 10.0 ** ((small * 1023.0 - _WHITE) * _STEP / _GAMMA)
        small = _encode_srgb(((light - offset) / (1.0 - offset)).astype(np.float32))
    elif tone == "linear":
        primaries = _find_primaries(source)
        if primaries is not None and small.shape[2] == 3:
            small = small @ primaries_matrix(primaries).T.astype(np.float32)
        small = _encode_srgb(small)
    if small.shape[2] == 1:
        small = np.repeat(small, 3, axis=2)
    return np.clip(small, 0.0, 1.0).astype(np.float32)


def _find_primaries(source: ImageSource) -> tuple[float, ...] | None:
    """Return the primaries of a file; None if they are a screen's (Rec. 709) or unknown."""
    if len(source.chromaticities) == 8:
        found = source.chromaticities
        return found if np.abs(np.subtract(found, _REC709)).max() > 0.005 else None
    space = source.colour_space.casefold()
    return next((found for word, found in _PRIMARIES.items() if word in space), None)


def primaries_matrix(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the matrix from linear light of these primaries to Rec. 709; white stays white.

    The identity if the primaries are invalid.
    """
    # Bradford's adaptation of their white to that of Rec. 709.
    cones = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    scales = (cones @ _xyz(*_REC709[6:8])) / (cones @ _xyz(*primaries[6:8]))
    adapted = np.linalg.inv(cones) @ np.diag(scales) @ cones
    try:
        matrix = np.linalg.inv(_to_xyz(_REC709)) @ adapted @ _to_xyz(primaries)
    except np.linalg.LinAlgError:
        return np.eye(3)
    return matrix if np.isfinite(matrix).all() else np.eye(3)


def _to_xyz(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    points = np.array([_xyz(*primaries[index : index + 2]) for index in (0, 2, 4)]).T
    white = _xyz(*primaries[6:8])
    return np.asarray(points * np.linalg.solve(points, white), np.float64)


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    y = y if abs(y) > 1e-6 else 1e-6
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _encode_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    light = np.clip(light, 0.0, 1.0)
    bright = 1.055 * np.power(light, 1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, bright).astype(np.float32)

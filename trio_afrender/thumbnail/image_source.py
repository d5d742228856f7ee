"""Reads an image file as bands of rows, and chooses the part and channels that are the picture.

Reading band by band limits memory to `BAND_BYTES` for an image of any size. Only the channels that
are shown are read: a render can have a hundred.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from trio_afrender.thumbnail.common import ImageError

if TYPE_CHECKING:
    import numpy as np
    import OpenImageIO as oiio
    from numpy.typing import NDArray

__all__ = ("Band", "ImageSource", "find_colours", "open_source")

BAND_BYTES = 48 * 1024 * 1024
"""Bytes of float values in memory at once."""
BLOCK = 256
"""Rows; bands are multiples, because some files are compressed in blocks of 256 rows."""
MAX_WIDTH = 1 << 20
"""Pixels; a larger width means a damaged header."""
ORIENTATIONS = range(1, 9)
"""Those that EXIF has; any other number is a fault of the program that wrote the file."""
MAX_DEEP = 256 * 1024 * 1024
"""Samples of a deep image, which can only be flattened as a whole."""
_NOISE = re.compile(r"^EXR Error \(.*?\): (?:EXR_ERR_\w+ )?| magic 0x.*")
"""The parts of libraries' messages that do not help a user."""
_BEAUTY = ("beauty", "rgba", "rgb", "c", "ci", "color", "colour", "combined", "main", "default")


@attrs.frozen
class Band:
    """Some rows. `pixels` is (rows, columns, 1 or 3), within the data window."""

    top: int
    """The first row, counted from the top of the display window; can be negative."""
    left: int
    pixels: NDArray[np.float32]


@attrs.frozen(kw_only=True)
class ImageSource:
    """The picture in an open file. Rows and columns count from the corner of the display window."""

    path: Path
    width: int
    """Of the display window."""
    height: int
    aspect: float
    """Width of a pixel over its height."""
    orientation: int
    """As EXIF counts it; 1 is upright."""
    format_name: str
    depth: str
    """The type of the values in the file: ``uint8``, ``half``, ``float`` ..."""
    colour_space: str
    chromaticities: tuple[float, ...]
    transfer: str
    """The transfer characteristic in the header of a DPX file."""
    is_data: bool
    """Whether the picture is a single channel that is not light, such as depth."""
    _image: oiio.ImageInput = attrs.field(repr=False)
    _spec: oiio.ImageSpec = attrs.field(repr=False)
    _part: int = 0
    _channels: tuple[int, ...] = (0,)
    _flat: oiio.ImageBuf | None = attrs.field(default=None, repr=False)

    def bands(self) -> Iterator[Band]:
        """Yield all rows of the data window from the top. Raises `ImageError` for a damaged file."""
        spec = self._spec
        begin, end = min(self._channels), max(self._channels) + 1
        if spec.alpha_channel >= end and self.format_name != "openexr":
            end = spec.alpha_channel + 1  # some readers premultiply only if alpha is read, too
        rows = max(BAND_BYTES // (4 * spec.width * (end - begin)), 1)
        rows = rows // BLOCK * BLOCK or rows
        if spec.tile_height:
            rows = max(rows // spec.tile_height, 1) * spec.tile_height
        picked = [channel - begin for channel in self._channels]
        # A slice copies nothing, but only channels beside each other are one: ``R``, ``r``, ``G`` are not.
        is_run = picked == list(range(picked[0], picked[0] + len(picked)))
        order = slice(picked[0], picked[-1] + 1) if is_run else picked
        for top in range(spec.y, spec.y + spec.height, rows):
            bottom = min(top + rows, spec.y + spec.height)
            shape = bottom - top, spec.width, end - begin
            pixels: NDArray[np.float32] | None
            if self._flat is not None:
                import OpenImageIO as oiio

                roi = oiio.ROI(spec.x, spec.x + spec.width, top, bottom, 0, 1, begin, end)
                pixels = self._flat.get_pixels("float", roi)
            elif spec.tile_width:
                left, right = spec.x, spec.x + spec.width
                pixels = self._image.read_tiles(
                    self._part, 0, left, right, top, bottom, 0, 1, begin, end, "float"
                )
            else:
                pixels = self._image.read_scanlines(
                    self._part, 0, top, bottom, 0, begin, end, "float"
                )
            if pixels is None or self._image.has_error:
                error = first_line(self._image.geterror())
                raise ImageError(f"{self.path} is damaged or not complete: {error}")
            shown = pixels.reshape(shape)[..., order]
            yield Band(top - spec.full_y, spec.x - spec.full_x, shown)


@contextmanager
def open_source(path: Path) -> Iterator[ImageSource]:
    """Open the picture in an image file. Raises `ImageError`."""
    import OpenImageIO as oiio

    try:
        size = path.stat().st_size
    except OSError as error:  # removed a moment ago, or its folder cannot be read
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    if not size:
        raise ImageError(f"cannot read {path}: it is empty")
    with _utf8_name(path) as name:
        image = oiio.ImageInput.open(name)
        if image is None:
            raise ImageError(f"cannot read {path}: {first_line(oiio.geterror())}")
        try:
            yield _make_source(image, path, name)
        finally:
            image.close()
            image.geterror()  # an error that is not read is printed to stderr at exit


@contextmanager
def _utf8_name(path: Path) -> Iterator[str]:
    """Yield a name of the file that is UTF-8, a link if necessary: OpenImageIO takes no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"image{path.suffix.encode('ascii', 'ignore').decode()}"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


def _make_source(image: oiio.ImageInput, path: Path, name: str) -> ImageSource:
    import OpenImageIO as oiio

    part = _find_part(image)
    spec = image.spec(part)
    size = f"{spec.width} x {spec.height} pixels"
    if not 0 < spec.width <= MAX_WIDTH or spec.height <= 0 or spec.nchannels <= 0:
        raise ImageError(f"cannot read {path}: {size} is not a valid size")
    flat = None
    if spec.deep:
        if spec.width * spec.height > MAX_DEEP // 4:
            raise ImageError(f"cannot read {path}: a deep image of {size} is too large")
        deep = oiio.ImageBuf(name, part, 0)
        flat = oiio.ImageBufAlgo.flatten(deep)
        if deep.has_error or flat.has_error:
            error = first_line(deep.geterror() or flat.geterror())
            raise ImageError(f"{path} is damaged or not complete: {error}")
        spec = flat.spec()
    channels, is_data = find_colours(spec.channelnames)
    orientation = spec.get_int_attribute("Orientation", 1)
    chromaticities = spec.getattribute("chromaticities")
    if image.format_name() == "null":
        raise ImageError(f"cannot read {path}: it is not an image")
    return ImageSource(
        path=path,
        width=max(spec.full_width, 1),
        height=max(spec.full_height, 1),
        aspect=min(max(spec.get_float_attribute("PixelAspectRatio", 1.0) or 1.0, 0.1), 10.0),
        orientation=orientation if orientation in ORIENTATIONS else 1,
        format_name=image.format_name(),
        depth=str(oiio.TypeDesc(spec.format)),
        colour_space=spec.get_string_attribute("colorInteropID")
        or spec.get_string_attribute("oiio:ColorSpace"),
        chromaticities=tuple(map(float, chromaticities))
        if isinstance(chromaticities, tuple)
        else (),
        transfer=spec.get_string_attribute("dpx:Transfer"),
        is_data=is_data,
        image=image,
        spec=spec,
        part=part,
        channels=channels,
        flat=flat,
    )


def _find_part(image: oiio.ImageInput) -> int:
    """Return the part of a file that is the picture: by its name, else the first with colours."""
    first_with_colours: int | None = None
    part = 0
    while image.seek_subimage(part, 0):
        spec = image.spec()
        names = spec.channelnames
        if len(find_colours(names)[0]) == 3:
            if spec.get_string_attribute("oiio:subimagename").casefold() in _BEAUTY:
                return part
            if first_with_colours is None:
                first_with_colours = part
        part += 1
        if image.format_name() != "openexr":
            break  # parts of other formats are the same picture in other sizes, or other frames
    image.geterror()
    return first_with_colours or 0


def find_colours(names: Sequence[str]) -> tuple[tuple[int, ...], bool]:
    """Return the channels that are shown, three or one, and whether the one is data, not light.

    Channels without a layer come first, then those of a layer with a usual name of the picture, then
    any. Alpha is left out: colours are premultiplied when they are read, so they are those over black.
    """
    layers: dict[str, dict[str, int]] = {}
    for index, name in enumerate(names):
        layer, _, channel = name.rpartition(".")
        layers.setdefault(layer, {}).setdefault(channel.upper(), index)
    ordered = sorted(layers, key=lambda layer: (bool(layer), layer.casefold() not in _BEAUTY))
    for layer in ordered:
        channels = layers[layer]
        for wanted in (("R", "G", "B"), ("RED", "GREEN", "BLUE")):
            if all(channel in channels for channel in wanted):
                return tuple(channels[channel] for channel in wanted), False
    for layer in ordered:
        for grey in ("Y", "L", "I", "GRAY", "GREY"):
            if grey in layers[layer]:
                return (layers[layer][grey],), False
    if len(names) >= 3 and all(name.startswith("channel") for name in names):
        return (0, 1, 2), False  # the file has no channel names
    alone = names[0].rpartition(".")[2].upper() if names else ""
    return (0,), alone not in ("A", "R", "G", "B", "CHANNEL0")


def first_line(error: str) -> str:
    """Return the first line of an error of OpenImageIO, without technical prefixes."""
    lines = str(error).strip().splitlines()
    return _NOISE.sub("", lines[0]).rstrip(".:") if lines else "OpenImageIO gives no reason"

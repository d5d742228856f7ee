"""Thumbnails of the kinds of images that studios render, and of damaged images."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from numpy.typing import NDArray

from trio_afrender.thumbnail.common import ImageError
from trio_afrender.thumbnail.inspect import inspect_image
from trio_afrender.thumbnail.make import make_thumbnail, read_small

Pixels = NDArray[np.float32]
GREY = 118
"""The sRGB value of 18 % grey."""


def flat(*colour: float, wide: int = 80, high: int = 50) -> Pixels:
    return np.broadcast_to(np.asarray(colour, np.float32), (high, wide, len(colour))).copy()


def write(
    path: Path,
    pixels: Pixels,
    kind: str = "half",
    tiles: int = 0,
    **attributes: Any,  # noqa: ANN401 - whatever a file may hold
) -> Path:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    for name, value in attributes.items():
        if name == "channels":
            spec.channelnames = value
        elif hasattr(spec, name):
            setattr(spec, name, value)
        else:
            spec.attribute(name.replace("__", ":"), value)
    image = oiio.ImageBuf(spec)
    if tiles:
        image.set_write_tiles(tiles, tiles)
    image.set_pixels(oiio.ROI(), np.ascontiguousarray(pixels))
    assert image.write(str(path)), image.geterror()
    return path


def seen(path: Path, height: int = 50) -> Pixels:
    """Return the thumbnail's values, 0 to 255."""
    return np.asarray(read_small(path, height) * 255.0, np.float32)


def middle(path: Path) -> list[int]:
    small = seen(path)
    return [round(float(value)) for value in small[small.shape[0] // 2, small.shape[1] // 2]]


# -- kinds and colours ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compression", ["none", "rle", "zip", "zips", "piz", "dwaa", "dwab", "b44"]
)
@pytest.mark.parametrize("kind", ["half", "float"])
def test_exr(tmp_path: Path, kind: str, compression: str) -> None:
    path = write(tmp_path / "a.exr", flat(0.18, 0.5, 0.0), kind, compression=compression)
    assert middle(path) == pytest.approx([GREY, 188, 0], abs=2)


@pytest.mark.parametrize(
    ("name", "kind", "value", "shown"),
    [
        ("a.hdr", "float", 0.18, GREY),
        ("a.tif", "float", 0.18, GREY),  # float values are linear light
        ("a.tif", "half", 0.18, GREY),
        ("a.tif", "uint8", 0.5, 128),
        ("a.tif", "uint16", 0.5, 128),
        ("a.png", "uint16", 0.5, 128),
        ("a.jpg", "uint8", 0.5, 128),
        ("a.tga", "uint8", 0.5, 128),
        ("a.bmp", "uint8", 0.5, 128),
        ("a.webp", "uint8", 0.5, 128),
        ("a.sgi", "uint8", 0.5, 128),
        ("a.jp2", "uint8", 0.5, 128),
    ],
)
def test_other_kinds(tmp_path: Path, name: str, kind: str, value: float, shown: int) -> None:
    path = write(tmp_path / name, flat(value, value, value), kind)
    assert middle(path) == pytest.approx([shown] * 3, abs=2)


@pytest.mark.parametrize(
    ("transfer", "code", "shown"),
    [
        ("Logarithmic", 685 / 1023, 255),  # Kodak's white
        ("Printing density", 470 / 1023, GREY),  # the code of 18 % grey
        ("Undefined", 95 / 1023, 0),  # Kodak's black
        ("Linear", 0.18, GREY),
        ("ITU-R 709-4", 0.5, 128),
    ],
)
def test_dpx_by_its_transfer(tmp_path: Path, transfer: str, code: float, shown: int) -> None:
    path = write(
        tmp_path / "a.dpx",
        flat(code, code, code),
        "uint16",
        dpx__Transfer=transfer,
        oiio__BitsPerSample=10,
    )
    assert middle(path) == pytest.approx([shown] * 3, abs=3)


def test_cineon(tmp_path: Path) -> None:
    """The file is written by hand, because the library only reads this format."""
    wide, high = 16, 8
    head = bytearray(b"\xff" * 2048)
    struct.pack_into(">IIIII", head, 0, 0x802A5FD7, 2048, 1024, 1024, 0)
    struct.pack_into(">I", head, 20, 2048 + wide * high * 4)
    head[192:196] = bytes([0, 3, 0, 0])  # orientation, channels
    for channel in range(3):
        at = 196 + 28 * channel
        head[at : at + 4] = bytes([0, channel + 1, 10, 0])
        struct.pack_into(">II", head, at + 4, wide, high)
        struct.pack_into(">ffff", head, at + 12, 0.0, 0.0, 1023.0, 2.046)
    head[680:684] = bytes([0, 5, 0, 0])  # interleaved by pixel, three of ten bits in a word
    struct.pack_into(">III", head, 684, 0, 0, 0)
    word = struct.pack(">I", (685 << 22) | (470 << 12) | (95 << 2))
    path = tmp_path / "a.cin"
    path.write_bytes(bytes(head) + word * wide * high)
    assert middle(path) == pytest.approx([255, GREY, 0], abs=3)


@pytest.mark.parametrize(
    ("colour", "shown"),
    [((0.18, 0.18, 0.18), [GREY] * 3), ((1.0, 1.0, 1.0), [255] * 3)],
)
def test_foreign_primaries_keep_grey_and_white(
    tmp_path: Path, colour: tuple[float, ...], shown: list[int]
) -> None:
    ap1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    path = tmp_path / "a.exr"
    spec = oiio.ImageSpec(80, 50, 3, "half")
    spec.attribute("chromaticities", "float[8]", ap1)
    image = oiio.ImageBuf(spec)
    image.set_pixels(oiio.ROI(), flat(*colour))
    assert image.write(str(path)), image.geterror()
    assert middle(path) == pytest.approx(shown, abs=2)


def test_acescg_red_is_beyond_the_gamut_of_a_screen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.exr", flat(0.2, 0.0, 0.0), oiio__ColorSpace="ACEScg")
    plain = write(tmp_path / "b.exr", flat(0.2, 0.0, 0.0))
    red, green, blue = middle(path)
    assert red > middle(plain)[0] + 20
    assert (green, blue) == (0, 0)


# -- the part of a file that is the picture -------------------------------------------------------


def test_a_single_extreme_pixel_does_not_whiten_its_box(tmp_path: Path) -> None:
    pixels = flat(0.0, 0.0, 0.0, wide=400, high=400)
    pixels[200, 200] = 60000.0
    pixels[100, 100] = np.nan
    pixels[300, 300] = np.inf
    small = seen(write(tmp_path / "a.exr", pixels), height=40)
    assert small.max() < 30
    assert np.isfinite(small).all()


def test_alpha_is_over_black_and_straight_alpha_is_multiplied(tmp_path: Path) -> None:
    for name, kind in (("a.png", "uint8"), ("a.tif", "uint8"), ("a.tga", "uint8")):
        pixels = flat(1.0, 0.5, 0.0, 0.5)
        path = write(tmp_path / name, pixels, kind, oiio__UnassociatedAlpha=1)
        assert middle(path) == pytest.approx([128, 64, 0], abs=2), name
    path = write(tmp_path / "a.exr", flat(0.5, 0.0, 0.0, 0.5))
    assert middle(path) == pytest.approx([188, 0, 0], abs=2)


def test_tiles_and_levels(tmp_path: Path) -> None:
    pixels = flat(0.18, 0.18, 0.18, wide=300, high=170)
    pixels[:85] = 0.0
    path = write(tmp_path / "t.exr", pixels, tiles=64)
    small = seen(path, height=34)
    assert small.shape == (34, 60, 3)
    assert small[:17].max() == 0
    assert small[17:].min() == pytest.approx(GREY, abs=2)
    image = oiio.ImageBuf(str(path))
    texture = tmp_path / "t.tx"
    assert oiio.ImageBufAlgo.make_texture(oiio.MakeTxTexture, image, str(texture))
    assert seen(texture, height=34)[20:].min() == pytest.approx(GREY, abs=3)


def test_the_display_window_counts(tmp_path: Path) -> None:
    """Black surrounds a smaller data window; a larger one (overscan) is cut."""
    small = write(
        tmp_path / "crop.exr", flat(1.0, 1.0, 1.0, wide=40, high=20), x=20, y=10, full_width=80, full_height=40
    )  # fmt: skip
    picture = seen(small, height=40)
    assert picture.shape == (40, 80, 3)
    assert picture[10:30, 20:60].min() == pytest.approx(255)
    assert picture.sum() == pytest.approx(40 * 20 * 3 * 255)
    pixels = flat(0.0, 1.0, 0.0, wide=100, high=60)
    pixels[:10], pixels[-10:], pixels[:, :10], pixels[:, -10:] = 0.5, 0.5, 0.5, 0.5
    over = write(tmp_path / "over.exr", pixels, x=-10, y=-10, full_width=80, full_height=40)
    picture = seen(over, height=20)
    assert picture.shape == (20, 40, 3)
    assert picture[..., 0].max() == 0


@pytest.mark.parametrize("orientation", [0, -3, 9, 100_000])
def test_an_orientation_that_exif_has_not_is_upright(tmp_path: Path, orientation: int) -> None:
    image = write(tmp_path / "a.exr", flat(0.5, 0.5, 0.5), Orientation=orientation)
    assert seen(image).shape == (50, 80, 3)


def test_channels_apart_from_each_other_are_the_picture(tmp_path: Path) -> None:
    """OpenImageIO sorts the channels of an OpenEXR file: ``r`` stands beside ``R``."""
    names = ("R", "red", "G", "green", "B", "blue")
    image = write(tmp_path / "a.exr", flat(0.0, 1.0, 1.0, 0.0, 0.0, 0.0), channels=names)
    assert seen(image).shape == (50, 80, 3)
    assert middle(image) == [0, 255, 0]


def test_aspect_orientation_and_panoramas(tmp_path: Path) -> None:
    squeezed = write(tmp_path / "s.exr", flat(0.5, 0.5, 0.5), PixelAspectRatio=2.0)
    assert seen(squeezed).shape == (50, 160, 3)
    pixels = flat(0.0, 0.0, 0.0, wide=80, high=40)
    pixels[:20, :40] = 1.0  # the top left corner
    for orientation, row, column in (
        (1, 0, 0),
        (3, 1, 1),
        (6, 0, 1),
        (8, 1, 0),
        (2, 0, 1),
        (5, 0, 0),
    ):
        path = write(tmp_path / f"o{orientation}.tif", pixels, "uint8", Orientation=orientation)
        small = seen(path, height=40)
        assert small.shape == ((40, 80, 3) if orientation < 5 else (40, 20, 3))
        high, wide = small.shape[:2]
        lit = small[high // 4 + row * high // 2, wide // 4 + column * wide // 2]
        assert lit.min() > 200, orientation
        assert (small > 128).mean() == pytest.approx(0.25, abs=0.05)
    panorama = write(tmp_path / "p.png", flat(1.0, 1.0, 1.0, wide=4000, high=2), "uint8")
    assert seen(panorama, height=50).shape == (1, 200, 3)
    tall = write(tmp_path / "q.png", flat(1.0, 1.0, 1.0, wide=1, high=3000), "uint8")
    assert seen(tall, height=50).shape == (50, 1, 3)


def test_small_images_are_enlarged(tmp_path: Path) -> None:
    pixels = flat(0.0, 0.0, 0.0, wide=2, high=2)
    pixels[0, 0] = 1.0
    small = seen(write(tmp_path / "a.png", pixels, "uint8"), height=10)
    assert small.shape == (10, 10, 3)
    assert small[:5, :5].min() == 255
    assert small.sum() == 25 * 3 * 255


def write_parts(path: Path, *parts: tuple[str, tuple[str, ...], tuple[float, ...]]) -> Path:
    specs = []
    for name, channels, _ in parts:
        spec = oiio.ImageSpec(80, 50, len(channels), "half")
        spec.channelnames = channels
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    output = oiio.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), specs), output.geterror()
    for number, (_, _, colour) in enumerate(parts):
        if number:
            assert output.open(str(path), specs[number], "AppendSubimage"), output.geterror()
        assert output.write_image(flat(*colour)), output.geterror()
    output.close()
    return path


def test_the_part_named_beauty_is_the_picture(tmp_path: Path) -> None:
    rgb, depth = ("R", "G", "B"), ("Z",)
    path = write_parts(
        tmp_path / "a.exr",
        ("depth", depth, (9.0,)),
        ("normals", rgb, (1.0, 0.0, 0.0)),
        ("beauty", rgb, (0.0, 0.18, 0.0)),
    )
    assert middle(path) == pytest.approx([0, GREY, 0], abs=2)
    path = write_parts(
        tmp_path / "b.exr", ("depth", depth, (9.0,)), ("normals", rgb, (0.18, 0.0, 0.0))
    )
    assert middle(path) == pytest.approx([GREY, 0, 0], abs=2)


def test_layers(tmp_path: Path) -> None:
    channels = ("A", "B", "G", "R", "normal.R", "normal.G", "normal.B", "Z")
    path = write(tmp_path / "a.exr", flat(1, 0.0, 0.18, 0.5, 1, 1, 1, 900), channels=channels)
    assert middle(path) == pytest.approx([188, GREY, 0], abs=2)
    layers = ("N.R", "N.G", "N.B", "beauty.red", "beauty.green", "beauty.blue")
    path = write(tmp_path / "b.exr", flat(1, 1, 1, 0.18, 0, 0), channels=layers)
    assert middle(path) == pytest.approx([GREY, 0, 0], abs=2)


def test_depth_alone_is_stretched(tmp_path: Path) -> None:
    pixels = flat(500.0, wide=80, high=50)
    pixels[:, 40:] = 1500.0
    pixels[:10] = np.inf  # the sky
    small = seen(write(tmp_path / "z.exr", pixels, "float", channels=("Z",)))
    assert small[30, 10].tolist() == [0, 0, 0]
    assert small[30, 70].tolist() == [255, 255, 255]
    assert small[2, 10].tolist() == [255, 255, 255]


def test_deep(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(80, 50, 5, "half")
    spec.channelnames = ("R", "G", "B", "A", "Z")
    spec.channelformats = ("half", "half", "half", "half", "float")
    spec.deep = True
    deep = oiio.ImageBuf(spec)
    for y in range(50):
        for x in range(80):
            deep.set_deep_samples(x, y, 0, 2)
            for sample, values in enumerate(
                ((0.09, 0.0, 0.0, 0.5, 1.0), (0.18, 0.0, 0.0, 1.0, 2.0))
            ):
                for channel, value in enumerate(values):
                    deep.set_deep_value(x, y, 0, channel, sample, value)
    path = tmp_path / "deep.exr"
    assert deep.write(str(path)), deep.geterror()
    assert middle(path) == pytest.approx([GREY, 0, 0], abs=3)  # 0.09 + half of 0.18
    look = inspect_image(path)
    assert look is not None
    assert not look.black


# -- damaged ones ---------------------------------------------------------------------------------

KINDS = {
    "exr": "half", "tif": "float", "hdr": "float", "png": "uint8", "tga": "uint8", "jpg": "uint8",
    "dpx": "uint16", "webp": "uint8", "bmp": "uint8", "sgi": "uint8",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_images_are_detected(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(1).random((300, 400, 3), np.float32)
    whole = write(tmp_path / f"a.{kind}", noise, KINDS[kind])
    assert inspect_image(whole) is not None
    cut = tmp_path / f"cut.{kind}"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    for look in (inspect_image, lambda path: make_thumbnail(path, tmp_path / "t.jpg")):
        with pytest.raises(ImageError) as caught:
            look(cut)
        assert str(cut) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "t.jpg").exists()


def test_a_text_file_with_the_extension_exr(tmp_path: Path) -> None:
    path = tmp_path / "notes.exr"
    path.write_text("not an image at all\n" * 20)
    with pytest.raises(ImageError, match=r"cannot read .*notes.exr: File is not an OpenEXR file$"):
        inspect_image(path)


@pytest.mark.parametrize("name", ["empty.exr", "empty.png", "empty.jpg"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ImageError, match=f"{name}: it is empty"):
        inspect_image(tmp_path / name)


def test_a_file_name_may_contain_special_characters(tmp_path: Path) -> None:
    name = 'it\'s "a" $(touch x) `y`\n%d\\ * .0001.exr'
    path = write(tmp_path / name, flat(0.5, 0.5, 0.5))
    make_thumbnail(path, tmp_path / f"{name}.jpg")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([name, f"{name}.jpg"])


def test_the_facts_of_an_image(tmp_path: Path) -> None:
    pixels = flat(0.0, 0.0, 0.0)
    black = inspect_image(write(tmp_path / "black.exr", pixels))
    assert black is not None
    assert (black.width, black.height, black.values, black.bad, black.black) == (
        80,
        50,
        12000,
        0,
        True,
    )
    pixels[3, 4, 1] = np.nan
    pixels[5] = np.inf
    odd = inspect_image(write(tmp_path / "odd.exr", pixels))
    assert odd is not None
    assert (odd.bad, odd.black) == (241, True)
    pixels[9, 9, 0] = 0.01
    lit = inspect_image(write(tmp_path / "lit.exr", pixels))
    assert lit is not None
    assert not lit.black
    alpha = inspect_image(write(tmp_path / "alpha.exr", flat(0, 0, 0, 1)))
    assert alpha is not None
    assert alpha.black  # alpha does not count
    assert inspect_movie(tmp_path) is None


def inspect_movie(folder: Path) -> object:
    (folder / "m.mov").write_bytes(b"x")
    return inspect_image(folder / "m.mov")


HUGE = """
import sys
from pathlib import Path
from trio_afrender.thumbnail.make import make_thumbnail
make_thumbnail(Path(sys.argv[1]), Path(sys.argv[2]), height=100)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)
"""
"""Prints the peak of resident memory from the kernel's status file. `ru_maxrss` would start at the
peak of the parent process, which in a run of all tests is more than the limit."""


def test_sixteen_thousand_pixels_wide(tmp_path: Path) -> None:
    """805 MB of pixels, 3.2 GB as floats, are read band by band."""
    path = tmp_path / "huge.tif"
    spec = oiio.ImageSpec(16384, 16384, 3, "uint8")
    spec.attribute("Compression", "packbits")
    spec.attribute("tiff:RowsPerStrip", 64)
    output = oiio.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), spec)
    rows = np.full((256, 16384, 3), 128, np.uint8)
    for top in range(0, 16384, 256):
        assert output.write_scanlines(top, top + 256, 0, rows)
    output.close()
    words = [sys.executable, "-c", HUGE, str(path), str(tmp_path / "t.jpg")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400, "MiB"
    image = oiio.ImageBuf(str(tmp_path / "t.jpg"))
    assert (image.spec().width, image.spec().height) == (100, 100)


def test_a_header_with_a_huge_size_costs_no_memory(tmp_path: Path) -> None:
    """The header has 65,535 by 65,535 pixels, the file 80 by 50."""
    path = write(tmp_path / "a.tga", flat(1.0, 1.0, 1.0), "uint8")
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, 12, 65535, 65535)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"a\.tga"):
        inspect_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024

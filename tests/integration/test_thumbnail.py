"""Thumbnails of real images and movies, made by the command that tasks run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import OpenImageIO as oiio
import pytest

from trio_afrender.thumbnail import make, movies
from trio_afrender.thumbnail.__main__ import main
from trio_afrender.thumbnail.common import ImageError
from trio_afrender.thumbnail.make import make_thumbnail
from trio_afrender.thumbnail.worker import answer


def _write_image(
    path: Path,
    colour: tuple[float, ...],
    *,
    names: tuple[str, ...] = (),
    kind: str = "half",
    straight: bool = False,
) -> Path:
    """Write an image of 80 by 50 pixels of one colour."""
    spec = oiio.ImageSpec(80, 50, len(colour), kind)
    if names:
        spec.channelnames = names
    if straight:
        spec.attribute("oiio:UnassociatedAlpha", 1)
    image = oiio.ImageBuf(spec)
    pixels = np.broadcast_to(np.asarray(colour, np.float32), (50, 80, len(colour)))
    image.set_pixels(oiio.ROI(), np.ascontiguousarray(pixels))
    assert image.write(str(path)), image.geterror()
    return path


def _read_thumbnail(path: Path) -> tuple[int, int, list[int]]:
    """Return width, height and the colour in the middle, 0..255."""
    image = oiio.ImageBuf(str(path))
    assert image.read(force=True), image.geterror()
    assert image.file_format_name == "jpeg"
    spec = image.spec()
    middle = image.getpixel(spec.width // 2, spec.height // 2)
    return spec.width, spec.height, [round(float(value) * 255) for value in middle]


@pytest.mark.parametrize(
    ("name", "colour", "names", "shown"),
    [
        ("a.exr", (0.5, 0.0, 0.0), (), [188, 0, 0]),  # linear light becomes sRGB
        ("a.exr", (9.0, -1.0, 0.0), (), [255, 0, 0]),
        ("a.exr", (float("nan"), 0.0, float("inf")), (), [0, 0, 255]),
        ("a.exr", (0.5, 0.0, 0.0, 0.5), ("R", "G", "B", "A"), [188, 0, 0]),
        ("a.exr", (0.9, 0.0, 0.5, 0.0, 0.1), ("Z", "v.B", "v.G", "v.R", "v.A"), [0, 188, 0]),
        ("a.exr", (0.5,), ("Y",), [188, 188, 188]),
        ("a.png", (0.5, 0.5, 0.5), (), [128, 128, 128]),
        ("a.tif", (0.5, 1.0, 0.0), (), [128, 255, 0]),
        ("A.PNG", (1.0,), (), [255, 255, 255]),
    ],
)
def test_colours(
    tmp_path: Path,
    name: str,
    colour: tuple[float, ...],
    names: tuple[str, ...],
    shown: list[int],
) -> None:
    kind = "half" if name.endswith("exr") else "uint8"
    image = _write_image(tmp_path / name, colour, names=names, kind=kind)
    make_thumbnail(image, tmp_path / "t.jpg")
    wide, high, middle = _read_thumbnail(tmp_path / "t.jpg")
    assert (wide, high) == (160, 100)
    assert middle == pytest.approx(shown, abs=3)  # JPEG is not exact


def test_alpha_is_flat_over_black(tmp_path: Path) -> None:
    image = _write_image(tmp_path / "a.png", (1.0, 0.0, 0.0, 0.5), kind="uint8", straight=True)
    make_thumbnail(image, tmp_path / "t.jpg", height=50)
    assert _read_thumbnail(tmp_path / "t.jpg")[2] == pytest.approx([128, 0, 0], abs=3)


def test_height(tmp_path: Path) -> None:
    image = _write_image(tmp_path / "a.png", (1.0, 1.0, 1.0), kind="uint8")
    assert main([str(image), str(tmp_path / "t.jpg"), "--height", "20"]) == 0
    assert _read_thumbnail(tmp_path / "t.jpg")[:2] == (32, 20)


def test_no_other_file_than_the_thumbnail_stays(tmp_path: Path) -> None:
    image = _write_image(tmp_path / "a.png", (1.0, 1.0, 1.0), kind="uint8")
    store = tmp_path / "store"
    store.mkdir()
    (store / "t.jpg").write_bytes(b"an old one")
    make_thumbnail(image, store / "t.jpg")
    assert [path.name for path in store.iterdir()] == ["t.jpg"]
    assert (store / "t.jpg").stat().st_size < 100_000
    assert (store / "t.jpg").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def ffmpeg() -> str:
    """The program of a package of the extra `test`."""
    found: str = imageio_ffmpeg.get_ffmpeg_exe()
    return found


def _record(ffmpeg: str, path: Path) -> None:
    words = ["-f", "lavfi", "-i", "color=red:size=64x48:rate=5:duration=1", "-pix_fmt", "yuv420p"]
    subprocess.run(
        [ffmpeg, "-v", "error", *words, str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", ["m.mp4", "with: colon.MOV"])
def test_a_movie(tmp_path: Path, name: str, ffmpeg: str) -> None:
    _record(ffmpeg, tmp_path / "m.mp4")
    movie = (tmp_path / "m.mp4").rename(tmp_path / name)
    make_thumbnail(movie, tmp_path / "t.jpg")
    wide, high, (red, green, blue) = _read_thumbnail(tmp_path / "t.jpg")
    assert (wide, high) == (134, 100)  # the codec demands an even width
    assert red > 240
    assert max(green, blue) < 20


@pytest.mark.parametrize("name", ["b.mp4", "b.exr", "b.png", "b.xyz"])
def test_a_file_that_is_no_image(
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if name.endswith("mp4"):
        request.getfixturevalue("ffmpeg")
    (tmp_path / name).write_bytes(b"nothing of that kind\n" * 20)
    assert main([str(tmp_path / name), str(tmp_path / "t.jpg")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_missing_files_and_folders(tmp_path: Path) -> None:
    image = _write_image(tmp_path / "a.png", (1.0, 1.0, 1.0), kind="uint8")
    with pytest.raises(ImageError, match="there is no file"):
        make_thumbnail(tmp_path / "gone.exr", tmp_path / "t.jpg")
    with pytest.raises(ImageError, match=r"cannot write to .*nowhere"):
        make_thumbnail(image, tmp_path / "nowhere" / "t.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match=r"cannot write .*folder"):
        make_thumbnail(image, tmp_path / "folder.jpg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "folder.jpg"]


def test_the_image_is_the_cause_of_its_own_faults_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or a program that is missing says nothing about the frame."""
    image = _write_image(tmp_path / "a.png", (1.0, 1.0, 1.0), kind="uint8")
    (tmp_path / "bad.png").write_bytes(image.read_bytes()[:60])
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "m.mp4").write_bytes(b"x")
    (tmp_path / "ffmpeg").write_bytes(b"no program")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def is_sure(image: str, thumb: str) -> bool:
        paths = {"image": str(tmp_path / image), "thumb": str(tmp_path / thumb)}
        found = answer({"op": "thumbnail", "height": 50, **paths})
        assert found["error"]
        assert "Error" not in found["error"]
        return found["sure"] is True

    assert is_sure("gone.png", "t.jpg")
    assert is_sure("bad.png", "t.jpg")
    assert not is_sure("a.png", "nowhere/t.jpg")
    assert not is_sure("a.png", "folder.jpg")
    assert not is_sure("m.mp4", "t.jpg")


def test_an_image_that_vanishes_is_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    with pytest.raises(ImageError, match=r"cannot read .*gone.png: No such file"):
        make_thumbnail(tmp_path / "gone.png", tmp_path / "t.jpg")


def test_without_the_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = _write_image(tmp_path / "a.png", (1.0, 1.0, 1.0), kind="uint8")
    (tmp_path / "m.mp4").write_bytes(b"x")
    for module in (movies, make):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match='install the extra "thumbnails"'):
        make_thumbnail(image, tmp_path / "t.jpg")
    with pytest.raises(ImageError, match="needs ffmpeg"):
        make_thumbnail(tmp_path / "m.mp4", tmp_path / "t.jpg")


def test_the_command_ignores_modules_in_the_tasks_folder(tmp_path: Path) -> None:
    image = _write_image(tmp_path / "-a b.png", (1.0, 1.0, 1.0), kind="uint8")
    (tmp_path / "OpenImageIO.py").write_text("raise SystemExit(7)")
    words = [sys.executable, "-E", "-P", "-m", "trio_afrender.thumbnail", "--", image.name, "t.jpg"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert _read_thumbnail(tmp_path / "t.jpg")[:2] == (160, 100)

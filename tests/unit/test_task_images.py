"""Which images of a task are checked, and which file sizes are suspect within a sequence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_afrender.task.image_checks import (
    check_size,
    check_size_on_disk,
    sample_evenly,
    sibling_sizes,
)


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [
        (0, 3, []),
        (3, 3, [0, 1, 2]),
        (9, 3, [0, 4, 8]),
        (100, 4, [0, 33, 66, 99]),
    ],
)
def test_sample_evenly(count: int, most: int, chosen: list[int]) -> None:
    paths = [str(index) for index in range(count)]
    assert list(sample_evenly(paths, most)) == [str(index) for index in chosen]


def test_siblings_are_the_nearest_of_the_sequence() -> None:
    sizes = [(f"v2_beauty.{n:04d}.exr", 1000 + n) for n in range(1, 101)]
    sizes += [("v2_beauty.0050.png", 1), ("v2_normal.0050.exr", 2), ("v2_beauty.x.exr", 3)]
    sizes += [("v2_beauty.0049.exr.tmp", 4), ("v2_beauty.0051.5.exr", 5)]
    near = sibling_sizes("/r/v2_beauty.0050.exr", sizes)
    assert len(near) == 40
    assert sorted(near) == [1000 + n for n in range(30, 71) if n != 50]
    assert sibling_sizes("/r/still.exr", sizes) == ()
    assert sibling_sizes("/r/" + "9" * 5000 + ".exr", [("8" * 5000 + ".exr", 7)]) == (7,)


def test_an_empty_sibling_does_not_count() -> None:
    assert sibling_sizes("a.1.exr", [("a.2.exr", 0), ("a.3.exr", 9)]) == (9,)


@pytest.mark.parametrize(
    ("size", "siblings", "suspect"),
    [
        (1000, [1000, 1100, 900, 1050], False),
        (260, [1000] * 4, False),
        (249, [1000] * 4, True),
        (4001, [1000] * 4, True),
        (1, [1000] * 3, False),  # too few to compare with
        (500, [1, 1000, 1000, 1000, 100_000], False),
    ],
)
def test_check_size(size: int, siblings: list[int], suspect: bool) -> None:
    found = check_size("a.exr", size, siblings)
    assert (found is not None) == suspect
    if found is not None:
        assert not found.serious
        assert (
            f"the file has {size} bytes, {len(siblings)} others of its sequence about 1000"
            in str(found)
        )


def test_check_size_on_disk(tmp_path: Path) -> None:
    for number in range(1, 8):
        (tmp_path / f"f.{number}.exr").write_bytes(b"x" * 1000)
    (tmp_path / "f.4.exr").write_bytes(b"x" * 10)
    (tmp_path / "f.9.exr").mkdir()
    assert "10 bytes, 6 others" in str(check_size_on_disk(os.fspath(tmp_path / "f.4.exr")))
    assert check_size_on_disk(os.fspath(tmp_path / "f.5.exr")) is None
    assert check_size_on_disk(os.fspath(tmp_path / "gone" / "f.5.exr")) is None

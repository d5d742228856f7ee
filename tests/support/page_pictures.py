"""Takes the pictures of docs/web.md: a real farm that renders the Cornell example, in Chromium.

python tests/support/page_pictures.py docs/pictures [--frames 24] [--size 200]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import expect

from support.page_viewer import (
    GUARD,
    PAINT,
    BrowserViewer,
    open_browser,
    open_program,
    open_viewer,
    page_address,
)

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1200, 780)
_COLOURS = "split[a][b];[a]palettegen=max_colors=250[p];[b][p]paletteuse=dither=none"
"""Few colours make small files."""

expect.set_options(timeout=GUARD * 1000)


def make_jobs(folder: Path, options: argparse.Namespace) -> list[Path]:
    """The Cornell example, and jobs of other users in other states."""
    cornell = subprocess.run(
        [
            sys.executable, ROOT / "examples/cornell/submit.py", "--output", folder / "frames",
            "--frames", str(options.frames), "--size", str(options.size), "--samples", "16",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    job = json.loads(cornell.stdout)
    job["job"] |= {"user_name": "ann", "annotation": "turntable for the review"}
    (folder / "frames").mkdir()
    jobs = [job]
    images = folder / "images"
    images.mkdir()
    frames = {"service": "generic", "flags": 1, "frame_first": 1, "frames_per_task": 1}
    for name, user, last, more in (
        ("sh0210_comp_v014", "ben", 48, {"capacity": 40}),
        ("sh0220_lighting_v003", "carla", 40, {"need_memory": 1 << 20}),
        ("sh0230_fx_smoke_v021", "dave", 64, {"capacity": 40, "errors_retries": 0}),
    ):
        command = f"{PAINT} @#@ {images}/{user}.@#@.png --seconds 0.1"
        command += " --fail 7" if user == "dave" else ""
        block = {"name": "render", "frame_last": last, "command": command, **frames, **more}
        jobs.append({"job": {"name": name, "user_name": user, "blocks": [block]}})
    paths = []
    for number, each in enumerate(jobs):
        paths.append(folder / f"job{number}.json")
        paths[-1].write_text(json.dumps(each))
    return paths


def show_question(viewer: BrowserViewer) -> None:
    viewer.page.locator(".jobhead [data-verb=stop]").click()
    expect(viewer.page.locator("dialog.agree")).to_be_visible()


def show_book(viewer: BrowserViewer) -> None:
    viewer.page.locator("button", has_text="Flip book").click()
    viewer.press("ArrowRight", "ArrowRight", "ArrowRight")
    expect(viewer.page.locator(".bookimage")).to_be_visible()


def show_plots(viewer: BrowserViewer) -> None:
    viewer.page.wait_for_timeout(25_000)  # a point every 5 s


def show_nothing(viewer: BrowserViewer) -> None:
    pass


View = tuple[str, Callable[[BrowserViewer], None], tuple[int, int]]


def list_views(cornell: int, stuck: int) -> Mapping[str, View]:
    phone = (390, 780)
    return {
        "jobs": ("/jobs", show_nothing, SIZE),
        "job": (f"/jobs/{cornell}", show_nothing, SIZE),
        "question": (f"/jobs/{cornell}", show_question, SIZE),  # while tasks run
        "renders": ("/renders", show_plots, (1200, 420)),
        "render": ("/renders/1", show_nothing, (1200, 480)),
        "frame": (f"/jobs/{cornell}/0.0", show_nothing, (1200, 900)),
        "sheet": (f"/jobs/{cornell}/sheet", show_nothing, (1200, 940)),
        "book": (f"/jobs/{cornell}/sheet", show_book, SIZE),
        "why": (f"/jobs/{stuck}/why", show_nothing, SIZE),
        "parameters": (f"/jobs/{cornell}/settings", show_nothing, SIZE),
        "farm": ("/farm", show_nothing, (1200, 640)),
        "log": ("/log", show_nothing, (1200, 420)),
        "phone": (f"/jobs/{cornell}", show_nothing, phone),
    }


def make_small(path: Path) -> None:
    """Write a picture again with a palette."""
    small = path.with_suffix(".small.png")
    program = imageio_ffmpeg.get_ffmpeg_exe()
    line = [program, "-v", "error", "-y", "-i", path, "-vf", _COLOURS, "-compression_level", "100"]
    subprocess.run([*line, small], check=True)
    if small.stat().st_size < path.stat().st_size:
        small.replace(path)
    small.unlink(missing_ok=True)


def main(options: argparse.Namespace) -> None:
    options.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        jobs = make_jobs(home, options)
        words: tuple[Any, ...] = ("--agents", "2", "--json", "127.0.0.1:0", "--web", "127.0.0.1:0")
        store = ("--af_store_folder", home / "store")
        with (
            open_program(home, "farm", *jobs, *words, *store, AF_USERNAME="ann") as farm,
            open_browser() as browser,
        ):
            address = page_address(farm)
            cornell, stuck = (int(farm.find(rf'"{name}" is (\d+)')[1]) for name in
                              ("cornell", "sh0220_lighting_v003"))  # fmt: skip
            with open_viewer(browser, address) as viewer:
                # Some changes for the log, and a history for the plots.
                viewer.go("/jobs")
                viewer.page.locator(".row", has_text="sh0230_fx").click()
                viewer.page.locator(".jobhead [data-verb=pause]").click()
                viewer.agree()
                viewer.go("/renders")
                viewer.page.locator(".row", has_text="vm-2").click()
                viewer.page.get_by_label("Edit the annotation").click()
                viewer.page.get_by_label("Annotation", exact=True).fill("new fan since Monday")
                viewer.press("Enter")
                viewer.agree()
                viewer.go(f"/jobs/{cornell}")
                done = options.frames // 2
                viewer.page.wait_for_timeout(1000)
                while (
                    f"{done} of {options.frames}" not in viewer.page.locator(".blocks").inner_text()
                ):
                    viewer.page.wait_for_timeout(200)
            views = list_views(cornell, stuck)
            for name in options.only.split(",") if options.only else views:
                path, show, size = views[name]
                for scheme in ("light", "dark"):
                    take_picture(
                        browser,
                        address + path,
                        show,
                        size,
                        scheme,
                        options.folder / f"{name}-{scheme}.png",
                    )


def take_picture(
    browser: Any,  # noqa: ANN401 - a browser
    address: str,
    show: Callable[[BrowserViewer], None],
    size: tuple[int, int],
    scheme: str,
    target: Path,
) -> None:
    with open_viewer(browser, address, size=size, scheme=scheme) as viewer:
        viewer.page.goto(address)
        expect(viewer.page.locator("h1")).to_be_visible()
        viewer.page.wait_for_timeout(2500)  # images, and a few points of each plot
        show(viewer)
        viewer.page.wait_for_timeout(300)
        viewer.page.screenshot(path=target)
    make_small(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--only", default="", help="names of views, with commas between")
    main(parser.parse_args())

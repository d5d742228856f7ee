"""Print the job that renders the animated Cornell box and makes a movie of it.

    python submit.py > cornell.json && trio_afrender run cornell.json --agents 2

The job contains the paths of this folder, this Python and this ffmpeg: make it on the machine that
runs it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import imageio_ffmpeg

HERE = Path(__file__).resolve().parent
ROUNDS, RATE, COLUMNS = 4, 12, 6
# EXR pixels are linear light, a movie needs display values: hence the exponent 1 / 2.2.
DISPLAY = (
    "format=gbrp16le,lutrgb="
    + ":".join(rf"{channel}=65535*pow(val/65535\,1/2.2)" for channel in "rgb")
    + ",setparams=color_primaries=bt709:color_trc=bt709"
)
# Removes single bright pixels first, then the remaining noise.
DENOISE = "format=gbrp,removegrain=2:2:2,nlmeans=s=4:p=5:r=11"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=24, help="frames of one round")
    parser.add_argument("--size", type=int, default=240, help="pixels a side")
    parser.add_argument("--samples", type=int, default=25, help="light paths a pixel")
    parser.add_argument("--output", type=Path, default=HERE / "out", help="folder of the images")
    options = parser.parse_args()
    job = make_job(options.output.resolve(), options.frames, options.size, options.samples)
    json.dump(job, sys.stdout, indent=2)
    sys.stdout.write("\n")


def make_job(output: Path, frames: int, size: int, samples: int) -> dict[str, object]:
    """Return the job: a block of frames, and a block of two films of them that waits for it."""
    images = f"{output}/cornell.@####@.exr"
    render = shlex.join(
        [
            sys.executable,
            str(HERE / "render.py"),
            *("--frame", "@#@", "--frames", str(frames)),
            *("--size", str(size), "--samples", str(samples), "--output", images),
        ]
    )
    blocks = [
        {
            "name": "render",
            "service": "mitsuba",
            "parser": "mitsuba",
            "flags": 1 | 128,  # numeric, and the rendered files are checked
            "frame_first": 1,
            "frame_last": frames,
            "frames_per_task": 1,
            "command": render,
            "files": [images],
            "file_size_min": 1000,
            "working_directory": str(HERE),
        },
        {
            "name": "movie",
            "service": "ffmpeg",
            "parser": "ffmpeg",
            "depend_mask": "render",
            "working_directory": str(HERE),
            "files": [f"{output}/@#@"],  # a task's own file name comes in here
            "tasks": [movie(output, frames, size), contact_sheet(output, frames, size)],
        },
    ]
    return {"job": {"name": "cornell", "blocks": blocks}}


def movie(output: Path, frames: int, size: int) -> dict[str, object]:
    """Return the task that makes a movie of several rounds."""
    looped = f"loop=loop={ROUNDS - 1}:size={frames}"
    scaled = f"scale={2 * size}:{2 * size}:flags=lanczos:out_color_matrix=bt709,format=yuv420p"
    filters = ",".join((DISPLAY, DENOISE, looped, scaled))
    command = ffmpeg(output, filters, "-c:v", "libx264", "-crf", "18", f"{output}/cornell.mp4")
    # The parser computes the progress from this number of frames.
    return {
        "name": "movie",
        "command": f"echo 'Frames: {frames * ROUNDS}' && {command}",
        "files": ["cornell.mp4"],
    }


def contact_sheet(output: Path, frames: int, size: int) -> dict[str, object]:
    """Return the task that puts all frames into one picture."""
    rows = -(-frames // COLUMNS)
    filters = ",".join((DISPLAY, DENOISE, f"scale={size // 2}:-1", f"tile={COLUMNS}x{rows}"))
    command = ffmpeg(output, filters, "-frames:v", "1", "-update", "1", f"{output}/contact.png")
    return {"name": "contact sheet", "command": command, "files": ["contact.png"]}


def ffmpeg(output: Path, filters: str, *rest: str) -> str:
    """Return a command of the ffmpeg that comes with the Python package."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    images = f"{output}/cornell.%04d.exr"
    inputs = ("-y", "-framerate", str(RATE), "-start_number", "1", "-i", images)
    return shlex.join((program, "-hide_banner", *inputs, "-vf", filters, *rest))


if __name__ == "__main__":
    main()

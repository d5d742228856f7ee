"""ffmpeg: a movie of two seconds of a test picture, and ways to break it."""

from __future__ import annotations

from collections.abc import Mapping

from renderers.breakages import FEWER_RIGHTS, Prepare, copy_files, fill_disk, forbid_writing
from renderers.experiment import Expected, Experiment

__all__ = ("ffmpeg_cases",)

_QUIET = "{program} -nostdin -v error "
_FFMPEG = "{program} -nostdin -hide_banner "
_PICTURE = "-f lavfi -i testsrc=size=64x48:rate=25:duration="
_FOLDER = "mkdir -p out; "
_ENCODE = "-c:v mpeg4 out/m.mp4"
_MAKE = f"{_FFMPEG}{_PICTURE}2 "
_MOVIE = f"{_QUIET}{_PICTURE}2 -c:v mpeg4 in.mp4; {_FOLDER}"
_IMAGES = f"{_QUIET}{_PICTURE}0.4 f.%04d.png; {_FOLDER}"
_WHOLE = Expected(files=("m.mp4",))
_NOT_RECORDED = {"transcode", "span", "images", "missing_frame", "missing_font"}
"""Their output is like that of the first experiment."""
_MAX_SECONDS = 4


def _failed(why: str, flags: tuple[str, ...] = ("error",), mentions: str = "") -> Expected:
    return Expected(state="error", why=why, mentions=mentions, percent=0, flags=frozenset(flags))


def ffmpeg_cases(program: str, version: str) -> tuple[Experiment, ...]:
    """Return the experiments with one ffmpeg."""
    number = version.lstrip("n").partition(".")[0]
    is_new = int(number) >= 6  # since then a line names the output file that cannot be opened

    def case(
        name: str,
        done: str,
        expected: Expected,
        command: str,
        *,
        prepare: Prepare | None = None,
        block: Mapping[str, object] | None = None,
        remark: str = "",
    ) -> Experiment:
        return Experiment(
            program=program,
            name=name,
            done=done,
            parser="ffmpeg",
            command=command,
            expected=expected,
            prepare=prepare,
            block=block or {},
            remark=remark,
            log="" if name in _NOT_RECORDED else f"ffmpeg{number}_real_{name}",
        )

    return (
        case("movie", "nothing: a movie of generated frames", _WHOLE, _FOLDER + _MAKE + _ENCODE),
        case(
            "transcode",
            "nothing: a movie of a movie",
            _WHOLE,
            f"{_MOVIE}{_FFMPEG}-i in.mp4 {_ENCODE}",
        ),
        case(
            "span",
            "a part of it, -ss 1 -t 0.5",
            _WHOLE,
            f"{_MOVIE}{_FFMPEG}-ss 1 -i in.mp4 -t 0.5 {_ENCODE}",
        ),
        case(
            "images",
            "nothing: a movie of images",
            _WHOLE,
            f"{_IMAGES}{_FFMPEG}-i f.%04d.png {_ENCODE}",
        ),
        case(
            "missing_frame",
            "one image in the middle deleted",
            _WHOLE,
            f"{_IMAGES}rm f.0005.png; {_FFMPEG}-i f.%04d.png {_ENCODE}",
            remark="a wrong done: ffmpeg ends before the gap and prints nothing",
        ),
        case(
            "damaged_frame",
            "one image in the middle cut in half",
            Expected(files=("m.mp4",), flags=frozenset({"warning"})),
            f"{_IMAGES}head -c 200 f.0005.png > x; mv x f.0005.png; {_FFMPEG}-i f.%04d.png {_ENCODE}",
        ),
        case(
            "missing_input",
            "the input deleted",
            _failed("missing-asset: "),
            f"{_FOLDER}{_FFMPEG}-i in.mp4 {_ENCODE}",
        ),
        case(
            "missing_font",
            "the font of a text deleted",
            _WHOLE,
            f"{_FOLDER}{_MAKE}-vf drawtext=fontfile=fonts/studio.ttf:text=take {_ENCODE}",
            remark="another font is taken, which is not printed",
        ),
        case(
            "damaged_input",
            "the input cut in half",
            _failed("exit code ", ("warning",)),
            f"{_MOVIE}head -c 9000 in.mp4 > half.mp4; {_FFMPEG}-i half.mp4 {_ENCODE}",
        ),
        case(
            "exists",
            "the output exists, -n",
            _failed("error: "),
            f"{_FOLDER}{_MAKE}-n {_ENCODE}",
            prepare=copy_files(("m.mp4",)),
        ),
        case(
            "read_only",
            "the output folder not writable",
            _failed("error: ", ("error", "warning")) if is_new else _failed("permission: ", ()),
            f"{_FOLDER}{FEWER_RIGHTS}{_MAKE}{_ENCODE}",
            prepare=forbid_writing,
        ),
        case(
            "disk_full",
            "the disk full",
            _failed("disk-full: ", ("error",)),
            f"{_FOLDER}{_MAKE}-y {_ENCODE}",
            prepare=fill_disk(("m.mp4",)),
        ),
        case(
            "no_encoder",
            "an encoder that does not exist",
            _failed("setup: "),
            f"{_FOLDER}{_MAKE}-c:v h264_studio out/m.mp4",
        ),
        case(
            "gpu",
            "an encoder of NVIDIA without a GPU",
            _failed("error: ", ("error", "warning"), "setup: "),
            f"{_FOLDER}{_MAKE}-c:v h264_nvenc out/m.mp4",
        ),
        case(
            "stopped",
            "stopped by the farm at its time limit",
            Expected(state="error", why="stop: task_max_run_time", percent=None, files=("m.mp4",)),
            f"{_FOLDER}{_FFMPEG}-re {_PICTURE}600 {_ENCODE}",
            block={"task_max_run_time": _MAX_SECONDS},
        ),
    )

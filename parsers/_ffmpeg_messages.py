r"""What ffmpeg prints about failures.

Sources: `fftools/ffmpeg*.c`, `libavformat`, `libavcodec/nvenc.c` and `libavutil/log.c` of FFmpeg 4 to 8
(a line begins with a level only with ``-loglevel level+...``); libass of subtitles.
"""

from __future__ import annotations

from parsers._marked_errors import NO_ERROR
from parsers._messages import Messages, like

__all__ = ("FFMPEG",)

_FROM = r"^(?:\[[^\]\n]{1,80}\] *)*"

FFMPEG = Messages(
    markers=(
        like("[error]", r"\[error\] "),
        like("error ", _FROM + rf"Error\b{NO_ERROR} (?:\w+ing|while|applying|initializing)\b"),
        like("failed", _FROM + r".{0,80}\bfailed(?:[:.!](?! *0\b)|$)"),
        like("corrupt", _FROM + r".{0,80}\bcorrupt (?:decoded|input)\b"),
    ),
    fatal=(
        like("[fatal]", r"\[(?:fatal|panic)\] "),
        "impossible to open",
        "no such file or directory",
        "no space left on device",
        "conversion failed!",
        "Error opening output file",
        "Error opening output files",
        "Could not write header",
        like("av_interleaved_write_frame", r"av_interleaved_write_frame\(\): "),
        "Error muxing a packet",
        "Error submitting a packet to the muxer",
        "Error writing trailer",
        like("task finished with error", r"Task finished with error code"),
        like("unknown ", r"Unknown (?:encoder|decoder|format|filter)\b"),
        like("unrecognized option", r"Unrecognized option '"),
        like("already exists", r"^File '.+' already exists\. Exiting"),
        "does not contain any stream",
        "At least one output file must be specified",
        "Device creation failed",
        "No capable devices found",
        "OpenEncodeSessionEx failed",
        "No device available for",
        like("cuda_error", r"\bCUDA_ERROR_\w+"),
        "Cannot allocate memory",
        "out of memory",
    ),
    bad=("output file is empty",),
    # Exit code 0, as if all had been encoded.
    aborts=("[q] command received",),
    assets=(like("fontselect: failed", r"fontselect: failed to find .*?\(([^,)\n]+)"),),
    warnings=("invalid",),
    ignored=(
        # Metadata of a file: its texts are anything.
        like(" : ", r"^ {2,}[\w./-]{1,40} *: "),
        # Libraries for a screen or for sound, which a task has not: libvdpau, libva, ALSA.
        like("vdpau backend", r"Failed to open VDPAU backend"),
        like("libva", r"^(?:\[[^\]\n]{1,80}\] *)?libva (?:info|error): "),
        like("alsa", r"^(?:ALSA lib |\[alsa @)"),
        like("fontconfig ", r"^Fontconfig (?:warning|error): "),
    ),
)

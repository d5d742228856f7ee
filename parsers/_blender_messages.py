r"""What Blender and its renderers Cycles and EEVEE print about failures.

The wordings are those of the sources: `render/intern/pipeline.cc`, `blenkernel/intern/report.cc` and
`blenloader` of Blender 2.8 to 5, `intern/cycles` (device, bvh, scene, integrator). Since 5.0 a line
begins with a time and the name of a log, ``00:00.427  cycles           | ERROR ...``; a report to
the user is ``Error: ...`` in all versions.
"""

from __future__ import annotations

from parsers._arnold import ARNOLD
from parsers._messages import Messages, Pattern, like
from parsers._redshift import REDSHIFT
from parsers._render_failures import RENDER_FAILURES
from parsers._renderman import RENDERMAN
from parsers._vray import VRAY

__all__ = ("BLENDER", "BLENDER_MESSAGES", "CYCLES")

_LOG = r"^(?:[\d:.]+ +[\w.]+ +\| )?"
_CANCELLED = r"\| Cancel(?:led)?(?: \| [^|\n]*)?\s*$"
"""The status of Cycles after an interrupt, `Session::run` of `session/session.cpp`."""
_CALL = r"\b(?:in|at) (?:cu|hip|optix|oneapi|clEnqueue)[A-Z]\w*"
_LIBRARY = r"(?i)(?:unable to find library data: |cannot find lib |missing from )'([^'\n]+)'"


def _calls() -> tuple[Pattern, ...]:
    """``Out of memory in cuMemAlloc(...)``: the failed calls of a device's driver."""
    return tuple(like(token, _CALL) for token in (" in cu", " at cu", " in hip", " in optix"))


CYCLES = Messages(
    fatal=(
        like(" queue ", r"\bin (?:CUDA|HIP|OptiX|Metal|oneAPI)(?: device)? queue "),
        *_calls(),
        "out of GPU memory",
        "out of GPU and shared host memory",
        "out of memory",
        "out of CPU memory",
        like("failed to build ", r"Failed to build (?!.*(?:map|Reports)\b)\w+"),
        "Failed to create BLAS",
        like("failed to allocate ", r"Failed to allocate .{0,300}(?:BLAS|buffer|memory)"),
        "GPU image allocation failed",
        "Failed to create image. Maximum GPU image size",
        "texture size exceeded",
        "kernel compilation failed",
        like("failed to load ", r"Failed to load (?:OptiX|CUDA|HIP|Metal|oneAPI)\b"),
        "Unable to load kernel",
        like("failed to execute ", r"Failed to execute (?:compilation|linking) command"),
        "Failed to compile library",
        "Could not activate pipeline",
        like("failed to get ", r"Failed to get (?:CUDA|HIP) device handle"),
        like("failed to initialize ", r"Failed to initialize (?:CUDA|HIP|oneAPI) runtime"),
        like("failed to create ", r"Failed to create (?:CUDA|HIP|OptiX|Metal) (?:context|device)"),
        "Your GPU is not supported",
        like("binary kernel ", r"(?:CUDA|HIP) binary kernel for this graphics card"),
        like("got a runtime exception", r"oneAPI .{0,300}got a? ?runtime exception"),
        like("got runtime exception", r"oneAPI .{0,300}got a? ?runtime exception"),
        "CUDA error",
        "CUDA_ERROR",
        "Found no Cycles device of the specified type",
        "BVH failed to migrate to the GPU",
        "Number of emissive triangles exceeds the limit",
    ),
    bad=(
        "OIDN error",
        "GPU denoiser creation has failed",
        "GPU denoiser configuration has failed",
        "Error running denoiser",
        "Failed to denoise",
        "No device available to denoise on",
    ),
    assets=(
        like("image file ", r"(?i)image file '(.{1,500}?)' (?:does not exist|could not be)"),
        like("ies file from ", r"Could not read IES file from (.+)"),
        like("usd failed to read ", r"USD failed to read (.+)"),
        like("failed to read file ", r"Shader graph: failed to read file (.+)"),
        like("error loading openvdb file", r"Error loading OpenVDB file: (.*\.n?vdb\b)?"),
    ),
)

BLENDER = Messages(
    markers=(
        like(
            "error",
            _LOG
            + r"(?:ERROR|FATAL|CRITICAL|(?:Invalid (?:Input|Context) |Out Of Memory )?Error:)(?: |$)",
        ),
        like("error", r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*Error: "),  # of Python
    ),
    fatal=(
        # Texts that Afanasy's own parser of Blender has, or that end a render before its first frame.
        "Cannot read file",
        "Failed to read blend file",
        "Cannot render, no camera",
        "No camera found in scene",
        like("is not a multi-view camera", r"Camera .{0,300} is not a multi-view camera"),
        "No active view found in scene",
        "All render layers are disabled",
        "No render output node in scene",
        "No node tree in scene",
        "No border area selected",
        "Movie format unsupported",
        "Cannot initialize the GPU",
        "Unable to open a display",
        "can't write single images with a movie format",
        like(
            "engine", r"(?i)\bengine (?:'?[\w ]{1,200}'? (?:not available|not found)|not found ')"
        ),
        like("no such ", r"^Error: .*No such (?:scene|view layer|render engine)"),
        like("cannot save", r"Render error\b.{0,300}\bcannot save"),
        like("error writing ", r"Error writing (?:render result|frame|file)"),
        like("write failed", r"\bOpenImageIO write failed\b"),
        like("ould not write ", r"Could not write (?:frame|image|file)"),
        like(
            "codec",
            r"(?:Could not (?:open|initialize|find)|Error initiali[sz]ing) .{0,300}\b(?:codec|output file)\b",
        ),
    ),
    # A library is no reason to stop; of the scene file itself Blender says "Cannot read file" too.
    errors=(like("unable to open", r"Warning: Unable to open (?!'[^'\n]+\.blend\d*')"),),
    aborts=(like("| cancel", rf"\bFra: ?-?\d.{{0,1000}}{_CANCELLED}"),),
    assets=(
        like("unable to open", r"Warning: Unable to open '([^'\n]+\.blend\d*)'"),
        like("find library data", _LIBRARY),
        like("cannot find lib ", _LIBRARY),
        like("missing from ", r"^(?:.*\| )?LIB: .*missing from '([^'\n]+)'"),
        like("data-blocks are missing", r"\b\d+ libraries and \d+ linked data-blocks are missing"),
        like(
            "font", r"(?:Can't find font|Font file doesn't exist|Can't load font)[: ]+'?([^'\n]+)"
        ),
    ),
    ignored=(
        # Progress, with the names of scene and view layer; an error is printed on a line of its own.
        like("fra:", rf"^(?:[\d:.]+ +\w+ +\| )?Fra: ?-?\d(?!.*{_CANCELLED})"),
        # Cycles falls back to other devices; `device/cuda/device.cpp`.
        "driver crashed, continuing without CUDA",
        # No sound device is needed to render: OpenAL and ALSA on a render host.
        like("al lib", r"^AL lib: "),
        like("alsa lib", r"^ALSA lib "),
        # Blender 5.0 at its end, of a Python interpreter that is still in use: memory is not freed.
        like("not freed memory", r"Not freed memory blocks"),
        # Colour management of a file made elsewhere: the view is replaced by a known one.
        "Color management: ",
    ),
)

# What Cycles sets as its error is printed as a report, ``Error: ...``, too: that is the line to quote.
_WORDS = (
    "error", "not ", "unable to ", "missing", "terminating early", "abort", "interrupt", "cancel",
    "stopped by", "{severe}", "font",
)  # fmt: skip

BLENDER_MESSAGES = tuple(
    table._replace(words=_WORDS)
    for table in (BLENDER, CYCLES, ARNOLD, REDSHIFT, VRAY, RENDERMAN, RENDER_FAILURES)
)
"""The tables for a task of Blender, with those of engines that run inside it."""

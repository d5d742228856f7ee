r"""What renderers print about failures in nearly the same words: GPU, memory, camera, files.

This table stands beside that of each renderer, which has its markers and the wordings of its own. A
text is here only if it means the same in every program: a missing file needs the name of a scene's
file or the kind of the file, a file that was not written the name of an image.
"""

from __future__ import annotations

from parsers._messages import Messages, Pattern, like

__all__ = ("IMAGE_ENDING", "RENDER_FAILURES")

IMAGE_ENDING = (
    r"\.(?i:exr|hdr|pic|png|jpe?g|tiff?|tga|iff|bmp|dpx|cin|sgi|rgba?|psd|psb|dds|rat|webp|vrimg"
    r"|rla|rpf|mov|mp4|avi)\b"
)
_SCENE_FILE = (
    r"\.(?i:exr|hdri?|pic|png|jpe?g|tiff?|tga|iff|bmp|dpx|cin|sgi|rgba?|psd|psb|dds|rat|webp|gif|tx|tex"
    r"|ptx|ptex|rstexbin|vdb|nvdb|abc|bgeo|geo|usd[acz]?|ass|rs|vrmesh|vrscene|vrmat|vrmap|vrlmap|vrst"
    r"|cgeo|prt|pdc|pc2|mdd|mcx?|ies|ldt|rib|ma|mb|max|c4d|blend|hip(?:nc|lc)?|hd[a]|otl|obj|fbx|gltf|glb"
    r"|stl|ply|dae|3ds|lwo|osl|oso|mdl|mtlx|cube|lut|ttf|otf|mov|mp4|avi|mxf|wav|gup|dl[xtrm])\b"
    r"(?:\.(?:sc|gz)\b)?"
)
_KIND = (
    r"\b(?i:textures?|bitmaps?|images?|maps?|tiles|caches?|prox(?:y|ies)|archives?|references?|assets?|fonts?"
    r"|footage|geometry|mesh(?:es)?|volumes?|alembic|xrefs?|plug-?ins?|ies|payload|sublayer|point ?clouds?)\b"
)
_QUOTED = r"(?:\"([^\"\n]{1,400})\"|'([^'\n]{1,400})'|`([^`'\n]{1,400})['`]|@([^@\n]{1,400})@)"
_FILE = (
    rf"(?:\"([^\"\n]{{1,400}}{_SCENE_FILE})\"|'([^'\n]{{1,400}}{_SCENE_FILE})'|`([^`'\n]{{1,400}}{_SCENE_FILE})['`]"
    rf"|@([^@\n]{{1,400}})@"
    # Without quotes only a path may have spaces, and only some.
    rf"|(?<![^\s:=(])((?:[A-Za-z]:|[~./\\$<%])[^\s\"'`@|,;]{{0,300}}(?: [^\s\"'`@|,;:]{{1,60}}){{0,6}}?{_SCENE_FILE}"
    rf"|\w[^\s\"'`@|,;]{{0,300}}{_SCENE_FILE}))"
)
_FILLER = r"[^\"'`@\n]"
_CANNOT = (
    r"\b(?i:could not|couldn't|cannot|can't|can not|unable to|failed to|failed|error) "
    r"(?i:open|read|load|find|locat|access|resolv|acquir|import)(?i:e|ing)?\b"
)
_ABSENT = (
    r"(?i:(?:not|n't) (?:be )?(?:found|exist|opened|loaded|located|read)\b|cannot be (?:found|opened|loaded|read)\b"
    r"|\b(?:is |are )?missing\b(?! \w)|: no such file)"
)
_NOT_OPENED = (
    rf"{_CANNOT}(?!.{{0,500}}\b(?i:for writing|for output))"
    rf"(?:{_FILLER}{{0,80}}?{_FILE}|{_FILLER}{{0,40}}?{_KIND}{_FILLER}{{0,40}}?{_QUOTED})"
)
_NOT_FOUND = rf"(?:{_FILE}|{_KIND}{_FILLER}{{0,20}}?{_QUOTED}){_FILLER}{{0,60}}?{_ABSENT}"
_NAMED_BEHIND = rf"(?i:\bnot found|\bdoes not exist|\bno such file(?: or directory)?|\bmissing (?:{_KIND})?(?: ?files?)?)[:, ]+{_FILE}"
_NOT_NONE = (
    r"(?!\W{0,4}(?i:\d{1,9}|o[nf]f?|none|no|yes|false|true|ignored?|skip|warn|abort)\b\W{0,4}$)"
)
"""``Missing textures: 0`` and ``Abort on missing texture: off`` name no file."""
_MISSING = rf"\b[Mm]issing(?: external)? (?:{_KIND}|(?i:files?|dll))(?: (?i:files?))?: {{0,9}}{_NOT_NONE}(?:{_QUOTED}|(\S.{{0,300}}?)(?= - |\s{{0,9}}$))"

_ITS_NAME = r"[:,]? {0,2}(?:named |prim |node )?(?:\"[^\"\n]{1,200}\"|'[^'\n]{1,200}'|<[^>\n]{1,200}>|[^\s\"'.]{1,100})?,? {0,2}"
"""The name of a camera or a renderer; a file's name is none."""
_NOT_WRITTEN = (
    r"\b(?i:(?:could not|couldn't|cannot|can't|unable to|failed to) (?:write|save|create)|error (?:writing|saving))"
    r"(?:(?<!create)(?i:(?: to| the| rendered){0,3} (?:output|image|frame|picture))\b"
    r"|(?i: (?:the )?(?:output|image) (?:image|file)\b)"
    r"|(?i:(?: to| the| output| image| file){0,4}):? {0,4}"
    rf"(?:[\"'`][^\"'`\n]{{1,400}}{IMAGE_ENDING}|[^\s\"'`]{{1,400}}{IMAGE_ENDING}"
    rf"|(?:[A-Za-z]:|[/~.\\])[^\"'`\n]{{1,400}}?{IMAGE_ENDING}))"
    r"|\b(?i:(?:could not|cannot|can't|unable to|failed to) open (?:the )?output (?:image|file))\b"
    rf"|\b(?i:(?:could not|cannot|can't|unable to|failed to) open\b)[^\n]{{1,400}}?{IMAGE_ENDING}\W{{0,4}}(?i:for (?:writing|output))\b"
)

_TOKENS_OF_OPENING = (
    "could not ", "couldn't ", "cannot ", "can't ", "can not ", "unable to ", "failed ", "error open",
    "error read", "error load",
)  # fmt: skip


def _many(tokens: tuple[str, ...], pattern: str) -> tuple[Pattern, ...]:
    return tuple(like(token, pattern) for token in tokens)


RENDER_FAILURES = Messages(
    markers=(
        # Of USD, which is in most programs: `tf/diagnosticMgr.cpp`.
        like("error", r"^(?:Coding|Runtime) Error(?: \(secondary thread\))?: in \w"),
        like("error in '", r"^Error in '[\w:]+' at line \d+ in file "),
    ),
    words=(
        "error",
        "fail",
        "not ",
        "n't ",
        "unable",
        "missing",
        "abort",
        "out of ",
        "illegal ",
        "cancel",
        "interrupt",
        "stopped by",
        "no such",
        "no space",
        "disk full",
        "insufficient",
        "camera",
        "device",
    ),
    fatal=(
        "illegal memory access",
        "illegal address",
        "out of memory",
        "out of GPU memory",
        "out of VRAM",
        "not enough memory",
        "not enough GPU memory",
        "insufficient memory",
        "no space left on device",
        "disk full",
        like(
            "failed to alloc",
            r"(?i)\bfailed to alloc\w* .{0,300}(?:\bmem|\bbytes\b|\d ?[KMG]i?B\b|\bGPU\b|\bVRAM\b)",
        ),
        like("allocation fail", r"(?i)\bmemory allocation fail"),
        like("cuda", r"\bCUDA(?:_ERROR_(?!NO_DEVICE)\w+|(?i:[ -]error\b))"),
        like("optix_error", r"\bOPTIX_ERROR_\w+"),
        like(
            "device", r"(?i)\bdevice (?:was |has been |is )?(?:lost|removed|hung|unrecoverable)\b"
        ),
        like("device_lost", r"\bVK_ERROR_DEVICE_LOST\b"),
        like("dxgi_error", r"\bDXGI_ERROR_DEVICE_\w+"),
        like(
            "kernel",
            r"(?i)\bkernels?\b.{0,40}\b(?:compilation failed|failed to (?:compile|load|build|launch))"
            r"|\bfailed to (?:compile|build|load)\b.{0,40}\bkernels?\b",
        ),
        like(
            "failed to ", r"(?i)\bfailed to (?:compile|build)\b.{0,60}\b(?:device|GPU|CUDA|OptiX)\b"
        ),
        like("licen", r"(?i)\blicen(?:se|sing)(?: check)? (?:error|failure|failed)\b"),
        like(
            "licen",
            r"\b(?i:could not|cannot|can't|unable to|failed to) (?i:obtain|get|acquire|check ?out|find)"
            r"(?i: an?| the| any| valid| \w+){0,3} (?i:licen[cs]e)\b",
        ),
        like(
            "camera",
            r"(?i)\b(?:no|(?:could not|cannot|can't|unable to|failed to) find(?: a| any)?)"
            r" (?:valid |active |render(?:able|ing)? )*cameras?\b(?! (?:motion|blur|shake|anim|override|cut))",
        ),
        like(
            "camera",
            rf"(?i)\bcamera{_ITS_NAME}(?:does not exist|(?:was |is )?not found|could not be found)\b",
        ),
        like(
            "render",
            rf"(?i)\brender(?:er| delegate| ?layer| ?setup| settings?| ?product){_ITS_NAME}"
            r"(?:(?:was |is )?not (?:currently )?(?:found|available|loaded|installed|registered)"
            r"|does not exist|could not be found)\b",
        ),
        *_many(
            ("could not ", "cannot ", "can't ", "unable to ", "failed to ", "failed "),
            r"(?i)\b(?:could not|cannot|can't|unable to|failed to|failed) (?:find|load|create|initiali[sz]e|use)"
            r"(?: the| any)? (?:\w+ )?(?:render(?:er| delegate| ?layer| settings?)|hydra \w+|GPU|CUDA|OptiX)\b"
            r"(?! denoiser)(?!.*\b(?:fall(?:s|ing)? ?back|using (?:the )?CPU)\b)",
        ),
        *_many(
            (
                "could not ",
                "couldn't ",
                "cannot ",
                "can't ",
                "unable to ",
                "failed to ",
                "error writing",
                "error saving",
            ),
            _NOT_WRITTEN,
        ),
    ),
    aborts=(
        *_many(
            ("abort", "interrupt", "cancel", "stopped by"),
            r"(?i)\b(?:render(?:ing)?|frame|image)\b(?: \w+){0,4}? (?<!not )(?<!never )(?:aborted|aborting|interrupted|cancel(?:led|ed)|stopped(?= by\b))"
            r"\b(?! on\b)",
        ),
    ),
    assets=(
        *_many(_TOKENS_OF_OPENING, _NOT_OPENED),
        *_many(
            (
                "not found",
                "not exist",
                "n't exist",
                "not be ",
                "cannot be ",
                "missing",
                "no such file",
            ),
            _NOT_FOUND,
        ),
        *_many(("not found", "does not exist", "no such file", "missing"), _NAMED_BEHIND),
        like("missing ", _MISSING),
    ),
    ignored=(
        # Textures or geometry are read in parts: slower, and no fault (Redshift's and Arnold's manuals).
        like("out-of-core", r"\b(?:using|going|switching to|enabling) out-of-core\b"),
    ),
)
"""Sources: NVIDIA's names of CUDA and OptiX results, Vulkan's and Direct3D's names of a lost device;
the lines of renderers that tests/data/logs/README.md lists."""

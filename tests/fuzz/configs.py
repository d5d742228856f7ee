"""Config files, path maps, tokens, addresses, and files that an earlier agent left in its store."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

from fuzz.targets import Target
from trio_afrender.agent.run_history import read_history
from trio_afrender.config.cgru_files import parse_file
from trio_afrender.config.load import load_settings, make_config
from trio_afrender.errors import ConfigError
from trio_afrender.frame_ranges import fill_numbers, process_pattern
from trio_afrender.path_map import PathMap
from trio_afrender.transport.address import parse_url, split_host
from trio_afrender.transport.tokens import read_token_file, read_tokens_file

__all__ = ("TARGETS",)

CONFIG = {
    "cgru_config": {
        "af_servername": "farm", "af_serverport": 51000, "af_render_nice": 5, "docs_url": "x",
        "af_render_heartbeat_sec": 1, "af_render_zombietime": 16, "OS_unix": {"af_render_nice": 3},
        "include": ["other.json"], "pathsmap": [["/mnt", "P:/"]], "OS_linux": {"af_tmp": "/t"},
        "trio_afrender": {
            "server": "ws://127.0.0.1:7000", "max_tasks": 2, "log_quota": 1 << 20,
            "timing": {"grace": 1.0}, "limits": {"run_time": 3, "services": {"a": {"post_time": 1}}},
            "instructions": ["exit"], "plugins": ["/p"], "redact": ["*KEY*"], "drain": "stop",
        },
    }
}  # fmt: skip
_FOLDER = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())  # noqa: S108


def _call_with_file(data: bytes, function: Callable[[Path], object]) -> None:
    with tempfile.NamedTemporaryFile(dir=_FOLDER, prefix="fuzz-") as file:
        file.write(data)
        file.flush()
        function(Path(file.name))


def config(data: bytes) -> None:
    """A file given on the command line, up to the configuration made from it."""
    parse_file(data, Path("config.json"), ("unix", "linux"), [])

    def load(path: Path) -> None:
        settings = load_settings(environment={}, files=(path,), arguments={}, options={})
        list(settings.shown())
        make_config(settings)

    _call_with_file(data, load)


def token(data: bytes) -> None:
    _call_with_file(data, read_token_file)


def tokens(data: bytes) -> None:
    _call_with_file(data, read_tokens_file)


def pathmap(data: bytes) -> None:
    """A JSON list of pairs, a line feed, and a text to map."""
    head, _, rest = data.partition(b"\n")
    text = rest.decode("utf-8", "surrogateescape")
    try:
        pairs = json.loads(head)
    except (ValueError, RecursionError):
        pairs = [["/mnt/a", "P:/a"], ["/", "Z:\\"]]
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        return  # the checks of the configuration reject these
    for windows in (False, True):
        made = PathMap(pairs, windows=windows)
        made.to_client(text)
        made.to_server(text)
        made.to_client(text, whole=True)
        made.to_server(text, whole=True)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and all(isinstance(each, str) for each in pair)


def address(data: bytes) -> None:
    text = data.decode("latin-1")
    split_host(text)
    parse_url(text)


def pattern(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    block, _, task = text.partition("\n")
    fill_numbers(process_pattern(block, task), 1, 10)


def history(data: bytes) -> None:
    _call_with_file(data, _read_history)


def _read_history(path: Path) -> None:
    for facts in read_history(path.parent, (path.name,)):
        assert isinstance(facts["why"], list)


LINE = {
    "job": 2,
    "block": 0,
    "task": 1,
    "number": 0,
    "run": "r",
    "name": "n",
    "why": [{"time": 1.0}],
}
TARGETS = {
    "config files": Target(
        run=config,
        corpus=(json.dumps(CONFIG).encode(),),
        allowed=(ConfigError,),
        max_error=math.inf,
        share=0.5,
    ),
    "token files": Target(
        run=token, corpus=(b"abcdefgh12345678\n",), allowed=(ConfigError,), share=0.5
    ),
    "files of tokens": Target(
        run=tokens,
        corpus=(
            b"node-* abcdefgh12345678\n# no\nb sha256:" + b"0" * 64,
            b"a abcdefgh12345678 2027-01-31\nb abcdefgh12345678 2027-01-31T18:00Z\n",
        ),
        allowed=(ConfigError,),
        share=0.5,
    ),
    "path maps": Target(
        run=pathmap,
        corpus=(
            b'[["/mnt/jobs", "P:/jobs"], ["/", "Z:\\\\"]]\nrender -f "/mnt/jobs/a b/c.ma" -x /mnt',
            b'[["//server/share", "/mnt/share"]]\n\\\\server\\share\\a.exr http://x/mnt c:\\temp',
        ),
    ),
    "addresses": Target(
        run=address,
        corpus=(b"wss://farm.example:7443/path", b"ws://[::1]:80", b"127.0.0.1:8080", b"[::1]"),
        allowed=(ConfigError,),
        max_error=math.inf,
    ),
    "patterns of names": Target(
        run=pattern, corpus=(b"a.@##@.exr@-#@\nb", b"render -s @#@ -e @#@\n@####@")
    ),
    "histories": Target(run=history, corpus=(json.dumps(LINE).encode() + b"\n",) * 2, share=0.25),
}  # fmt: skip

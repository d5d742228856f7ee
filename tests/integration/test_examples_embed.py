"""examples/embed.py runs an agent inside another program's nursery."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import psutil
import trio
from support.process import open_descriptors

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "embed.py"


async def test_embed(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("embed_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    descriptors = open_descriptors()
    handler = signal.getsignal(signal.SIGTERM)
    with trio.fail_after(60):
        states = await module.main(tmp_path)
    assert states == {
        "frame 1": "done",
        "frame 2": "done",
        "frame 3": "done",
        "sleeps": "killed",
    }
    assert signal.getsignal(signal.SIGTERM) is handler, "an embedded agent takes no signals"
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert open_descriptors() <= descriptors

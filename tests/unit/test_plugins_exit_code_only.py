"""Of whom it is known beforehand what he will say of a run's end."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from support.plugins import make_spec, make_worker

from services import service
from trio_afrender.config import PluginSettings
from trio_afrender.plugins.interfaces import Conclusion
from trio_afrender.plugins.lookup import list_plugins
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.tasklog.memory_log import MemoryLogStore


@pytest.mark.parametrize("name", list_plugins("service"))
def test_who_is_settled_says_what_was_known(name: str, tmp_path: Path) -> None:
    spec = make_spec(service=name, store_dir=str(tmp_path))
    settled = make_worker(spec)[0].facts.settled
    for code, check_files, post in product((0, 1, 137, None), (False, True), (False, True)):
        worker, _ = make_worker(spec)
        if settled:
            known = Conclusion(exit_ok=code in (0, None), log=worker.facts.log)
            assert worker.run_end_checks(code, check_files=check_files, post=post) == known
            assert not worker.problems()


def test_any_command_is_settled() -> None:
    assert make_worker(make_spec())[0].facts.settled
    assert make_worker(make_spec(parser="none"))[0].facts.settled


@pytest.mark.parametrize(
    ("parser", "info"),
    [
        ("generic", {}),
        ("counts", {}),
        ("nowhere_to_be_found", {}),
        ("", {"files_block": ["a.exr"]}),
        ("", {"parsed_files": ["/a.exr"]}),
    ],
)
def test_who_has_something_to_say_is_not(parser: str, info: dict[str, object]) -> None:
    assert not make_worker(make_spec(parser, "generic", **info))[0].facts.settled


@pytest.mark.parametrize("name", ["mine", "generic"])
def test_a_foreign_service_is_not(name: str, tmp_path: Path) -> None:
    text = f"from services import service\nclass {name}(service.service):\n    pass\n"
    (tmp_path / f"{name}.py").write_text(text)
    worker = TaskWorker(
        make_spec(service=name), MemoryLogStore().reader(), PluginSettings(), (tmp_path,)
    )
    assert not worker.facts.settled


@pytest.mark.parametrize("method", ["checkExitStatus", "doPost", "generateThumbnail", "getLog"])
def test_a_base_class_that_a_plugin_has_changed_is_not(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_worker(make_spec())
    monkeypatch.setattr(service.service, method, lambda *_: None)
    assert not make_worker(make_spec())[0].facts.settled

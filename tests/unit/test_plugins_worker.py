"""One run's service and parser: their return values, attributes, exceptions and prints."""

from __future__ import annotations

import errno
import gc
import json
import logging
import math
import sys
import weakref
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.plugins import PLUGINS, make_spec, make_worker, parse_all

from services import service as base_service
from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins import task_worker
from trio_afrender.plugins.diagnostics import Captured, Problems, capturing
from trio_afrender.plugins.host.host_protocol import dump_facts, load_facts
from trio_afrender.plugins.interfaces import Conclusion, ParserState, Replaced
from trio_afrender.plugins.lookup import list_plugins
from trio_afrender.plugins.task_worker import TaskWorker
from trio_afrender.plugins.validation import StateReader, read_facts, read_number, read_seconds
from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.memory_log import MemoryLogStore


class Gapped:
    """A log with a part that the quota has dropped."""

    def __init__(self, data: bytes, missing_from: int, missing_to: int) -> None:
        self.data, self.missing_from, self.missing_to = data, missing_from, missing_to

    def size(self) -> int:
        return len(self.data)

    def missing(self, before: int) -> Missing:
        return Missing(max(0, min(before, self.missing_to) - self.missing_from), 0)

    def read(self, offset: int, limit: int) -> Chunk:
        if self.missing_from <= offset < self.missing_to:
            offset = self.missing_to
        end = self.missing_from if offset < self.missing_from else len(self.data)
        return Chunk(offset, self.data[offset : min(end, offset + limit)])


class Broken:
    """A log on a failing disk."""

    def size(self) -> int:
        return 10

    def missing(self, before: int) -> Missing:
        return Missing()

    def read(self, offset: int, limit: int) -> Chunk:
        raise OSError(5, "Input/output error")


# -- creation -------------------------------------------------------------------------------------


def test_facts_are_the_values_of_the_service() -> None:
    worker, _ = make_worker(make_spec("counts", "strict", environment={"A": "1", "B": "2"}))
    facts = worker.facts
    assert (facts.command, facts.environment) == ("render -f 1", {"A": "1", "B": "2"})
    assert (facts.has_parser, facts.skip, facts.grace, facts.log) == (True, False, 3.0, "")
    assert facts.secrets == ("token-of-a-service",)
    assert load_facts(json.loads(json.dumps(dump_facts(facts)))) == facts
    assert worker.check_exit_status(7)
    assert not worker.check_exit_status(0)


def test_a_missing_service_is_an_error_with_similar_names() -> None:
    with pytest.raises(PluginNotFound) as caught:
        make_worker(make_spec(service="generik"))
    assert caught.value.near == ("generic",)


def test_a_missing_parser_is_no_error_but_in_the_log() -> None:
    worker, _ = make_worker(make_spec("blendr"), b"x\n")
    assert not worker.facts.has_parser
    assert 'no parser "blendr", did you mean "blender"?' in worker.facts.log
    assert worker.parse(2) == ParserState(consumed=2)


def test_a_parser_that_cannot_be_imported_has_its_traceback_in_the_log() -> None:
    worker, _ = make_worker(make_spec("bad_import"))
    assert not worker.facts.has_parser
    assert "a_module_that_is_nowhere" in worker.facts.log
    assert "Traceback" in worker.facts.log


def test_an_exception_of_a_service_is_an_error_with_its_prints() -> None:
    with pytest.raises(PluginError, match=r"bad_init_raise.*LookupError: nothing there") as caught:
        make_worker(make_spec(service="bad_init_raise"))
    assert "in __init__" in caught.value.details
    assert "before it breaks" in caught.value.details
    assert "worker.py" not in caught.value.details


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("incomplete", "lacks skipTask, getWDir, getEnvironment"),
        ("bad_command", r"getCommand\(\) returned NoneType, not a str"),
    ],
)
def test_a_service_without_a_required_value_is_an_error(service: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make_worker(make_spec(service=service))


def test_wrong_results_become_the_defaults_of_afanasy() -> None:
    worker, _ = make_worker(make_spec(service="bad_answers"))
    assert (worker.facts.skip, worker.facts.files, worker.facts.grace) == (False, (), None)
    assert worker.check_exit_status(1)
    assert worker.check_rendered_files()
    assert worker.do_post() == ("echo 1", "echo 2")
    assert worker.post_limit() == 0
    assert worker.parsed_files() == ()
    problems = "\n".join(worker.problems())
    for text in ("grace", "skipTask", "getFiles", "returned str", "SystemExit", "OSError: disk"):
        assert text in problems
    assert worker.problems() == ()


def test_plugins_write_into_a_copy_of_task_info() -> None:
    spec = make_spec()
    before = dict(spec.task_info)
    make_worker(spec)
    assert dict(spec.task_info) == before


# -- parsing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("parser", ["", "generic", "arnold"])
def test_a_run_that_is_over_leaves_no_reference_cycle(parser: str) -> None:
    """Only the garbage collector frees a cycle: a plugin host grew by those of its former runs."""
    make_worker(make_spec(parser))  # loading the module leaves cycles, once
    gc.collect()
    gc.disable()
    try:
        worker, _ = make_worker(make_spec(parser), b"hello\n")
        worker.parse(6, mode="0:0")
        worker.run_end_checks(0, check_files=True, post=True)
        reference = weakref.ref(worker)
        del worker
        assert reference() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_flags_are_latched_over_the_batches_of_a_call() -> None:
    worker, store = make_worker(make_spec("counts"))
    store.append(b"BADFRAME\n")
    assert worker.parse(9).warning
    store.append(b"FRAME\n")
    state = worker.parse(store.size())
    assert (state.warning, state.frame, state.progress_changed) == (False, 2, True)
    idle = worker.parse(store.size())
    assert (idle.progress_changed, idle.frame) == (False, 2)
    store.append(b"BADFRAME\n" + b"x" * 200_000 + b"\nFRAME\n")
    assert worker.parse(store.size()).warning


def test_an_unfinished_line_waits_for_its_end_or_the_last_call() -> None:
    worker, store = make_worker(make_spec("counts"), b"FRAME\nFRA")
    state = worker.parse(9)
    assert (state.frame, state.consumed, worker.position) == (1, 6, 9)
    store.append(b"ME\nFRAME")
    assert worker.parse(17).frame == 2
    last = worker.parse(17, mode="256:0")
    assert (last.frame, last.consumed) == (3, 17)
    assert worker.log() == "Parser: mode 256:0"


def test_after_the_last_call_the_output_of_the_next_process_is_parsed() -> None:
    worker, store = make_worker(make_spec("counts"), b"FRAME")
    worker.parse(5, mode="0:0")
    store.append(b"FRAME\n")
    state = worker.parse(11)
    assert (state.frame, state.consumed) == (2, 11)
    assert worker.log() == "Parser: mode RUN"


def test_replaced_output_has_its_log_offsets() -> None:
    worker, store = make_worker(make_spec("replaces"), "é#1\n".encode())
    assert worker.parse(5).replaced == (Replaced(start=0, end=5, text="é<hash>1\n"),)
    store.append(b"plain\nnot#")
    assert worker.parse(store.size()).replaced == ()
    state = worker.parse(store.size(), mode="0:0")
    assert state.replaced == (Replaced(start=11, end=15, text="not#[the end]"),)


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"\xe2\x82", b"\xf0\x9f", "é€😀".encode()])
def test_offsets_are_exact_among_invalid_utf_8(junk: bytes) -> None:
    """Several batches of one read: a long line is cut every 64 KiB, at any byte of the pattern."""
    data = b"a#\n" + (junk + b"#" * 7) * 30_000 + b"\nb#\n" + junk
    state = parse_all(make_spec("replaces"), data)
    assert len(state.replaced) > 2
    ends = [part.end for part in state.replaced]
    assert [part.start for part in state.replaced] == [0, *ends[:-1]]
    assert ends[-1] == len(data)
    for part in state.replaced[:-1]:
        expected = data[part.start : part.end].decode("utf-8", "replace")
        assert part.text.replace("<hash>", "#") == expected


def test_too_much_replacement_is_a_problem() -> None:
    worker, _ = make_worker(make_spec("replaces"), b"#" * 60_000 + b"\n" + b"#" * 900_000)
    state = worker.parse(960_001)
    assert sum(len(part.text) for part in state.replaced) < 2_100_000
    assert "too much text" in "\n".join(worker.problems())


def test_only_foreign_parsers_get_ticks() -> None:
    builtin, _ = make_worker(make_spec("generic"))
    assert not builtin.facts.wants_ticks
    worker, store = make_worker(make_spec("ticks_and_tail"))
    assert worker.facts.wants_ticks
    assert worker.facts.wants_tail
    assert worker.parse(0).frame == 1
    assert worker.parse(0, more=True).frame == 1
    store.append(b"line\n")
    assert worker.parse(5).frame == 1
    assert worker.parse(5).frame == 2


def test_a_parser_with_tail_gets_each_unfinished_line_once() -> None:
    worker, store = make_worker(make_spec("ticks_and_tail"), b"one\n10..20")
    state = worker.parse(10)
    assert (state.report, state.consumed, state.frame) == ("10..20", 4, 1)
    store.append(b"..30")
    assert worker.parse(14).report == "10..20..30"
    assert worker.parse(14).frame == 3


def test_wrong_types_keep_the_last_value() -> None:
    worker, _ = make_worker(make_spec("bad_types"), b"x\n")
    state = worker.parse(2)
    assert (state.percent, state.frame, state.percentframe) == (12, 0, 1)
    assert (state.warning, state.error, state.badresult) == (False, True, False)
    assert (state.activity, state.report, state.resources) == ("busy", "", "")
    assert (state.files, state.files_onthefly) == (("/a/b.exr", "/a/c.exr"), ())
    assert state.replaced == ()
    problems = "\n".join(worker.problems())
    for text in (
        "frame is str",
        "warning is int",
        "report is NoneType",
        "result is int",
        "returned str",
    ):
        assert text in problems


def test_an_exception_of_a_parser_is_reported_and_parsing_continues() -> None:
    worker, store = make_worker(make_spec("bad_raise"), b"FRAME\nRAISE\n")
    state = worker.parse(12)
    assert state.frame == 1
    assert "ValueError: no such thing" in state.problem
    assert worker.problems() == (state.problem.strip(),)
    for _ in range(9):
        store.append(b"FRAME RAISE\n")
        last = worker.parse(store.size())
    assert last.frame == 10
    assert last.problem == "ValueError: no such thing (10 times)"


def test_sys_exit_in_a_parser_is_an_exception_like_others() -> None:
    state = parse_all(make_spec("bad_sys_exit"), b"EXIT\n")
    assert "SystemExit: enough" in state.problem


def test_prints_are_added_to_the_log_up_to_a_limit(capfd: pytest.CaptureFixture[str]) -> None:
    worker, _ = make_worker(make_spec("bad_flood"), b"x\n")
    worker.parse(2)
    log = worker.log()
    assert log.startswith("Printed by plugin code:\nflood flood")
    assert "characters left out" in log
    assert len(log) < 20_000
    assert "flood" not in capfd.readouterr().out
    assert worker.log() == ""


def test_a_gap_in_the_log_ends_the_line_before_it() -> None:
    data = b"FRAME\n" * 1000
    reader = Gapped(data, 602, 5_000)
    worker = TaskWorker(make_spec("counts"), reader, PluginSettings(), (PLUGINS,))
    state = worker.parse(len(data), mode="0:0")
    assert state.consumed == len(data)
    assert state.frame == 100 + (len(data) - 5_000) // 6


def test_a_log_that_cannot_be_read_is_a_problem() -> None:
    worker = TaskWorker(make_spec("counts"), Broken(), PluginSettings(), (PLUGINS,))
    assert worker.parse(10).consumed == 0
    assert "cannot be read" in worker.problems()[0]


def test_the_end_of_a_log_is_read_when_a_descriptor_is_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the last call nothing would be read again."""
    worker, store = make_worker(make_spec("counts"), b"FRAME\n")
    read, failing = store.read, [OSError(errno.EMFILE, "Too many open files") for _ in range(2)]

    def fail_twice(offset: int, limit: int) -> Chunk:
        if failing:
            raise failing.pop()
        return read(offset, limit)

    monkeypatch.setattr(store, "read", fail_twice)
    monkeypatch.setattr(task_worker, "READ_PAUSES", (0.0, 0.0))
    state = worker.parse(6, mode="0:0")
    assert (state.frame, state.consumed) == (1, 6)
    assert worker.problems() == ()


def test_files_on_the_fly_are_reported_once(tmp_path: Path) -> None:
    (tmp_path / "a.exr").touch()
    worker, store = make_worker(make_spec("generic", wdir=str(tmp_path)), b"@IMAGE!@a.exr\n")
    assert worker.parse(14).files_onthefly == (str(tmp_path / "a.exr"),)
    store.append(b"@IMAGE!@a.exr\n")
    assert worker.parse(28).files_onthefly == ()
    assert worker.on_the_fly(["a.exr"]) == ()


# -- limits ---------------------------------------------------------------------------------------


def test_problems_are_reported_once_then_at_powers_of_ten() -> None:
    problems = Problems()
    reports = [problems.add("same\nlast line") for _ in range(1000)]
    assert reports[0] == "same\nlast line"
    assert [text for text in reports[1:] if text] == [
        f"last line ({times} times)" for times in (10, 100, 1000)
    ]
    assert len(problems.take()) == 4
    assert problems.take() == ()


def test_the_outcome_of_a_run_is_reported_whatever_was_before() -> None:
    problems = Problems()
    for number in range(100):
        problems.add(f"problem {number}")
    assert problems.add("the plugins are disabled", always=True) == "the plugins are disabled"
    assert problems.take()[-1] == "the plugins are disabled"
    assert problems.add("one more kind") == ""


def test_the_number_of_secrets_that_a_task_may_name_is_limited() -> None:
    """Each costs a search in all that leaves the run: 40,000 of them stopped the agent for a minute."""
    log = MemoryLogStore()
    worker = TaskWorker(make_spec("counts"), log, PluginSettings(), [PLUGINS])
    found: list[str] = []
    for first in (0, 150, 50_000):
        named = (f"::add-mask::secret-{number}\n" for number in range(first, first + 200))
        log.append("".join(named).encode() * 2)
        found += worker.parse(log.size()).masks
    assert found == [f"secret-{number}" for number in range(200)]
    (problem,) = worker.problems()
    assert problem.startswith("the output names more than 200 secrets")


def test_announced_files_that_are_left_out_are_a_problem() -> None:
    problems: list[str] = []
    reader, name = StateReader(problems.append), "x" * 600_000
    for number in range(3):
        files = [f"{name}{number}"]
        reader.read(SimpleNamespace(getFiles=tuple, getFilesOnTheFly=lambda files=files: files))
    assert reader.take().files_onthefly == (f"{name}0",)
    assert "more file names than an answer holds" in problems[-1]


def test_a_problem_without_a_text_is_one() -> None:
    problems = Problems()
    for _ in range(10):
        problems.add(" \n")
    reports = problems.take()
    assert len(reports) == 2
    assert reports[1] == f"{reports[0]} (10 times)"


@pytest.mark.parametrize(
    ("value", "number", "seconds"),
    [
        (10**400, None, None),
        (-(10**400), None, None),
        (math.nan, None, None),
        (math.inf, None, None),
        (2**31 - 1, 2**31 - 1, 2.0**31 - 1),
        (2**31, None, 2.0**31),
        (1.5, 1, 1.5),
        (-1, -1, None),
    ],
)
def test_numbers_of_any_size_are_read(
    value: float, number: int | None, seconds: float | None
) -> None:
    assert read_number(value) == number
    assert read_seconds(value) == seconds


def test_the_number_and_size_of_problems_is_limited() -> None:
    problems = Problems()
    for number in range(1000):
        problems.add(f"problem {number} " + "x" * 100_000)
    reports = problems.take()
    assert len(reports) == 21
    assert reports[-1].startswith("more problems")
    assert all(len(text) < 10_000 for text in reports)


def test_captured_text_keeps_both_ends() -> None:
    captured = Captured()
    captured.write("start ")
    for _ in range(10_000):
        captured.write("middle ")
    captured.write("end")
    text = captured.take()
    assert text.startswith("start middle")
    assert text.endswith("middle end")
    kept = text.replace("middle ", "").partition("[")[2].partition(" characters")[0]
    assert len(text) - len(f"\n[{kept} characters left out]\n") + int(kept) == 9 + 70_000
    assert captured.take() == ""


def test_capturing_restores_the_streams() -> None:
    before = (sys.stdout, sys.stderr)
    captured, inner = Captured(), Captured()
    with capturing(captured):
        sys.stdout.write("out ")
        with capturing(inner):
            sys.stdout.write("inner")
        sys.stderr.write("err ")
        logging.getLogger("a.plugin.of.no.task").propagate = False
        logging.getLogger("a.plugin.of.no.task").warning("warned")
    assert (sys.stdout, sys.stderr) == before
    assert captured.take() == "out err warned\n"
    assert inner.take() == "inner"


# -- runs whose result depends on the exit code alone ---------------------------------------------


@pytest.mark.parametrize("name", list_plugins("service"))
def test_a_settled_run_has_the_conclusion_known_beforehand(name: str, tmp_path: Path) -> None:
    spec = make_spec(service=name, store_dir=str(tmp_path))
    settled = make_worker(spec)[0].facts.settled
    for code, check_files, post in product((0, 1, 137, None), (False, True), (False, True)):
        worker, _ = make_worker(spec)
        if settled:
            known = Conclusion(exit_ok=code in (0, None), log=worker.facts.log)
            assert worker.run_end_checks(code, check_files=check_files, post=post) == known
            assert not worker.problems()


def test_a_plain_command_is_settled() -> None:
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
def test_a_run_with_a_parser_or_files_is_not_settled(parser: str, info: dict[str, object]) -> None:
    assert not make_worker(make_spec(parser, "generic", **info))[0].facts.settled


@pytest.mark.parametrize("name", ["mine", "generic"])
def test_a_run_of_a_foreign_service_is_not_settled(name: str, tmp_path: Path) -> None:
    source = f"from services import service\nclass {name}(service.service):\n    pass\n"
    (tmp_path / f"{name}.py").write_text(source)
    worker = TaskWorker(
        make_spec(service=name), MemoryLogStore().reader(), PluginSettings(), (tmp_path,)
    )
    assert not worker.facts.settled


@pytest.mark.parametrize("method", ["checkExitStatus", "doPost", "generateThumbnail", "getLog"])
def test_a_run_of_a_base_class_changed_by_a_plugin_is_not_settled(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_worker(make_spec())
    monkeypatch.setattr(base_service.service, method, lambda *_: None)
    assert not make_worker(make_spec())[0].facts.settled


@pytest.mark.parametrize(
    ("line", "missing", "facts"),
    [
        ((3, "Error: x"), (0, ()), {"deciding_line": 3, "deciding_text": "Error: x"}),
        ([3, "x" * 5000], None, {"deciding_line": 3, "deciding_text": "x" * 1000}),
        (None, (2, ("a.png", "b.png")), {"missing_assets": 2, "missing_names": ("a.png", "b.png")}),
        (
            None,
            [90, [*map(str, range(90))]],
            {"missing_assets": 90, "missing_names": (*map(str, range(20)),)},
        ),
        (None, (1, (5, "a")), {"missing_assets": 1, "missing_names": ("a",)}),
        ("ab", 7, {}),
        ((3,), (-1, ("a",)), {}),
        (("3", "x"), ("1", ()), {}),
        # More digits than a float has.
        ((10**400, "x"), None, {"deciding_line": 0, "deciding_text": "x"}),
        ({}, object(), {}),
    ],
)
def test_what_decided_and_what_is_missing_is_read(
    line: object, missing: object, facts: dict[str, object]
) -> None:
    assert read_facts(SimpleNamespace(deciding_line=line, missing_assets=missing)) == facts


def test_a_parser_without_such_facts_has_none() -> None:
    class Raising:
        @property
        def deciding_line(self) -> object:
            raise RuntimeError

    assert read_facts(object()) == read_facts(None) == read_facts(Raising()) == {}


def test_the_deciding_line_is_in_the_state_and_among_the_classes() -> None:
    log = MemoryLogStore()
    log.append(b"Frame 1\nA license for nuke was not found\nNo space left on device\n")
    worker = TaskWorker(make_spec(parser="nuke"), log.reader(), PluginSettings())
    state = worker.parse(log.size())
    assert (state.deciding_line, state.deciding_text) == (2, "A license for nuke was not found")
    found = worker.explain(None, None, last_lines=1)
    assert [(each.name, each.line) for each in found] == [("licence", 2), ("disk-full", 3)]


def test_the_classes_of_a_log_that_cannot_be_read_are_a_problem() -> None:
    worker = TaskWorker(make_spec(), Broken(), PluginSettings())
    assert worker.explain(139, None) == ()
    [problem] = worker.problems()
    assert "Input/output error" in problem

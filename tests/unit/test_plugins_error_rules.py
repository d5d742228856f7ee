"""Error rules: what the built-in ones find, how bad ones are left out, rules that change on disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.errors import ConfigError, ProtocolError
from trio_afrender.plugins import error_rules
from trio_afrender.plugins.error_rules import (
    MAX_LINE,
    MAX_RULES,
    MAX_TAIL,
    ErrorRules,
    built_in,
    classify,
    explain_end,
    load_rules,
)
from trio_afrender.plugins.host.host_protocol import load_classes
from trio_afrender.plugins.interfaces import ErrorClass
from trio_afrender.tasklog.interfaces import Chunk, Missing
from trio_afrender.tasklog.memory_log import MemoryLogStore

DATA = Path(__file__).parents[1] / "data" / "error_classes"


def read_rows(name: str) -> list[list[str]]:
    """Rows of a table, without the first, which has the names of the columns."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t") for line in lines]


def class_names(tail: str, exit_code: int | None = 1, signal: int | None = None) -> list[str]:
    return [found.name for found in classify(built_in(), tail, exit_code, signal)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("No licenses could be found to run this application.", "licence"),
        ("A license for nuke was not found", "licence"),
        ("Invalid foundry license key.", "licence"),
        ("[error] Could not obtain a license (-97).", "licence"),
        ("Failed to check out license for V-Ray", "licence"),
        ("ERROR   | [rlm] error initializing license system", "licence"),
        ("License error: (RLM) All licenses in use (-22)", "licence"),
        ("terminate: std::bad_alloc", "out-of-memory"),
        ("fork: Cannot allocate memory", "out-of-memory"),
        ("System is out of GPU memory: CUDA_ERROR_OUT_OF_MEMORY", "out-of-memory"),
        ("OSError: [Errno 28] No space left on device: '/out/a.exr'", "disk-full"),
        ("write: Disk quota exceeded", "disk-full"),
        ("There is not enough space on the disk.", "disk-full"),
        ("bash: line 1: blender: command not found", "setup"),
        ("sh: 1: kick: not found", "setup"),
        ("'kick' is not recognized as an internal or external command,", "setup"),
        ("./kick: error while loading shared libraries: libai.so: cannot open", "setup"),
        ("/lib/libm.so.6: version `GLIBC_2.38' not found (required by ./a)", "setup"),
        ("Segmentation fault (core dumped)", "crash"),
        ("ERROR   | signal caught: SIGABRT -- Abnormal process abort", "crash"),
        ("EXCEPTION_ACCESS_VIOLATION", "crash"),
        ("ls: /net/shot: Stale file handle", "network"),
        ("curl: (6) Could not resolve host: assets.example", "network"),
        ("connect: Connection refused", "network"),
        ("open a.abc: No such file or directory", "missing-asset"),
        ('WARNING | texture "/tex/a.tx" could not be opened', "missing-asset"),
        ("Error: Cannot read file '/x/a.blend': No such file or directory", "missing-asset"),
        ("Unable to load texture /tex/a.rat", "missing-asset"),
        ("FileNotFoundError: [Errno 2]", "missing-asset"),
    ],
)
def test_built_in_rules_find_the_class(line: str, name: str) -> None:
    around = "Rendering frame 1\r\n{}\r\nbye\r\n"
    assert class_names(around.format(line))[0] == name
    assert class_names(around.format(line.upper()))[0] == name


@pytest.mark.parametrize(
    "row", read_rows("wordings.tsv"), ids=lambda row: f"{row[3]}: {row[0][:60]}"
)
def test_wordings_of_programs(row: list[str]) -> None:
    text, name, host, _ = row
    for line in (text, text.upper()):
        first = classify(built_in(), f"Rendering frame 1\r\n{line}\r\nbye\r\n", 1)[0]
        assert (first.name, first.host_is_cause) == (name, host == "host")
        assert (first.line, first.quote) == (2, line.strip())


@pytest.mark.parametrize(
    "row", read_rows("harmless.tsv"), ids=lambda row: f"{row[1]}: {row[0][:60]}"
)
def test_lines_that_are_about_something_else(row: list[str]) -> None:
    assert class_names(row[0]) == []
    assert class_names(f"Rendering frame 1\n{row[0]}\nbye\n") == []


def test_a_syntax_error_after_missing_config_files_is_no_missing_asset() -> None:
    assert class_names((DATA / "povray_syntax_error.log").read_text()) == []


@pytest.mark.parametrize(
    "log",
    [
        "mitsuba39_real_read_only",
        "ffmpeg5_real_read_only",
        "ffmpeg9_real_read_only",
        "blender34_real_read_only",
        "blender45_real_read_only",
    ],
)
def test_an_output_folder_that_is_not_writable_is_no_missing_asset(log: str) -> None:
    assert class_names((DATA.parent / "logs" / f"{log}.log").read_text()) == ["permission"]


def test_what_a_cause_leads_to_comes_after_it() -> None:
    found = classify(built_in(), "Unable to open a display\nAborted (core dumped)\n", 134)
    assert [(one.name, one.host_is_cause) for one in found] == [("setup", True), ("crash", False)]
    found = classify(
        built_in(), "Error: System is out of GPU memory\nSegmentation fault\n", None, 11
    )
    assert [one.name for one in found] == ["out-of-memory", "crash"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Fra:1 Mem:10.85M (Peak 12.08M) | Time:00:00.00\nSaved: 'a.png'\n",
        '00:00:01  100MB  | [rlm] checkout of "arnold 20230410" from server srv OK\n',
        "Peak memory: 39.2 MB\nlicense server: lic01\ndisk: 12 GB free\n",
        "Error: the shader has no input\n",
    ],
)
def test_built_in_rules_do_not_match_normal_output(text: str) -> None:
    assert class_names(text) == []


@pytest.mark.parametrize(
    ("code", "signal", "names"),
    [
        (None, 11, ["crash"]),
        (139, None, ["crash"]),
        (3221225477, None, ["crash"]),
        (None, 9, ["out-of-memory"]),
        (137, None, ["out-of-memory"]),
        (127, None, ["setup"]),
        (None, 15, []),
        (1, None, []),
        (None, None, []),
    ],
)
def test_built_in_rules_for_exit_codes_and_signals(
    code: int | None, signal: int | None, names: list[str]
) -> None:
    assert class_names("", code, signal) == names


@pytest.mark.parametrize(
    ("tail", "code", "host"),
    [
        ("write /tmp/x.tmp: No space left on device", 1, True),
        (r"C:\Users\r\AppData\Local\Temp\x: There is not enough space on the disk", 1, True),
        ("write /out/a.exr: No space left on device", 1, False),
        ("Illegal instruction", 132, True),
        ("Segmentation fault", 139, False),
        ("x: Stale file handle", 1, True),
        ("Connection refused", 1, False),
        ("kick: command not found", 127, True),
        ("No license found", 1, False),
    ],
)
def test_whether_the_host_is_the_cause(tail: str, code: int, host: bool) -> None:
    found = classify(built_in(), tail, code)
    assert len(found) == 1  # of each class the first matching rule
    assert found[0].host_is_cause is host
    assert found[0].note.endswith(".")


def test_several_classes_in_the_order_of_the_rules() -> None:
    tail = "a.abc: No such file or directory\nConnection refused\nNo license found\n"
    assert class_names(tail, 139) == ["licence", "crash", "network", "missing-asset"]


def test_a_class_quotes_the_first_line_that_matches() -> None:
    tail = "a\rb\r\nc\rNo license found\rd\r\n  License error 2\n"
    [found] = classify(built_in(), tail, 1)
    assert (found.line, found.quote) == (2, "No license found")
    [found] = classify(built_in(), tail, 1, first_line=100)
    assert found.line == 101
    [found] = classify(built_in(), tail, 1, first_line=0)
    assert (found.line, found.quote) == (0, "No license found")
    [found] = classify(built_in(), f"{'x' * 100} No license found {'y' * 1000}")
    assert len(found.quote) == MAX_LINE
    [found] = classify(built_in(), "a\nb\n", 139)
    assert (found.line, found.quote) == (0, "")


def test_built_in_rules_have_no_problems() -> None:
    assert built_in().problems == ()
    assert {rule.found.name for rule in built_in().rules} == {
        "licence",
        "disk-full",
        "permission",
        "missing-asset",
        "out-of-memory",
        "crash",
        "network",
        "setup",
    }
    assert load_rules("") == built_in()


# A studio's own rules.

TOML = r"""
[[rule]]
class = "licence"
texts = ["NO SEAT", "queue of foo"]
pattern = 'foo: error -\d+$'
exit = [33, -5]
signal = [10]
note = "All seats of foo are taken."
host = true

[[rule]]
class = "moths"
pattern = '(?s)moth.*lamp'
"""
JSON = r"""
 {"rule": [
 {"class": "licence", "texts": ["no seat", "queue of foo"], "pattern": "foo: error -\\d+$", "exit": [33, -5],
  "signal": [10], "note": "All seats of foo are taken.", "host": true},
 {"class": "moths", "pattern": "(?s)moth.*lamp"}]}
"""


@pytest.mark.parametrize("text", [TOML, JSON])
def test_rules_are_read_from_toml_and_json(text: str) -> None:
    rules = load_rules(text)
    assert rules.problems == ()
    seats = ErrorClass("licence", "All seats of foo are taken.", True)
    for tail, code, signal in (
        ("No Seat", 1, None),
        ("in the QUEUE OF FOO now", 1, None),
        ("x\nFoo: error -12\ny", 1, None),
        ("", 33, None),
        ("", -5, None),
        ("", None, 10),
    ):
        assert classify(rules, tail, code, signal)[0] == seats
    assert classify(rules, "foo: error -12 of 13", 1) == []
    assert classify(rules, "a moth\nand a lamp", 1) == [ErrorClass("moths", "", False)]
    # The built-in rules follow; of each class only the first match counts.
    assert [one.name for one in classify(rules, "no seat, License error", 139)] == [
        "licence",
        "crash",
    ]


def test_lines_with_words_of_each_list() -> None:
    rules = load_rules(
        "builtin = false\n[[rule]]\nclass = 'seats'\nall_of = [['seats?', 'chair'], ['gone', 'taken']]\n"
        "unless = ['not \\w+', 'later']\n"
    )
    assert rules.problems == ()
    assert classify(rules, "seat\ntaken") == []
    assert classify(rules, "unseated: taken") == []
    assert classify(rules, "the seats are not taken\nseat taken later") == []
    [found] = classify(
        rules, "seat\nseats are not taken\nthey took it\nGone is the Seat\nseat taken"
    )
    assert (found.line, found.quote) == (4, "Gone is the Seat")


def test_rules_for_words_see_no_names() -> None:
    text = (
        "builtin = false\n[[rule]]\nclass = 'seats'\ntexts = ['no seat']\npattern = 'seat gone'\n"
    )
    anywhere, words = load_rules(text), load_rules(f"{text}words = true\n")
    assert words.problems == ()
    for tail in (
        "no seats",
        "ano seat",
        "x_no seat",
        "open /no seat",
        "'/b/no seat'",
        "+ echo no seat",
        "'b/no seat.exr'",
        "'no seat.exr'",
        "'c:\\\\no seat'",
        "'./no seat x y z'",
    ):
        assert classify(anywhere, tail)
        assert classify(words, tail) == []
    for tail in (
        "no seat",
        "(no seat)",
        "foo: no seat.",
        "'no seat'",
        "a/b no seat",
        "'at c/d: no seat'",
        "'see /c/d.exr: no seat'",
        "seat gone",
    ):
        assert classify(words, tail), tail


def test_texts_match_in_lines_whose_lower_case_is_longer() -> None:
    [found] = classify(built_in(), "\u0130\u0130\nDISK FULL\n")
    assert (found.line, found.quote) == (2, "DISK FULL")


def test_rules_without_the_built_in_ones() -> None:
    rules = load_rules("builtin = false\n" + TOML)
    assert len(rules.rules) == 2
    assert classify(rules, "Segmentation fault", 139) == []
    assert load_rules("builtin = false") == ErrorRules()


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ('class = "a"\npattern = "("', "missing ), unterminated subpattern"),
        ('class = "a"\npattern = "x*"', "matches everything"),
        ('class = "a"\npattern = "a|"', "matches everything"),
        ('class = "a"\npattern = "(a+)+$"', "may take an unlimited time"),
        ('class = "a"\npattern = "(?:x|.*)*y"', "may take an unlimited time"),
        (
            r"""class = "a"
pattern = '(\w+\s*){2,}y'""",
            "may take an unlimited time",
        ),
        ('class = "a"\ntexts = ["b", ""]', "matches everything"),
        ('class = "a"\ntexts = [1]', "texts must be a list of texts"),
        ('class = "a"\nexit = ["1"]', "exit must be a list of numbers"),
        ('class = "a"\nexit = [true]', "exit must be a list of numbers"),
        ('class = "a"\nexit = 1', "exit must be a list"),
        ('class = "a"\nhost = 1\npattern = "b"', "host must be true or false"),
        ('class = "a"\npattern = 1', "pattern must be a text"),
        ('class = "a"\nall_of = [["("]]', "missing ), unterminated subpattern"),
        ('class = "a"\nall_of = ["b"]', "all_of must be a list of lists of texts"),
        ('class = "a"\nall_of = [[]]', "all_of must be a list of lists of texts"),
        ('class = "a"\npattern = "b"\nunless = "c"', "unless must be a list"),
        ('class = "a"\npattern = "b"\nunless = ["x*"]', "matches everything"),
        ('class = "a"\npattern = "b"\nwords = 1', "words must be true or false"),
        ('class = "a"\npatern = "b"', 'unknown key "patern"'),
        ('class = "a"', "it needs texts, a pattern, exit codes or signals"),
        ('class = "Disk Full"\npattern = "b"', "class must be a word"),
        ('pattern = "b"', "class must be a word"),
    ],
)
def test_a_bad_rule_is_left_out_alone(item: str, problem: str) -> None:
    rules = load_rules(f"{TOML}\n[[rule]]\n{item}\n{TOML}", name="errors.toml")
    assert len(rules.rules) == 4 + len(built_in().rules)
    assert len(rules.problems) == 1
    assert rules.problems[0].startswith("errors.toml: rule 3 is left out: ")
    assert problem in rules.problems[0]


@pytest.mark.parametrize(
    "pattern",
    [r"(?:\d+\.){3}\d+ refused", r"(?:\w+ )+seats", r"\(a+\)+ b", r"[[a]b", r"(?x) a b c"],
)
def test_harmless_repetitions_are_allowed(pattern: str) -> None:
    rules = load_rules(f"[[rule]]\nclass = 'a'\npattern = '{pattern}'")
    assert rules.problems == ()


@pytest.mark.parametrize(
    "text",
    ["[[rule]", "{", '{"rule": 1}', "rule = 1", "rule = {class = 'a'}", "{" * 100_000, "\0", "[]"],
)
def test_text_that_is_neither_toml_nor_json_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^errors.toml: "):
        load_rules(text, name="errors.toml")


def test_unknown_keys_are_problems() -> None:
    rules = load_rules('{"rules": [], "builtin": 1, "rule": [2]}')
    assert rules.rules == built_in().rules
    assert rules.problems == (
        'error rules: unknown key "rules"',
        "error rules: builtin must be true or false",
        "error rules: rule 1 is left out: it is no table",
    )


def test_the_number_of_rules_is_limited() -> None:
    many = "".join(f"[[rule]]\nclass = 'a'\nexit = [{n}]\n" for n in range(MAX_RULES + 1))
    rules = load_rules(f"builtin = false\n{many}")
    assert len(rules.rules) == MAX_RULES
    assert rules.problems == (
        f"error rules: only the first {MAX_RULES} of {MAX_RULES + 1} rules are used",
    )


def test_only_the_end_of_the_output_counts() -> None:
    assert class_names("Segmentation fault\n" + "x\n" * MAX_TAIL) == []
    assert class_names("x\n" * MAX_TAIL + "Segmentation fault") == ["crash"]


def test_only_the_start_of_a_long_line_counts() -> None:
    assert class_names("x" * 2000 + " Segmentation fault") == []
    assert class_names("x" * 2000 + "\rSegmentation fault") == ["crash"]


@pytest.mark.parametrize(
    "filler",
    [
        "file ",
        "/var/tmp/",  # noqa: S108 - a text
        "cannot ",
        "sh: 1: ",
        "invalid ",
        " ",
        "\n",
        "a",
        "C:\\",
        "a.",
        "'",
        "no gpu ",
    ],
)
def test_the_built_in_rules_take_under_two_seconds(filler: str) -> None:
    line = filler * (MAX_LINE // len(filler))
    for tail in (filler * (MAX_TAIL // len(filler)), f"{line}\n" * (MAX_TAIL // len(line))):
        started = time.process_time()
        classify(built_in(), tail, 1)
        assert time.process_time() - started < 2


@given(st.text(), st.none() | st.integers(), st.none() | st.integers())
def test_any_end_of_a_run_is_classified(tail: str, code: int | None, signal: int | None) -> None:
    found = classify(built_in(), tail, code, signal)
    assert len({one.name for one in found}) == len(found)


# Rules of a file, applied to the end of a log.

RULE = '[[rule]]\nclass = "licence"\ntexts = ["no seat of foo"]\nnote = "{note}"\n'


def make_log(text: str) -> MemoryLogStore:
    log = MemoryLogStore()
    log.append(text.encode())
    return log


def test_built_in_rules_apply_without_a_file() -> None:
    found, problems = explain_end(make_log("No space left on device\n"), "", 1, None)
    assert [one.name for one in found] == ["disk-full"]
    assert problems == ()


def test_a_changed_file_is_loaded_again(tmp_path: Path) -> None:
    rules, log = tmp_path / "rules.toml", make_log("error: no seat of foo\n")
    for turn, note in enumerate(("ask Joe", "ask Ann")):
        rules.write_text(RULE.format(note=note))
        os.utime(rules, ns=(turn * 1000, turn * 1000))
        found, problems = explain_end(log, str(rules), 1, None)
        assert (found, problems) == ((ErrorClass("licence", note, False),), ())


def test_an_unusable_file_is_a_problem_and_the_built_in_rules_apply(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[[rule")
    for path in (broken, tmp_path / "none.toml"):
        found, problems = explain_end(make_log("No space left on device\n"), str(path), 1, None)
        assert [one.name for one in found] == ["disk-full"]
        assert path.name in problems[0]


def test_a_bad_pattern_disables_its_own_rule_only(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nclass = "crash"\npattern = "(("\n' + RULE.format(note="ask Joe"))
    found, problems = explain_end(make_log("no seat of foo\n"), str(rules), 1, None)
    assert [one.name for one in found] == ["licence"]
    assert "rule 1 is left out" in problems[0]


def test_the_number_of_a_line_is_that_in_the_whole_log() -> None:
    log = make_log("x\r\n" * MAX_TAIL + "a\rb\n" + "No license found\nbye\n")
    [found], _ = explain_end(log, "", 1, None)
    assert found.line == MAX_TAIL + 2


def test_colours_hide_nothing() -> None:
    [found] = classify(built_in(), "a\n\x1b[1;31mNo license found\x1b[0m\n", 1)
    assert (found.line, found.quote) == (2, "No license found")


def test_lines_of_a_very_long_log_are_not_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_rules, "MAX_COUNTED", MAX_TAIL)
    [found], _ = explain_end(make_log("x\n" * MAX_TAIL + "No license found\n"), "", 1, None)
    assert (found.line, found.quote) == (0, "No license found")


def test_what_was_printed_after_a_stop_does_not_count() -> None:
    log = make_log("No license found\nSegmentation fault\n")
    found, _ = explain_end(log, "", None, None, upto=len("No license found\n"))
    assert [one.name for one in found] == ["licence"]


def test_of_a_stopped_run_the_last_lines_count() -> None:
    log = make_log("disk full\n" + "a\n" * 3 + "No license found\nb\nc\r\n\n")
    found, _ = explain_end(log, "", None, None, last_lines=3)
    assert [(one.name, one.line) for one in found] == [("licence", 5)]
    assert explain_end(log, "", None, None, last_lines=2)[0] == ()
    assert len(explain_end(log, "", None, None, last_lines=50)[0]) == 2


def test_the_line_by_which_the_parser_decided_comes_first() -> None:
    log = make_log("No license found\nerror: disk full\n")
    found, _ = explain_end(log, "", None, None, deciding=(2, "error: disk full"))
    assert [(one.name, one.line) for one in found] == [("disk-full", 2), ("licence", 1)]


def test_what_explains_a_crash_comes_before_the_line_that_decided() -> None:
    log = make_log(
        "ASSERT FAILED\nopen a.abc: No such file or directory\nFailed to allocate 5 bytes\n"
    )
    found, _ = explain_end(log, "", None, None, deciding=(1, "ASSERT FAILED"))
    assert [(one.name, one.line) for one in found] == [
        ("out-of-memory", 3),
        ("crash", 1),
        ("missing-asset", 2),
    ]


def test_a_log_with_a_gap() -> None:
    class Gap:
        def size(self) -> int:
            return 1050

        def read(self, offset: int, limit: int) -> Chunk:
            if offset < 10:
                return Chunk(offset, b"disk full\n"[offset:][:limit])
            start = max(offset, 1000)
            return Chunk(start, (b"x\nNo license found" + b" " * 32)[start - 1000 :][:limit])

        def missing(self, before: int) -> Missing:
            return Missing(990, 7) if before > 10 else Missing()

    [found], _ = explain_end(Gap(), "", 1, None)
    assert (found.name, found.line) == ("licence", 10)


@pytest.mark.parametrize(
    "value", [None, "text", [["a", "b"]], [["a", "b", 1]], [7], [["a", "b", True, "1", ""]]]
)
def test_error_classes_of_wrong_types_are_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        load_classes(value)
    assert load_classes([["crash", "", True]]) == (ErrorClass("crash", "", True),)
    [found] = load_classes([["crash", "", True, 5, "Bus error"]])
    assert (found.line, found.quote) == (5, "Bus error")


def test_a_missing_built_in_file_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log("No space left on device\n")
    error_rules._read_built_in.cache_clear()
    with monkeypatch.context() as without:
        without.setattr(error_rules, "_BUILTIN_FILE", tmp_path / "none.toml")
        found, problems = explain_end(log, "", 1, None)
    assert found == ()
    assert "the built-in error rules cannot be read" in problems[0]
    found, problems = explain_end(log, "", 1, None)
    assert [one.name for one in found] == ["disk-full"]
    assert problems == (), "it was missing for a moment only"

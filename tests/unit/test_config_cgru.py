"""The reader of CGRU's config files follows each of their rules."""

from __future__ import annotations

import errno
import json
import re
from os import sep
from pathlib import Path

import pytest

from trio_afrender.config.cgru_files import FileSettings, parse_file, platform_tokens
from trio_afrender.errors import ConfigError

TOKENS = ("unix", "linux", "64", "debian", "12")


def parse(text: str | bytes, tokens: tuple[str, ...] = TOKENS) -> dict[str, object]:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_file(data, Path("/site/config.json"), tokens, [])


def config(**keys: object) -> str:
    return json.dumps({"cgru_config": keys})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{}", {}),
        ('{"cgru_config": {}}', {}),
        ('{"cgru_config": {"a": 1}, "other": {"b": 2}}', {"a": 1}),
        ('\ufeff{"cgru_config": {"a": 1}}', {"a": 1}),
        ('{"cgru_config": {"": "a comment", "": "another", "-a": 1, "b": 2}}', {"b": 2}),
        ('{"cgru_config": {"a": 1, "a": 2}}', {"a": 2}),
        # A section wins over plain keys of its file, before or after it.
        ('{"cgru_config": {"OS_unix": {"a": 2}, "a": 1}}', {"a": 2}),
        ('{"cgru_config": {"a": 1, "OS_unix": {"a": 2}}}', {"a": 2}),
        ('{"cgru_config": {"a": 1, "OS_windows": {"a": 2}}}', {"a": 1}),
        # The more specific token wins, in any order.
        ('{"cgru_config": {"OS_linux": {"a": 3}, "OS_unix": {"a": 2}}}', {"a": 3}),
        ('{"cgru_config": {"OS_12": {"a": 5}, "OS_64": {"a": 4}}}', {"a": 5}),
        ('{"cgru_config": {"OS_Debian": {"a": 5}}}', {"a": 5}),
        ('{"cgru_config": {"OS_unix": {"-a": 1, "": 2, "OS_linux": {"b": 1}}}}', {"b": 1}),
        ('{"cgru_config": {"OS_unix": 5}}', {}),
        # The same rules hold inside objects, also in new ones.
        (
            '{"cgru_config": {"o": {"": 1, "-x": 2, "y": 3, "OS_unix": {"z": 4}, "OS_macosx": {"q": 1}}}}',
            {"o": {"y": 3, "z": 4}},
        ),
        ('{"cgru_config": {"o": {"a": 1, "b": 2}, "OS_unix": {"o": {"b": 3}}}}', {"o": {"a": 1, "b": 3}}),
    ],
)  # fmt: skip
def test_a_file_is_read_by_the_rules(text: str, values: dict[str, object]) -> None:
    assert parse(text) == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"cgru_config": {\n  "a": 1,\n}}', "/site/config.json:3:1: not JSON: .*before the closing bracket"),
        ('{"cgru_config": {\n // text\n}}', "/site/config.json:2:2: not JSON: .*no comments"),
        ("", "/site/config.json:1:1: not JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        ('{"cgru_config": {"a": NaN}}', "NaN is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        # Not for the parser, but for what reads its result.
        ('{"cgru_config": {"a":' + '{"a":' * 900 + "1" + "}" * 902, "nested too deeply"),
        ("[1]", "not a JSON object"),
        ('{"cgru_config": 5}', '"cgru_config" is not an object'),
        ('{"af_servername": "x"}', 'has no object "cgru_config"'),
    ],
)  # fmt: skip
def test_an_error_in_a_file_names_its_position(text: str | bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("/site/", re.escape(f"{sep}site{sep}"))):
        parse(text)


def test_includes_come_after_all_own_keys_and_depth_first(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.json").write_text(config(include=["sub/b.json", "c.json"], x="a", only_a=1))
    (tmp_path / "sub" / "b.json").write_text(config(x="b", include=["d.json"], y="b"))
    (tmp_path / "sub" / "d.json").write_text(config(x="d", y="d", z="d"))
    (tmp_path / "c.json").write_text(config(x="c"))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    assert reading.values == {"x": "c", "only_a": 1, "y": "d", "z": "d"}
    assert reading.origins[("y",)] == f"file {tmp_path}{sep}sub{sep}d.json"
    assert [path.name for path in reading.files] == ["a.json", "b.json", "d.json", "c.json"]
    assert reading.problems == []


def test_a_cycle_is_reported_and_the_other_files_count(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(config(include=["./b.json"], x="a"))
    (tmp_path / "b.json").write_text(config(include=["../" + tmp_path.name + "/a.json"], y="b"))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    assert reading.values == {"x": "a", "y": "b"}
    assert reading.problems == [
        f"config file {tmp_path}{sep}a.json was already read; the second time is ignored"
    ]


def test_missing_and_bad_includes_are_problems_and_the_other_files_count(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(config(include=["gone.json", "bad.json", "good.json"], x=1))
    (tmp_path / "bad.json").write_text('{"cgru_config": {"x": 2, "include": ["c.json"] ')
    (tmp_path / "good.json").write_text(config(z=3))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    assert reading.values == {"x": 1, "z": 3}
    missing, bad = reading.problems
    place = f"{tmp_path}{sep}a.json:1:18"
    assert missing == f"{place}: include: {tmp_path}{sep}gone.json does not exist; ignored"
    assert bad.startswith(f"{tmp_path}{sep}bad.json:1:")


def test_files_that_cgru_ships_include_a_site_file_that_need_not_exist(tmp_path: Path) -> None:
    (tmp_path / "config_default.json").write_text(config(include=["config.json"], x=1))
    reading = FileSettings()
    reading.read(tmp_path / "config_default.json")
    assert (reading.values, reading.problems) == ({"x": 1}, [])


def test_a_key_that_stands_twice_in_an_object_is_a_problem(tmp_path: Path) -> None:
    text = """{"cgru_config": {
        "": "a comment", "": "another", "-x": 1, "-x": 2,
        "x": 1, "o": {"y": "a \\"quoted\\" {text}", "z": [{"y": 1}, {"y": 2}]},
        "OS_unix": {"x": 3},
          "x": 2, "o": {"y": 3}
    }}"""
    (tmp_path / "a.json").write_text(text)
    reading = FileSettings(tokens=TOKENS)
    reading.read(tmp_path / "a.json")
    assert reading.values == {"x": 3, "o": {"y": 3}}
    places = [
        f"{tmp_path}{sep}a.json:5:11",
        f"{tmp_path}{sep}a.json:5:19",
        f"{tmp_path}{sep}a.json:5:25",
    ]
    assert [problem.partition(": ")[0] for problem in reading.problems] == places
    assert reading.problems[0].endswith(': "x" stands in line 3 already; this one counts')


def test_places_are_those_of_the_keys_that_count(tmp_path: Path) -> None:
    text = """{"cgru_config": {
      "OS_linux": {"o": {"a": 1}},
      "OS_windows": {"o": {"a": 5}},
      "o": {"a": 2, "b": [{"a": 9}]},
      "OS_unix": {"o": {"a": 3}}
    }}"""
    (tmp_path / "a.json").write_text("\ufeff" + text, encoding="utf-8")
    reading = FileSettings(tokens=TOKENS)
    reading.read(tmp_path / "a.json")
    reading.set("typed", 1, "command line --typed")
    assert reading.place(("o", "a")) == f"{tmp_path}{sep}a.json:2:26"
    assert reading.place(("o", "b")) == f"{tmp_path}{sep}a.json:4:21"
    assert reading.place(("typed",)) == "command line --typed"


def test_a_file_that_has_changed_since_gives_no_wrong_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(config(x=1, y=2))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    (tmp_path / "a.json").unlink()
    assert reading.place(("y",)) == f"{tmp_path}{sep}a.json"


@pytest.mark.parametrize(
    "text", ["", "}}}", "[1, 2", '{"cgru_config"', "\0\0", '{"cgru_config": {"x": 1']
)
def test_a_file_that_is_no_json_any_more_gives_no_place(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(config(y=2))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(text)
    assert reading.place(("y",)) == f"{tmp_path}{sep}a.json"


@pytest.mark.parametrize("name", ["a\0b.json", "a\ud800.json"])
def test_an_include_with_an_impossible_file_name_is_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_text(config(include=[name, "good.json"], x=1))
    (tmp_path / "good.json").write_text(config(z=3))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    assert reading.values == {"x": 1, "z": 3}
    [problem] = reading.problems
    assert "cannot be read" in problem


@pytest.mark.parametrize("include", ["c.json", [5], {"a": 1}])
def test_an_include_that_is_no_list_of_names_is_a_problem(tmp_path: Path, include: object) -> None:
    (tmp_path / "a.json").write_text(config(include=include, x=1))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    assert reading.values == {"x": 1}
    assert reading.problems == [
        f'{tmp_path}{sep}a.json:1:18: "include" must be a list of file names; ignored'
    ]


def test_objects_merge_and_everything_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        config(o={"a": 1, "b": {"c": 1, "d": 1}}, items=[1, 2], was={"x": 1}, becomes=1)
    )
    (tmp_path / "b.json").write_text(
        config(o={"b": {"d": 2}, "-a": 5, "": 0}, items=[3], was=1, becomes={"x": 1})
    )
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    reading.read(tmp_path / "b.json")
    assert reading.values == {
        "o": {"a": 1, "b": {"c": 1, "d": 2}},
        "items": [3],
        "was": 1,
        "becomes": {"x": 1},
    }
    a, b = f"file {tmp_path}{sep}a.json", f"file {tmp_path}{sep}b.json"
    assert reading.origins[("o", "a")] == a
    assert reading.origins[("o", "b", "c")] == a
    assert reading.origins[("o", "b", "d")] == b
    assert ("was", "x") not in reading.origins


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("af_render_nice", "5", 'expected a whole number, got "5"'),
        ("af_render_nice", 5.5, "expected a whole number, got 5.5"),
        ("af_render_nice", True, "expected a whole number, got true"),
        ("af_servername", 5, "expected a string, got 5"),
        ("af_render_cut_domain_name", "yes", 'expected true or false, got "yes"'),
        ("af_thumbnail_extensions", "exr", 'expected a list of strings, got "exr"'),
        ("af_thumbnail_extensions", ["exr", 1], 'expected a list of strings, got ["exr", 1]'),
        ("pathsmap", "x", 'expected a list of pairs, got "x"'),
        ("af_store_folder", ["x" * 100], 'expected a path, got ["' + "x" * 55 + "..."),
    ],
)
def test_a_value_of_the_wrong_type_is_reported_and_the_earlier_one_stays(
    tmp_path: Path, key: str, value: object, problem: str
) -> None:
    (tmp_path / "a.json").write_text(config(**{key: value, "x": 1}))
    reading = FileSettings()
    reading.set(key, "earlier", "before")
    reading.read(tmp_path / "a.json")
    assert reading.values == {key: "earlier", "x": 1}
    assert reading.problems == [f"{tmp_path}{sep}a.json:1:18: {key}: {problem}; ignored"]


def test_pairs_before_a_bad_one_stay_and_backslashes_become_slashes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(config(pathsmap=[["P:\\prj", "/prj"], ["x"], ["a", "b"]]))
    reading = FileSettings()
    reading.read(tmp_path / "a.json")
    assert reading.values == {"pathsmap": [["P:/prj", "/prj"]]}
    assert reading.problems == [
        f"{tmp_path}{sep}a.json:1:18: pathsmap[1]: expected a pair of strings; ignored with all after it"
    ]


def test_a_file_is_not_ignored_on_a_host_without_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It may name the server: the agent must not start without it.
    def open_none(*_args: object) -> None:
        raise OSError(errno.ENFILE, "Too many open files in system")

    (tmp_path / "a.json").write_text(config(x=1))
    monkeypatch.setattr(Path, "open", open_none)
    with pytest.raises(ConfigError, match="cannot be read: Too many open files in system"):
        FileSettings().read(tmp_path / "a.json")


def test_a_required_file_must_exist_and_be_readable(tmp_path: Path) -> None:
    reading = FileSettings()
    with pytest.raises(ConfigError, match=r"gone\.json does not exist"):
        reading.read(tmp_path / "gone.json", required=True)
    with pytest.raises(ConfigError, match=r"cannot be read: (Is a directory|Permission denied)"):
        reading.read(tmp_path, required=True)
    if (endless := Path("/dev/zero")).exists():
        with pytest.raises(ConfigError, match="/dev/zero: larger than 16777216 bytes"):
            reading.read(endless, required=True)
    (tmp_path / "a.json").write_text(config(x=1))
    reading.read(tmp_path / "a.json")
    reading.read(tmp_path / "a.json", required=True)
    assert reading.problems == []


def test_this_platform_has_tokens_from_general_to_special() -> None:
    tokens = platform_tokens()
    assert tokens[0] in ("unix", "windows")
    assert all(token == token.lower() for token in tokens)

"""Layers of settings: which one wins, which one is recorded, and the `Config` made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from os import sep
from pathlib import Path

import attrs
import pytest

from trio_afrender.config import Checks, Config, GpuSlots, Limits, MemoryGuard, Stuck, Timing
from trio_afrender.config.convert import SettingValue
from trio_afrender.config.load import Settings, load_settings, make_config, make_log_settings
from trio_afrender.config.settings import CGRU, OURS, SettingSpec
from trio_afrender.errors import ConfigError

BARE = {"HOSTNAME": "Node7.Farm.Local", "USER": "STUDIO\\Joe"}


def write(path: Path, **keys: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cgru_config": keys}))
    return path


def load(environment: Mapping[str, str] | None = None, **keywords: object) -> Settings:
    return load_settings(environment={**BARE, **(environment or {})}, **keywords)  # type: ignore[arg-type] # keywords are the function's own


def test_without_any_layer_the_config_has_its_defaults() -> None:
    settings = load()
    assert settings.problems == ()
    assert {item.origin for key, item in settings.values.items() if key not in ("name", "user_name")} == {"default"}  # fmt: skip
    assert make_config(settings) == Config(name="node7", user_name="joe")


def test_the_same_key_is_declared_once() -> None:
    declared = [
        key
        for settings in (Checks, Config, GpuSlots, Limits, MemoryGuard, Stuck, Timing)
        for field in attrs.fields(settings)
        if (key := field.metadata.get("key"))
    ]
    assert len(set(declared)) == len(declared)


@pytest.mark.parametrize(
    ("key", "spec"), [item for item in {**CGRU, **OURS}.items() if item[1].kind in ("int", "float")]
)
def test_every_number_reaches_the_config(key: str, spec: SettingSpec) -> None:
    value = int(min(max(1000, spec.least) + 7, spec.most))
    settings = load(arguments={key: str(value)})
    of_log = key.startswith("trio_afrender.log.")
    config = make_log_settings(settings) if of_log else make_config(settings)
    assert f"={value}" in repr(config).replace(".0,", ",").replace(".0)", ")")


def test_each_layer_wins_over_the_ones_below(tmp_path: Path) -> None:
    cgru, home = tmp_path / "cgru", tmp_path / "home"
    key = "af_render_nice"
    steps: list[tuple[str, dict[str, str], dict[str, object]]] = [
        ("default", {}, {}),
        (f"file {cgru}{sep}config_default.json", {"CGRU_LOCATION": str(cgru)}, {}),
        (
            f"file {tmp_path}{sep}custom.json",
            {"CGRU_CUSTOM_CONFIG": str(tmp_path / "custom.json")},
            {},
        ),
        (f"file {home}{sep}.cgru{sep}config.json", {"HOME": str(home)}, {}),
        (f"file {tmp_path}{sep}extra.json", {}, {"files": [tmp_path / "extra.json"]}),
        ("environment CGRU_AF_RENDER_NICE", {"CGRU_AF_RENDER_NICE": "5"}, {}),
        ("command line --af_render_nice", {}, {"arguments": {key: "6"}}),
    ]
    write(cgru / "config_default.json", af_render_nice=1)
    write(tmp_path / "custom.json", af_render_nice=2)
    write(home / ".cgru" / "config.json", af_render_nice=3)
    write(tmp_path / "extra.json", af_render_nice=4)
    environment: dict[str, str] = {}
    keywords: dict[str, object] = {}
    for value, (origin, more, also) in enumerate(steps):
        environment |= more
        keywords |= also
        found = load(environment, **keywords).values[key]
        assert (found.value, found.origin) == (value or 10, origin)


def test_the_site_file_stands_between_the_shipped_one_and_the_home(tmp_path: Path) -> None:
    write(
        tmp_path / "config_default.json",
        include=["afanasy/config_default.json", "config.json"],
        af_priority=1,
    )
    write(tmp_path / "afanasy" / "config_default.json", af_priority=2, cmd_shell="/bin/sh -c")
    write(tmp_path / "config.json", af_priority=3)
    settings = load({"CGRU_LOCATION": str(tmp_path)})
    assert settings["af_priority"] == 3
    assert (
        settings.values["cmd_shell"].origin
        == f"file {tmp_path}{sep}afanasy{sep}config_default.json"
    )


def test_appdata_comes_before_home(tmp_path: Path) -> None:
    write(tmp_path / "home" / ".cgru" / "config.json", af_priority=1)
    write(tmp_path / "data" / "cgru" / "config.json", af_priority=2)
    home, data = str(tmp_path / "home"), str(tmp_path / "data")
    assert load({"HOME": home, "APPDATA": data})["af_priority"] == 2


def test_missing_files_named_by_variables_are_reported_and_ignored(tmp_path: Path) -> None:
    settings = load({"CGRU_LOCATION": str(tmp_path), "CGRU_CUSTOM_CONFIG": "/no/such.json"})
    assert settings.problems == (
        f"CGRU_LOCATION: {tmp_path}{sep}config_default.json does not exist; ignored",
        "CGRU_CUSTOM_CONFIG: /no/such.json does not exist; ignored",
    )
    with pytest.raises(ConfigError, match=r"no\.json does not exist"):
        load(files=[tmp_path / "no.json"])


def test_files_that_cannot_be_looked_at_are_reported_and_ignored() -> None:
    # As below a folder that is closed to the agent's user: `Path.exists` raises for both.
    long = f"/{'x' * 300}"
    settings = load(
        {"CGRU_LOCATION": long, "CGRU_CUSTOM_CONFIG": long, "CGRU_CUSTOM_PYTHONPATH": long}
    )
    assert [long in problem for problem in settings.problems] == [True, True]
    assert settings["trio_afrender.plugins"] == []


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("CGRU_AF_SERVERPORT", "51001", "af_serverport", 51001),
        ("CGRU_AF_SERVERNAME", "farm", "af_servername", "farm"),
        ("CGRU_AF_RENDER_CUT_DOMAIN_NAME", "false", "af_render_cut_domain_name", False),
        ("CGRU_AF_RENDER_CUT_DOMAIN_NAME", "1", "af_render_cut_domain_name", True),
        ("CGRU_AF_RENDER_CUT_DOMAIN_NAME", "Off", "af_render_cut_domain_name", False),
        ("CGRU_AF_THUMBNAIL_EXTENSIONS", "exr,,png ", "af_thumbnail_extensions", ["exr", "png"]),
        ("CGRU_AF_THUMBNAIL_EXTENSIONS", '["a,b"]', "af_thumbnail_extensions", ["a,b"]),
        ("CGRU_PATHSMAP", '[["P:\\\\", "/p/"]]', "pathsmap", [["P:/", "/p/"]]),
        ("CGRU_AF_PRIORITY", "", "af_priority", 99),
    ],
)
def test_the_environment_sets_keys_by_their_type(
    variable: str, text: str, key: str, value: object
) -> None:
    assert load({variable: text})[key] == value


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("CGRU_AF_PRIORITY", "high", 'CGRU_AF_PRIORITY: expected a whole number, got "high"'),
        ("CGRU_AF_USER_CUT_DOMAIN_NAME", "2", "expected true or false"),
        ("CGRU_PATHSMAP", "a,b", "expected a list of pairs as JSON"),
        ("CGRU_PATHSMAP", '["a"]', "expected a list of pairs"),
        ("CGRU_AF_THUMBNAIL_EXTENSIONS", "[1", "expected a list of strings as JSON"),
        ("CGRU_PATHSMAP", "[" * 100_000, 'expected a list of pairs as JSON, got "[[['),
    ],
)
def test_a_variable_with_an_invalid_value_is_an_error(
    variable: str, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem.replace("[", r"\[")):
        load({variable: text})


def test_all_variables_with_invalid_values_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"CGRU_AF_PRIORITY": "high", "CGRU_AF_SERVERPORT": "x"})
    assert str(caught.value).splitlines() == [
        'CGRU_AF_PRIORITY: expected a whole number, got "high"',
        'CGRU_AF_SERVERPORT: expected a whole number, got "x"',
    ]


def test_variables_of_unknown_keys_count_only_for_keys_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", gui_size=5, gui_on=True, gui_what=["a"], gui_o={"a": 1}, gui_f=1.5, gui_t="")  # fmt: skip
    environment = {
        "CGRU_GUI_SIZE": "7",
        "CGRU_GUI_ON": "no",
        "CGRU_GUI_WHAT": "b,c",
        "CGRU_GUI_O": "text",
        "CGRU_GUI_F": "2.5",
        "CGRU_GUI_T": "t",
        "CGRU_UNKNOWN_KEY": "x",
        "CGRU_VERSION": "3.4",
        "CGRU_TRIO_AFRENDER": "x",
    }
    settings = load(environment, files=[path])
    values = {key: settings[key] for key in settings.values if key.startswith("gui_")}
    assert values == {
        "gui_size": 7,
        "gui_on": False,
        "gui_what": ["b", "c"],
        "gui_o": {"a": 1},
        "gui_f": 2.5,
        "gui_t": "t",
    }
    assert "unknown_key" not in settings.values
    assert "version" not in settings.values


def test_arguments_must_be_known() -> None:
    assert load(arguments={"af_servername": "farm"})["af_servername"] == "farm"
    assert load(arguments={"af_ipv6_disable": "0"})["af_ipv6_disable"] == "0"
    with pytest.raises(ConfigError, match=r'--af_servernam: .*did you mean "af_servername"'):
        load(arguments={"af_servernam": "farm"})
    with pytest.raises(ConfigError, match="--af_serverport: expected a whole number"):
        load(arguments={"af_serverport": "farm"})


def test_arguments_may_set_our_own_keys_and_those_of_a_studio(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", studio_size=5, trio_afrender={"max_tasks": 3})
    typed = {"studio_size": "7", "trio_afrender.max_tasks": "2", "trio_afrender.timing.grace": "3"}
    settings = load(arguments=typed, files=[path])
    assert settings["studio_size"] == 7
    assert settings.values["trio_afrender.max_tasks"] == SettingValue(
        2, "command line --trio_afrender.max_tasks"
    )
    assert make_config(settings).timing.grace == 3
    for key, text, problem in (
        ("trio_afrender.max_task", "2", 'did you mean "trio_afrender.max_tasks"'),
        ("trio_afrender.max_tasks", "two", "expected a whole number"),
        ("studio_sizes", "2", 'did you mean "studio_size"'),
    ):
        with pytest.raises(ConfigError, match=f"--{key}: .*{problem}"):
            load(arguments={key: text}, files=[path])


def test_options_win_and_their_origin_is_the_option() -> None:
    settings = load(
        {"AF_HOSTNAME": "env"},
        arguments={"af_store_folder": "/a"},
        options={
            "af_store_folder": "/b",
            "trio_afrender.name": "me",
            "trio_afrender.nimby": "NIMBY",
        },
    )
    assert (settings["af_store_folder"], settings["name"]) == ("/b", "me")
    assert settings.values["af_store_folder"].origin == "command line --store"
    assert settings.values["name"].origin == "command line --name"
    assert settings.values["trio_afrender.nimby"].origin == "command line nimby"


@pytest.mark.parametrize(
    ("environment", "keys", "name"),
    [
        ({}, {}, "node7"),
        ({}, {"af_render_cut_domain_name": False}, "node7.farm.local"),
        ({"AF_HOSTNAME": "As.It.IS"}, {}, "As.It.IS"),
        ({"HOSTNAME": "", "COMPUTERNAME": "WIN-1"}, {}, "win-1"),
        ({}, {"trio_afrender": {"name": "Own"}}, "Own"),
        ({"AF_HOSTNAME": "env"}, {"trio_afrender": {"name": "Own"}}, "env"),
    ],
)
def test_the_name_of_the_render(
    tmp_path: Path, environment: dict[str, str], keys: dict[str, object], name: str
) -> None:
    assert load(environment, files=[write(tmp_path / "a.json", **keys)])["name"] == name


@pytest.mark.parametrize(
    ("environment", "keys", "name"),
    [
        ({}, {}, "joe"),
        ({"USER": "A/b\\C"}, {}, "b\\c"),
        ({}, {"af_user_cut_domain_name": False}, "studio\\joe"),
        ({"AF_USERNAME": "D\\Ann"}, {}, "D\\Ann"),
        ({"CGRU_USERNAME": "Bob"}, {}, "Bob"),
        ({"USER": "", "USERNAME": "Eve"}, {}, "eve"),
    ],
)
def test_the_name_of_the_user(
    tmp_path: Path, environment: dict[str, str], keys: dict[str, object], name: str
) -> None:
    assert load(environment, files=[write(tmp_path / "a.json", **keys)])["user_name"] == name


@pytest.mark.parametrize(
    ("environment", "arguments", "keys", "url", "origin"),
    [
        ({}, {}, {}, "", "default"),
        ({}, {}, {"af_servername": "farm"}, "af://farm:51000", "af_servername and af_serverport, file"),
        ({}, {}, {"af_servername": "::1"}, "af://[::1]:51000", "af_servername and af_serverport, file"),
        ({"CGRU_AF_SERVERPORT": "7"}, {}, {"af_servername": "farm"}, "af://farm:7", "af_servername and af_serverport, environment CGRU_AF_SERVERPORT"),
        ({"AF_SERVERNAME": "env"}, {}, {"af_servername": "farm"}, "af://env:51000", "af_servername and af_serverport, environment AF_SERVERNAME"),
        ({"AF_SERVERNAME": "env", "CGRU_AF_SERVERNAME": "cgru"}, {}, {}, "af://cgru:51000", "af_servername and af_serverport, environment CGRU_AF_SERVERNAME"),
        ({"AF_SERVERNAME": "env"}, {"af_servername": "typed"}, {}, "af://typed:51000", "af_servername and af_serverport, command line --af_servername"),
        ({}, {}, {"af_servername": "farm", "trio_afrender": {"server": "wss://gate"}}, "wss://gate", "file"),
        ({"AF_SERVERNAME": "env"}, {}, {"trio_afrender": {"server": "wss://gate"}}, "wss://gate", "file"),
        ({}, {"af_serverport": "7"}, {"af_servername": "farm", "trio_afrender": {"server": "wss://gate"}}, "af://farm:7", "af_servername and af_serverport, command line --af_serverport"),
    ],
)  # fmt: skip
def test_where_the_server_is(
    tmp_path: Path,
    environment: dict[str, str],
    arguments: dict[str, str],
    keys: dict[str, object],
    url: str,
    origin: str,
) -> None:
    files = [write(tmp_path / "a.json", **keys)]
    settings = load(environment, arguments=arguments, files=files)
    found = settings.values["server"]
    assert found.value == url
    assert found.origin.startswith(origin)
    assert make_config(settings).server == url


def test_the_server_option_wins_over_every_key_of_a_server() -> None:
    options = {"trio_afrender.server": "wss://typed", "user_name": "Ann"}
    settings = load({"AF_USERNAME": "Bob"}, arguments={"af_servername": "farm"}, options=options)
    assert settings.values["server"].origin == "command line --server"
    assert settings.values["user_name"] == SettingValue("Ann", "command line --user")


@pytest.mark.parametrize(
    ("environment", "arguments", "prefix", "origin"),
    [
        ({}, {}, "site", "file"),
        ({"CGRU_AF_CMDPREFIX": "env"}, {}, "env", "environment CGRU_AF_CMDPREFIX"),
        ({"CGRU_AF_CMDPREFIX": "e", "AF_CMD_PREFIX": "own"}, {}, "own", "environment AF_CMD_PREFIX"),
        ({"AF_CMD_PREFIX": ""}, {}, "", "environment AF_CMD_PREFIX"),
        ({"AF_CMD_PREFIX": "own"}, {"af_cmdprefix": "typed"}, "typed", "command line --af_cmdprefix"),
    ],
)  # fmt: skip
def test_the_prefix_of_commands(
    tmp_path: Path, environment: dict[str, str], arguments: dict[str, str], prefix: str, origin: str
) -> None:
    files = [write(tmp_path / "a.json", af_cmdprefix="site")]
    found = load(environment, arguments=arguments, files=files).values["af_cmdprefix"]
    assert found.value == prefix
    assert found.origin.startswith(origin)


def test_plugins_of_cgrus_own_path_come_after_ours(tmp_path: Path) -> None:
    (tmp_path / "custom" / "parsers").mkdir(parents=True)
    (tmp_path / "modules").mkdir()
    custom = os.pathsep.join([str(tmp_path / "modules"), "", str(tmp_path / "custom")])
    environment = {"CGRU_CUSTOM_PYTHONPATH": custom}
    found = load(environment).values["trio_afrender.plugins"]
    assert found == SettingValue([f"{tmp_path}{sep}custom"], "environment CGRU_CUSTOM_PYTHONPATH")
    files = [write(tmp_path / "a.json", trio_afrender={"plugins": ["own"]})]
    found = load(environment, files=files).values["trio_afrender.plugins"]
    assert found.value == [f"{tmp_path}{sep}own", f"{tmp_path}{sep}custom"]
    assert found.origin == f"file {tmp_path}{sep}a.json, environment CGRU_CUSTOM_PYTHONPATH"
    environment["CGRU_CUSTOM_PYTHONPATH"] = str(tmp_path / "modules")
    assert load(environment)["trio_afrender.plugins"] == []


def test_our_section_is_typed_and_its_paths_start_at_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "site" / "a.json",
        cmd_shell="/bin/bash -e -c",
        pathsmap=[["P:/", "/p/"]],
        trio_afrender={
            "server": "wss://farm/",
            "token_file": "token",
            "ca_file": "/etc/ca.pem",
            "plugins": ["plugins", "/studio"],
            "max_tasks": 2,
            "services": ["blender"],
            "timing": {"grace": 3, "resources_period": 7},
            "disk_folders": ["scratch", "/"],
            "licences": [["nuke", "lmstat\\x | grep '3 of 4'"]],
        },
        af_render_resclasses=["", "licence"],
    )
    settings = load(files=[path])
    assert settings["trio_afrender.token_file"] == f"{tmp_path}{sep}site{sep}token"
    config = make_config(settings)
    assert config.plugins == (tmp_path / "site" / "plugins", (tmp_path / "/studio"))
    assert config.ca_file == tmp_path / "/etc/ca.pem"
    assert config.shell == ("/bin/bash", "-e", "-c")
    assert config.paths_map == (("P:/", "/p/"),)
    assert config.timing == Timing(grace=3, resources_period=7)
    assert config.meters == ("licence",)
    plugin = config.plugin_settings()
    assert plugin.disk_folders == (f"{tmp_path}{sep}site{sep}scratch", str(tmp_path / "/"))
    assert plugin.licences == (("nuke", "lmstat\\x | grep '3 of 4'"),)  # a command stays as it is
    assert (config.max_tasks, config.services, config.server) == (2, ("blender",), "wss://farm/")


def test_a_table_by_service_sets_the_keys_beside_it(tmp_path: Path) -> None:
    limits = {
        "run_time": 60,
        "services": {"nuke": {"run_time": 5, "output": 7}, "a.b": {"memory": 9}},
    }
    stuck = {"services": {"nuke": {"policy": "stop"}}}
    checks = {"assets": "off", "services": {"nuke": {"assets": "error"}}}
    ours = {"limits": limits, "stuck": stuck, "checks": checks}
    path = write(tmp_path / "a.json", trio_afrender=ours)
    settings = load(files=[path])
    assert settings["trio_afrender.limits.services.nuke.run_time"] == 5
    config = make_config(settings)
    assert config.limits == Limits(run_time=60)
    assert config.limits_of("nuke", {"memory": 3}) == Limits(run_time=5, output=7, memory=3)
    assert config.limits_of("a.b", {"memory": 3}) == Limits(run_time=60, memory=9)
    assert config.limits_of("maya", {}) == Limits(run_time=60)
    assert config.stuck_of("nuke", {"policy": "off"}) == Stuck(policy="stop")
    assert config.stuck_of("maya", {"policy": "off"}) == Stuck(policy="off")
    assert config.checks_of("nuke", {"assets": "warn"}, {}) == Checks(assets="error")
    assert config.checks_of("maya", {}, {}) == Checks(assets="off")


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"max_task": 2}, 'a.json:1:36: no setting "max_task" in trio_afrender, did you mean "max_tasks"?'),
        ({"zzz": 2}, 'no setting "zzz" in trio_afrender, trio_afrender config prints all'),
        ({"timing": {"grac": 2}}, 'no setting "grac" in trio_afrender.timing, did you mean "grace"?'),
        ({"max_tasks": "2"}, 'trio_afrender.max_tasks: expected a whole number, got "2"'),
        ({"timing": {"grace": True}}, "trio_afrender.timing.grace: expected a number, got true"),
        ({"licences": ["nuke"]}, 'expected a list of pairs of a name and a command, got ["nuke"]'),
        ({"timing": 5}, '"trio_afrender.timing" must be an object'),
        ({"limits": {"services": 5}}, '"trio_afrender.limits.services" must be an object'),
        ({"limits": {"services": {"nuke": 5}}}, '"trio_afrender.limits.services.nuke" must be an object'),
        ({"limits": {"services": {"nuke": {"runtime": 5}}}}, 'no setting "runtime" in trio_afrender.limits.services.nuke, did you mean "run_time"?'),
        ({"limits": {"services": {"nuke": {"services": {}}}}}, 'no setting "services" in trio_afrender.limits.services.nuke'),
        (5, '"trio_afrender" must be an object'),
    ],
)  # fmt: skip
def test_a_typo_in_our_section_is_an_error_that_names_the_file(
    tmp_path: Path, section: object, problem: str
) -> None:
    path = write(tmp_path / "a.json", trio_afrender=section)
    with pytest.raises(ConfigError) as caught:
        load(files=[path])
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"trio_afrender": {"max_tasks": 0}}, "a.json:1:36: trio_afrender.max_tasks: expected at least 1, got 0"),
        ({"trio_afrender": {"timing": {"grace": -1}}}, "a.json:1:47: trio_afrender.timing.grace: expected at least 0 seconds, got -1"),
        ({"trio_afrender": {"nimby": "nimbi"}}, 'did you mean "nimby"?'),
        ({"trio_afrender": {"drain": "kill"}}, 'trio_afrender.drain: expected one of "finish", "stop", "leave", got "kill"'),
        ({"cmd_shell": " "}, 'cmd_shell: expected a shell, with its options, got " "'),
        ({"trio_afrender": {"limits": {"services": {"nuke": {"memory": -1}}}}}, "limits.services.nuke.memory: expected at least 0 bytes, got -1"),
        ({"trio_afrender": {"stuck": {"policy": "stopp"}}}, 'stuck.policy: expected one of "off", "warn", "stop" (did you mean "stop"?), got "stopp"'),
        ({"trio_afrender": {"stuck": {"services": {"nuke": {"policy": "x"}}}}}, 'stuck.services.nuke.policy: expected one of "off", "warn", "stop", got "x"'),
        ({"trio_afrender": {"checks": {"assets": "eror"}}}, 'checks.assets: expected one of "off", "warn", "error" (did you mean "error"?)'),
        ({"af_render_networkif": "("}, "af_render_networkif: expected a regular expression (missing )"),
        ({"af_serverport": 70000}, "a.json:1:18: af_serverport: expected 1 to 65535, got 70000"),
        ({"trio_afrender": {"timing": {"heartbeat": 0}}}, "expected at least 0.01 seconds, got 0"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_errors(
    tmp_path: Path, keys: dict[str, object], problem: str
) -> None:
    settings = load(files=[write(tmp_path / "a.json", **keys)])
    with pytest.raises(ConfigError) as caught:
        make_config(settings)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["a\nb", "x" * 256, "\udcff"])
def test_a_name_that_no_server_takes_is_reported_with_its_layer(name: str) -> None:
    wrong = {"af_priority": "999"}
    for place, settings in (
        ("environment AF_HOSTNAME", load({"AF_HOSTNAME": name}, arguments=wrong)),
        ("command line --name", load(options={"trio_afrender.name": name}, arguments=wrong)),
    ):
        with pytest.raises(ConfigError) as caught:
            make_config(settings)
        first, second = str(caught.value).splitlines()
        assert first.startswith(f"{place}: name: expected 1 to 255 printable characters, got ")
        assert "af_priority" in second


def test_all_faults_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("""{"cgru_config": {"trio_afrender": {
        "max_tsks": 3,
        "window": "many",
        "limits": {"services": {"nuke": {"runtime": 4}}, "output": []}
    }}}""")
    with pytest.raises(ConfigError) as caught:
        load({"TRIO_AFRENDER__NAM": "x"}, files=[path], arguments={"af_serverport": "x"})
    assert str(caught.value).splitlines() == [
        '--af_serverport: expected a whole number, got "x"',
        f'{path}:2:9: no setting "max_tsks" in trio_afrender, did you mean "max_tasks"?',
        f'{path}:3:9: trio_afrender.window: expected a whole number, got "many"',
        f'{path}:4:42: no setting "runtime" in trio_afrender.limits.services.nuke, did you mean "run_time"?',
        f"{path}:4:58: trio_afrender.limits.output: expected a whole number, got []",
        'environment TRIO_AFRENDER__NAM: no such setting, did you mean "TRIO_AFRENDER__NAME"?',
    ]
    path.write_text("""{"cgru_config": {"af_serverport": 0, "trio_afrender": {"max_tasks": 0}}}""")
    with pytest.raises(ConfigError) as caught:
        make_config(load({"TRIO_AFRENDER__TIMING__GRACE": "-1"}, files=[path]))
    assert str(caught.value).splitlines() == [
        f"{path}:1:18: af_serverport: expected 1 to 65535, got 0",
        f"{path}:1:56: trio_afrender.max_tasks: expected at least 1, got 0",
        "environment TRIO_AFRENDER__TIMING__GRACE: trio_afrender.timing.grace: expected at least 0 seconds, got -1.0",
    ]


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("TRIO_AFRENDER__MAX_TASKS", "2", "max_tasks", 2),
        ("TRIO_AFRENDER__TIMING__GRACE", "2.5", "timing.grace", 2.5),
        ("trio_afrender__keep_runs", "yes", "keep_runs", True),
        ("TRIO_AFRENDER__SERVICES", "nuke, maya", "services", ["nuke", "maya"]),
        ("TRIO_AFRENDER__LICENCES", '[["a", "b"]]', "licences", [["a", "b"]]),
        ("TRIO_AFRENDER__LIMITS__SERVICES__NUKE__RUN_TIME", "5", "limits.services.nuke.run_time", 5.0),
        ("TRIO_AFRENDER__LIMITS__SERVICES__Tool__RUN_TIME", "5", "limits.services.Tool.run_time", 5.0),
        ("TRIO_AFRENDER__MAX_TASKS", "", "max_tasks", 4),
    ],
)  # fmt: skip
def test_variables_set_our_own_keys(variable: str, text: str, key: str, value: object) -> None:
    settings = load({variable: text})
    found = settings.values[f"trio_afrender.{key}"]
    assert found.value == value
    assert found.origin == (f"environment {variable}" if text else "default")
    assert make_config(settings).name == "node7"


def test_every_key_of_ours_has_a_variable() -> None:
    for key, spec in OURS.items():
        if spec.kind in ("int", "float"):
            variable = "TRIO_AFRENDER__" + key.removeprefix("trio_afrender.").replace(".", "__").upper()  # fmt: skip
            assert load({variable: "77"})[key] == 77


def test_own_variables_stand_between_files_and_the_command_line(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.json", trio_afrender={"max_tasks": 7, "name": "file"})]
    environment = {"TRIO_AFRENDER__MAX_TASKS": "8"}
    key = "trio_afrender.max_tasks"
    assert load(files=files)[key] == 7
    assert load(environment, files=files)[key] == 8
    assert load(environment, files=files, arguments={key: "9"})[key] == 9
    environment = {"TRIO_AFRENDER__NAME": "own", "AF_HOSTNAME": "afanasy"}
    assert load(environment, files=files)["name"] == "own"
    assert load(environment, files=files, options={"trio_afrender.name": "typed"})["name"] == "typed"  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("TRIO_AFRENDER__MAX_TASK", 'did you mean "TRIO_AFRENDER__MAX_TASKS"?'),
        ("TRIO_AFRENDER__LIMITS__SERVICES__NUKE__RUNTIME", "no such setting"),
        ("TRIO_AFRENDER__LIMITS__SERVICES__RUN_TIME", "no such setting"),
        ("TRIO_AFRENDER__LIMITS__SERVICES", "no such setting"),
        ("TRIO_AFRENDER__", "no such setting"),
    ],
)
def test_a_variable_of_a_key_that_does_not_exist_is_an_error(variable: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"environment {variable}: no such setting, .*") as caught:
        load({variable: "5"})
    assert problem in str(caught.value)


def test_a_variable_with_one_underscore_too_few_is_a_problem() -> None:
    [problem] = load({"TRIO_AFRENDER_TIMING_GRACE": "5", "TRIO_AFRENDER_TOKEN": "x"}).problems
    assert problem == "variable TRIO_AFRENDER_TIMING_GRACE is not read, did you mean TRIO_AFRENDER__TIMING__GRACE?"  # fmt: skip


def test_values_of_keys_that_name_a_secret_are_hidden(tmp_path: Path) -> None:
    connection = "host=db password=AfPw user=joe"
    secrets = {
        "af_db": connection,
        "site_password": "hunter2",
        "api_key": "k",
        "pswd_visor": "73bc",
        "db": {"port": 1, "Password": "x"},
        "dbs": [{"password": "x"}, [["a", "run --token=abc b"]]],
    }
    path = write(tmp_path / "a.json", plain="p", **secrets)
    shown = dict(load(files=[path]).shown())
    assert shown["site_password"].value == "<hidden>"
    assert shown["api_key"].value == "<hidden>"
    assert shown["pswd_visor"].value == "<hidden>"
    assert shown["db"].value == {"port": 1, "Password": "<hidden>"}
    assert shown["dbs"].value == [{"password": "<hidden>"}, [["a", "run --token=<hidden> b"]]]
    assert shown["af_db"].value == "host=db password=<hidden> user=joe"
    assert shown["plain"].value == "p"
    assert shown["trio_afrender.log_quota"].unit == "bytes"
    assert set(CGRU) <= set(shown)

"""Every service by name; in depth those that override methods of the base class."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from support.host_paths import split_command

import parsers
import services
from services import _host_addresses
from services.events import events
from services.htracker import htracker
from services.mentalray import mentalray
from services.service import service
from services.vray import vray
from services.wakeonlan import wakeonlan
from trio_afrender.config.load import load_settings, make_config
from trio_afrender.config.settings import CGRU, PluginSettings
from trio_afrender.plugins.host.host_protocol import dump_plugin_settings, load_plugin_settings

NUMERIC = 1
NO_PARSER = object()
"""For a service whose module has no variable `parser`."""

SAME_NAME = (
    "afterfx", "arnold", "blender", "blender_internal", "c4d", "clarisse", "ffmpeg", "ftrack",
    "fusion", "generic", "hbatch", "hbatch_karma", "hbatch_mantra", "hbatch_prman",
    "hbatch_redshift", "houdinitoarnold", "karma", "lightwave", "mantra", "max", "maya_arnold",
    "maya_delight", "maya_mental", "maya_redshift", "mayatoarnold", "mayatomr", "mayatovray",
    "mentalray", "natron", "nuke", "prman", "redline", "rsync", "shotgun", "vray", "xsi",
    "xsi_arnold", "xsi_arnold_watermarked", "xsi_redshift",
)  # fmt: skip
MARKERS = (
    "checksum", "ftp", "hbatch_pdg", "htracker", "movgen", "system", "test", "tiles_stitch", "walk",
)  # fmt: skip
ORIGINAL: dict[str, object] = {
    **{name: name for name in SAME_NAME},
    **dict.fromkeys(MARKERS, "generic"),
    **dict.fromkeys(("events", "postcmd", "wakeonlan"), NO_PARSER),
    "maya": "",
}
"""Afanasy's services, each with the parser that its module names."""
BASES = {"service"}
NAMES = tuple(
    info.name for info in pkgutil.iter_modules(services.__path__) if not info.name.startswith("_")
)
PARSERS = {info.name for info in pkgutil.iter_modules(parsers.__path__)}


S = TypeVar("S", bound=service)


def make(made: type[S], settings: PluginSettings | None = None, /, **info: object) -> S:
    """Create a service as the plugin host does."""
    task_info = {"wdir": "", "parser": "", "command_block": "", "block_flags": NUMERIC, **info}
    new = made.__new__(made)
    new.settings = settings or PluginSettings()
    new.__init__(task_info, False)  # type: ignore[misc] # as the plugin host does it
    return new


def test_all_services_of_afanasy_exist() -> None:
    assert set(ORIGINAL) <= set(NAMES) - BASES
    assert len(ORIGINAL) == 52


@pytest.mark.parametrize("name", sorted(set(NAMES) - BASES))
def test_a_service_its_parser_and_its_command(name: str) -> None:
    module = importlib.import_module(f"services.{name}")
    made = getattr(module, name)
    assert issubclass(made, service)
    assert module.__all__ == (name,)
    named = getattr(module, "parser", NO_PARSER)
    assert named == ORIGINAL.get(name, name)
    if name in ("events", "wakeonlan"):
        return  # their commands are JSON
    parser = named if isinstance(named, str) else ""
    info = {"environment": {"AF_TEST_SEED": "1"}, "parser": parser}
    run = make(made, command_block="run @#@", frame_start=7, frame_finish=7, **info)
    assert run.getCommand().startswith("run 7")
    assert run.parser_problem == ""
    assert run.hasParser() is bool(parser)
    assert run.parser is None or type(run.parser).__name__ == parser
    assert not run.skipTask()
    assert run.checkExitStatus(0)
    assert not run.checkExitStatus(2)


@pytest.mark.parametrize("name", sorted(ORIGINAL))
def test_the_named_parser_exists(name: str) -> None:
    assert ORIGINAL[name] in PARSERS | {"", NO_PARSER}


# Houdini's tracker.


def test_the_tracker_gets_the_job_id_and_may_exit_with_one() -> None:
    made = make(htracker, command_block="track -p 8000", job_id=12)
    assert made.getCommand() == "track -p 8000 -J 12"
    assert [made.checkExitStatus(status) for status in (0, 1, 2, 256)] == [True, True, False, False]
    assert make(htracker, command_block="", job_id=12).getCommand() == ""


# Hosts.


def test_hosts_of_mental_ray() -> None:
    command = "ray @AF_HOSTS@ scene.mi"
    made = make(mentalray, command_block=command, hosts=["a", "b"])
    assert made.getCommand() == "ray -hosts a b -- scene.mi"
    assert make(mentalray, command_block=command).getCommand() == command


class _Vray(vray):
    """With a fake name server."""

    queries: tuple[str, ...] = ()

    @staticmethod
    def look_up(name: str) -> str:
        _Vray.queries += (name,)
        known = {"a": "10.0.0.1", "b": "10.0.0.2"}
        if name not in known:
            raise OSError(name)
        return known[name]


def test_hosts_of_vray_are_addresses() -> None:
    command = "vray @AF_HOSTS@ -sceneFile=x"
    made = make(_Vray, command_block=command, hosts=["b", "a"])
    assert made.getCommand() == 'vray -renderhost="10.0.0.2;10.0.0.1" -sceneFile=x'
    assert made.getLog() == ""
    assert make(_Vray, command_block=command).getCommand() == command


def test_an_unknown_host_of_vray_is_passed_by_name() -> None:
    made = make(_Vray, command_block="vray @AF_HOSTS@", hosts=["a", "unknown"])
    assert made.getCommand() == 'vray -renderhost="10.0.0.1;unknown"'
    assert "The address of unknown was not found" in made.getLog()


def test_hosts_that_the_command_does_not_use_are_not_resolved() -> None:
    _Vray.queries = ()
    make(_Vray, command_block="vray", hosts=["a", "b"])
    assert _Vray.queries == ()


def test_a_name_server_that_does_not_answer_delays_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    waits: list[float | None] = []

    class LookUp(threading.Thread):
        """On a busy machine a name that is found could need as long as one that is not."""

        def __init__(self, target: Callable[..., object], args: tuple[str], daemon: bool) -> None:
            super().__init__(target=target, args=args, daemon=daemon)
            self.is_slow = args == ("slow",)

        def join(self, timeout: float | None = None) -> None:
            waits.append(timeout)
            super().join(timeout if self.is_slow else 30)

    def look_up(name: str) -> str:
        if name == "slow":
            answered.wait(60)
        elif name == "wrong":
            raise UnicodeError
        return f"ip of {name}"

    monkeypatch.setattr(_host_addresses, "threading", SimpleNamespace(Thread=LookUp))
    try:
        found = _host_addresses.resolve_all(["slow", "wrong", "a"], look_up, 0.05)
    finally:
        answered.set()
    assert found == {"a": "ip of a"}
    assert all(each is not None and each < 0.06 for each in waits)


def test_without_threads_the_names_of_hosts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert _host_addresses.resolve_all(["a", "b"], str, 5.0) == {}


# Sleep and wake.

RENDER = {
    "name": "r 17",
    "address": {"ip": "10.0.0.17", "port": 50000},
    "netifs": [{"name": "eth0", "mac": "00:1a:2B:3c:4d:5e"}, {"mac": "00:1a:2B:3c:4d:5f"}],
}


def _wol(render: object, wdir: str = "SLEEP", settings: PluginSettings | None = None) -> wakeonlan:
    text = render if isinstance(render, str) else json.dumps(render)
    return make(wakeonlan, settings, command_task=text, wdir=wdir, block_flags=0)


@pytest.mark.parametrize(
    ("wdir", "words"), [("SLEEP", ["wolsleep", "--sleep"]), ("WAKE", ["wolwake", "--wake"])]
)
def test_a_render_sleeps_and_wakes(wdir: str, words: list[str]) -> None:
    made = _wol(RENDER, wdir)
    macs = ["001a2B3c4d5e", "001a2B3c4d5f"]
    if wdir == "SLEEP":  # its default is that of this host's system
        words = [*str(CGRU["af_render_cmd_wolsleep"].default).split(), "--sleep"]
    wanted = [*words, "--ip", "10.0.0.17", "--hostname", "r 17", *macs]
    assert split_command(made.getCommand()) == wanted
    assert made.getWDir() == ""
    assert made.getLog() == ""


def test_the_program_that_wakes_a_render_is_a_setting() -> None:
    settings = PluginSettings(variables={"af_render_cmd_wolwake": "cmd.exe /c wol"})
    command = _wol(RENDER, "WAKE", settings=settings).getCommand()
    assert command.startswith("cmd.exe /c wol --wake --ip 10.0.0.17 ")


@pytest.mark.parametrize(
    ("render", "problem"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
        ([], "no JSON object"),
        ({}, "address.ip"),
        ({**RENDER, "address": "10.0.0.17"}, "address.ip"),
        ({**RENDER, "address": {"ip": ""}}, "address.ip"),
        ({**RENDER, "netifs": []}, "netifs"),
        ({**RENDER, "netifs": {"mac": "1"}}, "netifs"),
        ({**RENDER, "netifs": [{"mac": ""}]}, "mac"),
        ({**RENDER, "netifs": ["00"]}, "mac"),
    ],
)
def test_an_invalid_render_gives_no_command(render: object, problem: str) -> None:
    made = _wol(render)
    assert made.getCommand() == ""
    assert problem in made.getLog()
    assert made.getWDir() == ""


def test_a_malicious_render_name_runs_nothing() -> None:
    made = _wol({**RENDER, "name": '"; rm -rf "$HOME'})
    assert '"; rm -rf "$HOME' in shlex.split(made.getCommand())


# Events.


def _custom(**data: object) -> str:
    return json.dumps(data)


def _events(
    data: object, made: type[events] = events, settings: PluginSettings | None = None
) -> events:
    text = data if isinstance(data, str) else json.dumps(data)
    names = {"job_name": "system job", "user_name": "afadmin"}
    return make(made, settings, command_task=text, block_flags=0, **names)


def _methods(*methods: str, event: str = "JOB_DONE", **more: object) -> str:
    return _custom(events={event: {"methods": list(methods)}}, **more)


def test_events_without_a_method_are_skipped() -> None:
    for data in (
        {"events": ["JOB_DONE"]},
        {"events": ["JOB_DONE"], "job": {"custom_data": _methods("email", event="JOB_ERROR")}},
        {"events": ["JOB_DONE"], "job": {"custom_data": _methods("email")}},  # to no address
        {"events": ["JOB_DONE"], "job": {"custom_data": _methods()}},
        {"events": [], "job": {"custom_data": _methods("notify-send")}},
        {"job": {"custom_data": _methods("notify-send")}},
    ):
        made = _events(data)
        assert made.skipTask() is True
        assert made.getCommand() == ""
        assert made.getLog() == ""


def test_an_email() -> None:
    made = _events(
        {
            "events": ["JOB_ERROR", "RENDER_ZOMBIE"],
            "user": {
                "name": "joe",
                "custom_data": _methods("email", event="JOB_ERROR", emails=["joe@a.b", "joe@a.b"]),
            },
            "job": {
                "name": "it's <mine>",
                "serial": 34,
                "custom_data": _methods("email", event="RENDER_ZOMBIE", emails=["td@a.b"]),
            },
            "render": [{"name": "r17", "host_resources": {"cpu_user": 7, "custom": []}}],
        }
    )
    assert made.skipTask() is False
    assert shlex.split(made.getCommand()) == [
        *("emailsend", "-V", "-f", "noreply@cgru.info", "-t", "joe@a.b", "-t", "td@a.b"),
        *("-s", "Job Error, Render Zombie - it's <mine>"),
        "Events: <b>Job Error, Render Zombie</b><br>",
        "Render: <b>r17</b><br><ul><li>cpu_user: 7</li></ul>",
        "Job: <b>it&#x27;s &lt;mine&gt;</b><br>",
        "User: <b>joe</b><br>",
    ]


def test_an_email_without_the_jobs_name() -> None:
    settings = PluginSettings(
        variables={"email_send_cmd": "python3 send.py", "email_sender_address_host": "a.b"}
    )
    made = _events(
        {"events": ["X"], "job": {"custom_data": _methods("email", event="X", emails="me@a.b")}},
        settings=settings,
    )
    words = shlex.split(made.getCommand())
    assert words[:7] == ["python3", "send.py", "-V", "-f", "noreply@a.b", "-t", "me@a.b"]
    assert words[7:] == ["-s", "X - system job", *words[9:]]
    assert words[9:] == [
        "Events: <b>X</b><br>", "Job: <b>system job</b><br>", "User: <b>afadmin</b><br>",
    ]  # fmt: skip


def test_a_notification_on_the_desktop() -> None:
    data = _custom(
        events={"JOB_DONE": {"methods": ["notify-send"]}, "JOB_ERROR": {"methods": ["notify-send"]}}
    )
    made = _events(
        {"events": ["JOB_DONE", "JOB_ERROR"], "job": {"name": "a 'b'", "custom_data": data}}
    )
    words = shlex.split(made.getCommand())
    assert words == ["notify-send", "Afanasy", "Job a 'b': JOB_ERROR"]


def test_any_other_method_is_a_command() -> None:
    data = _methods("python3 /studio/notify.py")
    made = _events(
        {"events": ["JOB_DONE"], "job": {"name": "a; rm b", "serial": 5, "custom_data": data}}
    )
    assert made.getCommand() == "python3 /studio/notify.py -jobname 'a; rm b' -jobserial 5"


@pytest.mark.parametrize(
    ("methods", "emails", "program"),
    [
        (("email", "notify-send", "chat"), ["a@b"], "emailsend"),
        (("email", "notify-send", "chat"), [], "chat"),
        (("chat", "notify-send"), [], "chat"),
        (("chat", "again"), [], "again"),
        (("notify-send",), [], "notify-send"),
    ],
)
def test_the_last_method_with_a_command_counts(
    methods: tuple[str, ...], emails: list[str], program: str
) -> None:
    data = _methods(*methods, emails=emails)
    made = _events({"events": ["JOB_DONE"], "job": {"name": "j", "custom_data": data}})
    assert shlex.split(made.getCommand())[0] == program


def test_custom_data_of_all_objects_is_merged() -> None:
    made = _events(
        {
            "events": ["A"],
            "job": {
                "custom_data": _custom(a={"b": [1], "c": 1, "-off": 2}, emails=["x"], d={"e": 1})
            },
            "user": [
                {"custom_data": _custom(a={"b": [2], "c": {"f": 3}, "": 4}, d=5)},
                {"custom_data": {"emails": ["y"], "-a": 1, "g": {"-h": 1, "i": {}}}},
                {"name": "without"},
                "no object",
            ],
            "render": {"custom_data": ""},
        }
    )
    merged = {"a": {"b": [1, 2], "c": {"f": 3}}, "emails": ["x", "y"], "d": 5, "g": {"i": {}}}
    assert made.custom_obj == merged
    assert made.objects["events"] == ["A"]
    assert made.getLog() == ""


@pytest.mark.parametrize("bad", ["{", "[]", "[" * 100_000, 5])
def test_unreadable_custom_data_does_not_hide_the_others(bad: object) -> None:
    made = _events(
        {
            "events": ["JOB_DONE"],
            "user": {"custom_data": bad},
            "job": {"name": "j", "custom_data": _methods("notify-send")},
        }
    )
    assert "The custom data of a user cannot be read" in made.getLog()
    assert made.getCommand().startswith("notify-send")


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000])
def test_unreadable_events_are_skipped_with_a_reason(text: str) -> None:
    made = _events(text)
    assert made.skipTask()
    assert made.getCommand() == ""
    assert "The events cannot be read" in made.getLog()


@pytest.mark.parametrize(
    "data",
    [
        _custom(events=5),
        _custom(events={"JOB_DONE": 5}),
        _custom(events={"JOB_DONE": {"methods": 5}}),
        _custom(events={"JOB_DONE": {"methods": [5, None, ""]}}),
        _custom(events={"JOB_DONE": {"methods": ["email"]}}, emails=[5, {"a": "b"}]),
    ],
)
def test_invalid_custom_data_gives_no_command(data: str) -> None:
    made = _events({"events": ["JOB_DONE", 5], "job": {"custom_data": data}})
    assert made.skipTask()
    assert made.getLog() == ""


def test_a_path_in_the_events_is_not_mapped() -> None:
    settings = PluginSettings(paths_map=(("X:\\", "/proj"),))
    data = _custom(note="/proj/a")
    made = _events({"events": [], "job": {"custom_data": data}}, settings=settings)
    assert made.custom_obj == {"note": "/proj/a"}


def test_a_subclass_adds_methods() -> None:
    class own(events):
        def getMethodCommand(
            self, i_method: str, i_events: list[str], i_objects: dict[str, Any]
        ) -> str | None:
            if i_method == "quiet":
                return None
            job = i_objects["job"]["name"]
            return f"chat {i_method} {job} {'+'.join(i_events)} {self.custom_obj['room']}"

    data = _methods("chat", "quiet", room="lobby")
    made = _events({"events": ["JOB_DONE"], "job": {"name": "j", "custom_data": data}}, own)
    assert made.getCommand() == "chat chat j JOB_DONE lobby"


@pytest.mark.parametrize("made", [events, wakeonlan])
def test_patterns_in_a_task_of_the_server_give_no_command(made: Callable[..., service]) -> None:
    task = {"command_block": '{"a": "@#@"}', "command_task": "", "block_flags": 0}
    assert made(task).getCommand() == ""


def test_settings_of_services_come_from_config_and_travel_to_the_plugin_host(
    tmp_path: Path,
) -> None:
    environment = {"CGRU_AF_RENDER_CMD_WOLSLEEP": "nap -v", "CGRU_EMAIL_SEND_CMD": "mail"}
    environment |= {"HOME": str(tmp_path), "AF_HOSTNAME": "r1", "AF_USERNAME": "joe"}
    config = make_config(load_settings(environment=environment))
    settings = config.plugin_settings()
    assert load_plugin_settings(json.loads(json.dumps(dump_plugin_settings(settings)))) == settings
    expected = {
        "af_render_customiostat_devices": "sda",
        "af_render_cmd_wolsleep": "nap -v",
        "af_render_cmd_wolwake": "wolwake",
        "email_send_cmd": "mail",
        "email_sender_address_host": "cgru.info",
    }
    assert expected.items() <= settings.variables.items()
    assert _wol(RENDER, "SLEEP", settings).getCommand().startswith("nap -v --sleep --ip ")

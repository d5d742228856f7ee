"""Notifications of what happens to jobs, by the server's own job.

The command of such a task is JSON: the names of events, and the job, user, render they happened to.
These may carry ``custom_data``, JSON in a text, which says what is to be done at which event:

    {"events": {"JOB_DONE": {"methods": ["email"]}}, "emails": ["somebody@some.where"]}
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from services import _custom_data, service

__all__ = ("events",)


class events(service.service):
    """One command a task; a task without one is skipped.

    For subclasses: `custom_obj` is all custom data merged, `objects` what came with the task.
    """

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        self.custom_obj: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.skip_task = True
        taskInfo["command"] = ""
        try:
            # As it came: a paths map has no business in JSON.
            told = json.loads(self.processCommandPattern())
        except (ValueError, RecursionError) as error:
            self.addLog(f"The events cannot be read: {error}")
            return
        if not isinstance(told, dict):
            self.addLog("The events cannot be read: they are no JSON object.")
            return
        self.objects = told
        for problem in _custom_data.merge_all(told, self.custom_obj):
            self.addLog(problem)
        self._choose(_custom_data.texts(told.get("events")))

    def _choose(self, names: list[str]) -> None:
        """Take the command of the last method that has one."""
        for method, received in _by_method(names, self.custom_obj.get("events")):
            command = self.getMethodCommand(method, received, self.objects)
            if command:
                self.taskInfo["command"] = command
                self.skip_task = False

    def getMethodCommand(
        self, i_method: str, i_events: list[str], i_objects: dict[str, Any]
    ) -> str | None:
        """The command that tells of these events by this method: to be overridden.

        An empty one is as none.
        """
        if i_method == "email":
            return self.getEmailCommand(i_events, i_objects)
        job = self._name(i_objects, "job", "job_name")
        if i_method == "notify-send":
            return self._quote(["notify-send", "Afanasy", f"Job {job}: {i_events[-1]}"])
        serial = _custom_data.one(i_objects, "job").get("serial", 0)
        return f"{i_method} {self._quote(['-jobname', job, '-jobserial', str(serial)])}"

    def getEmailCommand(self, i_events: list[str], i_objects: dict[str, Any]) -> str:
        """The command that sends an e-mail; none if nobody is to get one."""
        addresses = _custom_data.texts(self.custom_obj.get("emails"))
        if not addresses:
            return ""
        variables = self.settings.variables
        job = self._name(i_objects, "job", "job_name")
        said = ", ".join(event.replace("_", " ").title() for event in i_events)
        words = ["-V", "-f", f"noreply@{variables['email_sender_address_host']}"]
        for address in dict.fromkeys(addresses):
            words += ["-t", address]
        words += ["-s", f"{said} - {job}"]
        words += [_line("Events", said), *_about_render(_custom_data.one(i_objects, "render"))]
        words += [_line("Job", job), _line("User", self._name(i_objects, "user", "user_name"))]
        return f"{variables['email_send_cmd']} {self._quote(words)}"

    def _name(self, objects: dict[str, Any], kind: str, key: str) -> str:
        """The name of what the events happened to, else of what this task belongs to."""
        name = _custom_data.one(objects, kind).get("name") or self.taskInfo.get(key, "")
        return str(name)


def _by_method(names: Iterable[str], wanted: object) -> list[tuple[str, list[str]]]:
    """Methods with the events they have received, in the order of how much they matter."""
    received: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        event = wanted.get(name) if isinstance(wanted, dict) else None
        methods = event.get("methods") if isinstance(event, dict) else None
        for method in dict.fromkeys(_custom_data.texts(methods)):
            received.setdefault(method, []).append(name)
    order = {"notify-send": 0, "email": 2}
    return sorted(received.items(), key=lambda item: order.get(item[0], 1))


def _line(title: str, text: str) -> str:
    return f"{title}: <b>{html.escape(text)}</b><br>"


def _about_render(render: dict[str, Any]) -> list[str]:
    """The render's name and load, as far as they are told."""
    if not render:
        return []
    load = render.get("host_resources")
    figures = "".join(
        f"<li>{html.escape(str(name))}: {html.escape(str(value))}</li>"
        for name, value in (load.items() if isinstance(load, dict) else ())
        if isinstance(value, int | float | str)
    )
    line = _line("Render", str(render.get("name", "")))
    return [f"{line}<ul>{figures}</ul>" if figures else line]

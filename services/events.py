"""Notifications of events of jobs, as tasks of the server's own job.

The command of such a task is JSON: the names of events, and the job, user and render that they
concern. These may have ``custom_data``, JSON in a string, with the notification methods by event:

    {"events": {"JOB_DONE": {"methods": ["email"]}}, "emails": ["td@studio.example"]}
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from services import _custom_data, service

__all__ = ("events",)


class events(service.service):
    """Builds one command per task; a task without one is skipped.

    For subclasses: `custom_obj` is the merged custom data, `objects` the task's JSON.
    """

    def __init__(self, taskInfo: dict[str, Any], i_verbose: bool = False) -> None:
        super().__init__(taskInfo, i_verbose)
        self.custom_obj: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.skip_task = True
        taskInfo["command"] = ""
        try:
            # Not `command`, to which the paths map was applied: it may break the JSON.
            objects = json.loads(self.processCommandPattern())
        except (ValueError, RecursionError) as error:
            self.addLog(f"The events cannot be read: {error}")
            return
        if not isinstance(objects, dict):
            self.addLog("The events cannot be read: they are no JSON object.")
            return
        self.objects = objects
        for problem in _custom_data.merge_all(objects, self.custom_obj):
            self.addLog(problem)
        self._choose_command(_custom_data.texts(objects.get("events")))

    def _choose_command(self, names: list[str]) -> None:
        """Set the command of the last method that has one."""
        for method, events in _group_by_method(names, self.custom_obj.get("events")):
            command = self.getMethodCommand(method, events, self.objects)
            if command:
                self.taskInfo["command"] = command
                self.skip_task = False

    def getMethodCommand(
        self, i_method: str, i_events: list[str], i_objects: dict[str, Any]
    ) -> str | None:
        """Return the command that notifies of events by this method; empty or None: no command.

        Subclasses override this to add methods.
        """
        if i_method == "email":
            return self.getEmailCommand(i_events, i_objects)
        job = self._name(i_objects, "job", "job_name")
        if i_method == "notify-send":
            return self._quote(["notify-send", "Afanasy", f"Job {job}: {i_events[-1]}"])
        serial = _custom_data.one(i_objects, "job").get("serial", 0)
        return f"{i_method} {self._quote(['-jobname', job, '-jobserial', str(serial)])}"

    def getEmailCommand(self, i_events: list[str], i_objects: dict[str, Any]) -> str:
        """Return the command that sends an e-mail; empty if there are no addresses."""
        addresses = _custom_data.texts(self.custom_obj.get("emails"))
        if not addresses:
            return ""
        variables = self.settings.variables
        job = self._name(i_objects, "job", "job_name")
        titles = ", ".join(event.replace("_", " ").title() for event in i_events)
        words = ["-V", "-f", f"noreply@{variables['email_sender_address_host']}"]
        for address in dict.fromkeys(addresses):
            words += ["-t", address]
        words += ["-s", f"{titles} - {job}"]
        words += [_line("Events", titles), *_describe_render(_custom_data.one(i_objects, "render"))]
        words += [_line("Job", job), _line("User", self._name(i_objects, "user", "user_name"))]
        return f"{variables['email_send_cmd']} {self._quote(words)}"

    def _name(self, objects: dict[str, Any], kind: str, key: str) -> str:
        """The name of the object that came with the events, else of this task's."""
        name = _custom_data.one(objects, kind).get("name") or self.taskInfo.get(key, "")
        return str(name)


def _group_by_method(names: Iterable[str], settings: object) -> list[tuple[str, list[str]]]:
    """Methods with their events; the last one with a command counts, so e-mail is last."""
    grouped: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        event = settings.get(name) if isinstance(settings, dict) else None
        methods = event.get("methods") if isinstance(event, dict) else None
        for method in dict.fromkeys(_custom_data.texts(methods)):
            grouped.setdefault(method, []).append(name)
    order = {"notify-send": 0, "email": 2}
    return sorted(grouped.items(), key=lambda item: order.get(item[0], 1))


def _line(title: str, text: str) -> str:
    return f"{title}: <b>{html.escape(text)}</b><br>"


def _describe_render(render: dict[str, Any]) -> list[str]:
    """The render's name and load, as far as the task's JSON has them."""
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

"""Names of the log's events and of their fields, for ``--log-format json``.

A record is found by its module and its text before values are put in. So texts may be reworded together
with their key here, and the name of the event stays: scripts and alerts depend on it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

__all__ = ("EVENTS", "KINDS", "MESSAGE", "OTHER", "describe_record")

MESSAGE, OTHER = "message", "other"
"""Events of lines that a command prints, and of records that have no name here."""

_AGENT: Mapping[str, Mapping[str, str]] = {
    "agent.agent": {
        "leaving %s running tasks to the supervisor: %s": "agent-leaving tasks reason",
        'instruction of the server: "%s" %s': "instruction instruction command",
        "refused: %s": "instruction-refused reason",
    },
    "agent.connect": {
        "%s: the protocol has no authentication; any program that reaches that port, or answers"
        " in its place, can run commands on this host": "protocol-unprotected server",
        "%s: the token is not used, Afanasy's protocol has no field for one": "token-unused server",
    },
    "agent.dispatcher": {
        "no new tasks: %s": "tasks-paused reason",
        "no longer true: %s": "tasks-resumed reason",
        "task %s (%s): %s; %s": "task-ended task name status reason",
        "the probe of this host failed: tasks are taken again": "probe-failed",
        "run %s: the server no longer wants its outcome": "outcome-superseded run",
    },
    "agent.host_actions": {
        "launching: %s": "command-launched command",
        "launched command ended with %s: %s": "command-ended exit_code command",
        "%s": "command-failed reason",
        "cannot sleep: %s": "sleep-failed reason",
        'the service "%s" makes no command: %s': "sleep-without-command service reason",
        "the notice command: %s": "notice-command-failed reason",
    },
    "agent.journal": {
        "the journal %s cannot be compacted: %s": "journal-not-compacted path reason",
        "the journal %s cannot be written: %s; results are sent, but would be lost if the agent"
        " were killed": "journal-failed path reason",
        "the journal %s is written again": "journal-recovered path",
    },
    "agent.load_config": {
        "%s": "config-problem text",
    },
    "agent.memory_guard": {
        "task %s: %s: it is given back": "task-given-back task reason",
    },
    "agent.run_history": {
        "the history %s cannot be written: %s": "history-failed path reason",
    },
    "agent.session": {
        "no link to the server: %s; trying again": "link-lost reason",
        "%s: trying again": "register-refused reason",
        "registered as render %s%s": "registered render note",
        "server: %s": "server-message text",
    },
    "agent.shutdown": {
        "draining: %s": "draining reason",
        "%d tasks did not end within the budget": "drain-incomplete tasks",
        "the server did not take every outcome before the drain's deadline": "outcomes-undelivered",
    },
    "agent.takeover": {
        "%s": "takeover-note text",
        "%s tasks of an earlier agent continue": "tasks-taken-over tasks",
        "the agent before this one was killed: ended its processes %s": "leftovers-killed pids",
        "pids %s of the agent before this one survive KILL": "leftovers-unkillable pids",
        "processes of task %s survive KILL": "task-unkillable task",
        "processes of the run in %s survive KILL": "run-unkillable folder",
        "%s results of an earlier agent are still to be delivered": "outcomes-taken-over outcomes",
        "task %s (%s) lost its agent: given back": "task-lost task name",
    },
    "agent.task_user_trial": {
        "tasks run as other users of this host: %s": "task-users users",
    },
    "cli.systemd_notify": {
        "WATCHDOG_PID or WATCHDOG_USEC is not a number: no watchdog is fed": "watchdog-unusable",
        "the watchdog is not fed: %s": "watchdog-late reason",
    },
}
_TASKS: Mapping[str, Mapping[str, str]] = {
    "hostinfo.gpu": {
        "GPUs %s: %s": "gpus-unmeasured verb reason",
        "GPUs are measured with nvidia-smi: %s": "gpus-by-command reason",
        "no GPU is measured: %s": "gpus-absent reason",
        "no GPU is measured: %s, and there is no nvidia-smi": "gpus-absent reason",
    },
    "hostinfo.memory": {
        "cannot read the host's memory: %s": "memory-unreadable reason",
    },
    "hostinfo.source": {
        "no answer from %s: the last values are reported": "measurement-hangs source",
        "cannot measure %s: %s": "measurement-failed source reason",
    },
    "plugins.host.connection": {
        "plugin host %d cannot be killed": "plugin-host-unkillable pid",
    },
    "plugins.host.forkserver": {
        "the fork server of plugin hosts, %d, cannot be killed": "fork-server-unkillable pid",
        "the fork server of plugin hosts sent an invalid message: %s": "fork-server-invalid reason",
        "plugin process %d was stopped: continued": "plugin-process-continued pid",
    },
    "plugins.host.host": {
        "plugin host %d: %s": "plugin-host-ended pid reason",
    },
    "plugins.host.host_link": {
        "the plugin host printed: %s": "plugin-host-printed text",
    },
    "plugins.host.host_pool": {
        "plugin host: %s": "plugin-host-failed reason",
    },
    "plugins.meters.service": {
        "of %d meters the first %d are measured": "meters-left-out meters measured",
        "the meters' host %s, in a call of %s": "meter-host-ended reason meter",
        "%s": "meters-failed reason",
        'meter "%s": %s': "meter-failed meter reason",
    },
    "process.leftover_processes": {
        "cannot look for processes now: %s": "search-failed reason",
        "cannot signal pid %s now: %s": "signal-failed pid reason",
    },
    "process.supervisor_client": {
        "the supervisor (pid %s) was stopped: continued": "supervisor-continued pid",
        "%s: it has not ended, as its record says: killed %s": "record-wrong folder pids",
        "lost the supervisor (%s): starting another one": "supervisor-restarted reason",
    },
    "process.windows.job_trees": {
        "pid %s is ended, a task had it made outside of its job": "outsider-ended pid",
        "cannot look for processes outside of jobs: %s": "outsiders-unknown reason",
    },
    "process.windows.window_closer": {
        "%s the window %r of pid %s": "window-closed action window pid",
        "cannot look for windows to close: %s": "windows-unknown reason",
    },
    "task.file_spool": {
        "run %s: %s is not sent: %s": "file-not-sent run file reason",
    },
    "task.image_worker": {
        "the thumbnailer %d cannot be killed": "thumbnailer-unkillable pid",
    },
    "task.process_lifecycle": {
        "internal error at the end of a process": "internal-error",
    },
    "task.run": {
        "task %s: internal error": "internal-error task",
        "task %s: its processes cannot be ended now: %s": "leftovers-not-ended task reason",
    },
    "task.run_state": {
        "task %s: a plugin (%s) raised %s": "plugin-raised task plugins reason",
    },
    "tasklog.io_threads": {
        "%s stopped for a moment: %r": "part-restarted part reason",
        "no thread could be held back: %s": "reserve-missing reason",
        "fewer descriptors are held back: %s": "reserve-missing reason",
    },
    "tasklog.supervised_log": {
        "cannot store output in %s: %s": "output-not-stored folder reason",
    },
}
_SERVERS: Mapping[str, Mapping[str, str]] = {
    "afserver.requests": {
        "%s: asked for %s: %s": "request-refused server request reason",
    },
    "farm.farm": {
        "task %s: text not stored: %s": "text-not-stored task reason",
        "cannot wake render %r: %s": "wake-failed render reason",
    },
    "farm.json_interface.json_monitors": {
        "monitor %s: no poll for %g s, dropped": "monitor-silent monitor seconds",
        "monitor %s: more than %d changed tasks wait for it, dropped": "monitor-slow monitor tasks",
    },
    "farm.json_interface.json_server": {
        "JSON client at %s: connection lost": "json-client-lost peer",
        "JSON client at %s: connection failed": "internal-error peer",
        "JSON client at %s: %s": "json-client-refused peer reason",
        "JSON client at %s: HTTP %d: %s": "json-client-refused peer status reason",
    },
    "farm.record_batches": {
        "records are stored again": "records-recovered",
        "records are not stored, tried again every %.0f s: %s": "records-failed seconds reason",
        "%s: kept as %s": "records-moved reason path",
    },
    "farm.text_writer": {
        "texts and records are not stored, tried again: %s": "texts-failed reason",
        "texts and records are stored again": "texts-recovered",
    },
    "farm.render_session": {
        "%s: closed: did not register": "render-silent render",
        "%s: registered": "render-registered render",
        "%s: refused %r: %s": "render-refused render name reason",
        "%s: %s": "render-lost render reason",
        "%s: closed: %s": "render-closed render reason",
        "%s: left: %s": "render-left render reason",
        "%s: message of unknown type %r skipped": "unknown-message render type",
    },
    "gateway.agent_session": {
        "%s: over, dropped a message": "message-dropped agent",
        "%s: %s": "session-error agent reason",
    },
    "gateway.gateway": {
        "stored ids of renders cannot be removed: %s": "identities-failed reason",
    },
    "gateway.render_proxy": {
        "render %a: failed": "internal-error render",
    },
    "gateway.token_reload": {
        "%s; the tokens that were read before stay valid": "tokens-refused reason",
        "tokens file %s: it has changed and was read": "tokens-read path",
    },
    "transport.repeated_lines": {},
    "transport.websocket_client": {
        'skipped a message of unknown type "%s"': "unknown-message type",
        "%s: the websocket's reader ended": "websocket-reader-ended server",
        "%s: handshake failed": "handshake-failed server",
    },
    "transport.websocket_server": {
        "%s: connection failed": "internal-error peer",
        "a websocket's reader ended": "websocket-reader-ended",
        "%s: the session failed": "internal-error peer",
    },
    "web.farm_watch": {
        "the page has lost the farm: %s": "page-lost-farm reason",
        "no loads: %s": "page-without-loads reason",
    },
    "web.http_listener": {
        "the page: connection lost: %s": "page-client-lost reason",
    },
    "web.page_app": {
        "the page: %s: %s": "page-change user text",
        "the page: %s has failed": "internal-error path",
    },
    "web.serve_page": {
        "the page: watching the farm has failed, and begins again": "internal-error",
    },
    "web.topic_registry": {
        "topic %s: its feed has failed": "internal-error topic",
    },
}
EVENTS: Mapping[str, Mapping[str, str]] = {**_AGENT, **_TASKS, **_SERVERS}
"""By module and text: the event, followed by the names of the values in the text."""

KINDS: Mapping[str, str] = {
    "agents that left": "agent-left",
    "connections that had to wait": "connection-waited",
    "displaced handshakes": "client-displaced",
    "ended sessions": "session-ended",
    "failed connections": "page-connection-failed",
    "failed deregisters": "deregister-failed",
    "failed handshakes": "client-handshake-failed",
    "failed looks at the tokens": "tokens-not-checked",
    "failed registers": "register-failed",
    "failed TLS handshakes": "client-tls-failed",
    "late handshakes": "client-late",
    "links that are not valid": "page-link-invalid",
    "lost agents": "agent-lost",
    "lost links": "server-link-lost",
    "lost sessions": "session-lost",
    "missing registers": "register-missing",
    "refused agents": "agent-refused",
    "refused registers": "register-refused",
    "refused requests": "page-request-refused",
    "refused tasks": "task-refused",
    "registered agents": "agent-registered",
    "registrations": "render-registered",
    "rejected handshakes": "client-rejected",
    "unknown messages": "unknown-message",
}
"""Events of lines whose number is limited (`transport.repeated_lines`), by their kind. Their field is
``source``: the render, or the address. What was left out is the event ``repeated``."""


def describe_record(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the event of a record, and its fields."""
    kind = getattr(record, "kind", "")
    if kind:
        event = KINDS.get(kind.rpartition(": ")[2], OTHER)
        fields: dict[str, object] = {"source": getattr(record, "source", "")}
        if left_out := getattr(record, "left_out", 0):
            return "repeated", {**fields, "of": event, "left_out": left_out}
        return event, fields
    module = record.name.removeprefix("trio_afrender.")
    words = EVENTS.get(module, {}).get(str(record.msg), OTHER).split()
    values = record.args if isinstance(record.args, tuple) else ()
    fields = {}
    for name, value in zip(words[1:], values, strict=False):
        if value is None or isinstance(value, bool | int | float):
            fields[name] = value
        elif isinstance(value, list | tuple | set | frozenset) and name == "pids":
            fields[name] = [item for item in value if isinstance(item, int)]
        else:
            fields[name] = str(value)
    return words[0], fields

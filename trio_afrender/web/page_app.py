"""What the page is answered: data, streams, images, outputs, changes. An ASGI application.

Each request is checked first: where it comes from (`request_checks`), who sends it (`sessions`),
and how many there are.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, aclosing
from functools import partial
from html import escape
from typing import Any, TypeAlias

import attrs
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trio_afrender.afserver.apply_changes import ChangeReport
from trio_afrender.afserver.node_selection import TaskSelection
from trio_afrender.afserver.remote_nodes import TaskNode, read_tasks
from trio_afrender.errors import ConfigError, JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.text import base_name, printable
from trio_afrender.transport.connection_seats import address_group
from trio_afrender.transport.repeated_lines import RepeatedLines
from trio_afrender.transport.socket_owner import OwnerCheck
from trio_afrender.version import __version__
from trio_afrender.web.action_log import ActionLog
from trio_afrender.web.event_stream import EventStream
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.node_reads import read_node_log, read_values
from trio_afrender.web.node_rows import LOAD_FIELDS
from trio_afrender.web.output_reader import OutputReader
from trio_afrender.web.page_steering import (
    BegunChange,
    PageChange,
    Steering,
    describe_actions,
    read_change,
)
from trio_afrender.web.request_checks import (
    ANSWER_HEADERS,
    collect_headers,
    find_refusal,
    is_forwarded,
)
from trio_afrender.web.sessions import (
    PageSession,
    RequestRates,
    SessionTable,
    TokenRefused,
    ViewerSeats,
)
from trio_afrender.web.settings import PageSettings
from trio_afrender.web.static_files import find_image_type, read_page_file
from trio_afrender.web.topic import encode_json_text
from trio_afrender.web.topic_registry import TooManyTopics, TopicRegistry, UnknownTopic
from trio_afrender.web.turns import Turns

__all__ = ("Page", "make_app")

_log = logging.getLogger(__name__)

_MAX_BODY = 1024 * 1024
_BODY_TIMEOUT = 10.0
"""Seconds in which the body of a request has to arrive."""
_MAX_TOPICS = 8
"""Of one viewer."""
_RATE, _BURST = 200.0, 4000.0
"""Requests a second of one address over time, and at once: a contact sheet has many images."""
_CHANGES_RATE, _CHANGES_BURST = 5.0, 50.0
"""The same for changes, of one session."""
_MAX_LOADS = 64
"""Hosts whose past is asked for at once."""
_LOAD_POINTS = 60
"""Points of each: ten minutes, what a list shows."""
_FILES_AT_ONCE = 16
_MAX_IMAGE = 4 * 1024 * 1024


@attrs.define(slots=True, eq=False, kw_only=True)
class Page:
    """Everything behind the answers."""

    settings: PageSettings
    watch: FarmWatch
    topics: TopicRegistry
    sessions: SessionTable
    log: ActionLog
    is_own: OwnerCheck
    names: Collection[str]
    """Names of this host in lower case."""
    cookie: str
    report_used: Callable[[PageSession], None]
    """Called when a link has been used."""
    seats: ViewerSeats
    rates: RequestRates = attrs.field(
        factory=lambda: RequestRates(_RATE, _BURST, trio.current_time)
    )
    changes: RequestRates = attrs.field(
        factory=lambda: RequestRates(_CHANGES_RATE, _CHANGES_BURST, trio.current_time)
    )
    lines: RepeatedLines = attrs.field(factory=lambda: RepeatedLines(_log, trio.current_time))
    """Of what others cause."""
    turns: Turns = attrs.field(factory=Turns)
    texts: OutputReader = attrs.field(init=False)
    reading: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_FILES_AT_ONCE)
    )
    """For files of the page and of tasks."""

    def __attrs_post_init__(self) -> None:
        self.texts = OutputReader(self.watch)

    @property
    def tls(self) -> bool:
        return self.settings.ssl_context is not None

    async def find_session(
        self, request: Request, headers: Mapping[str, str]
    ) -> PageSession | None:
        """The sender of a request: by its cookie, else the user of this program."""
        secret = request.cookies.get(self.cookie, "")
        if secret and (session := self.sessions.find(secret)) is not None:
            return session
        peer, local = request.scope.get("client"), request.scope.get("server")
        if not peer or not local or is_forwarded(headers):
            return None
        if not await self.is_own((peer[0], peer[1]), (local[0], local[1])):
            return None
        user = self.watch.farm.user_name or "the user"
        return PageSession(
            f"{user} on this machine", not self.settings.read_only, peer[0], local=True
        )


def _answer(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        encode_json_text(data).encode("utf-8", "replace"),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/json",
    )


def _refuse(status: int, text: str, **headers: str) -> Response:
    return _answer({"error": text}, status, headers)


# Before the routes


@attrs.frozen(slots=True)
class _Guard:
    """Checks requests before they are routed, and adds the headers of every answer."""

    app: ASGIApp
    page: Page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), v.encode()) for name, v in ANSWER_HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        refusal = await self._check(scope)
        await (refusal or self.app)(scope, receive, send_guarded)

    async def _check(self, scope: Scope) -> Response | None:
        """Put the session of a request into `scope`; return the refusal of one that may not be."""
        page = self.page
        headers, problem = collect_headers(scope["headers"])
        if scope["http_version"].startswith("2"):
            # No browser asks for it here. A proxy that passes the upgrade on would no longer see,
            # and so not mark, what its clients send.
            problem = "this page is served by HTTP/1.1 only"
        peer = (scope.get("client") or ("", 0))[0]
        group = address_group(peer)
        problem = problem or find_refusal(
            scope["method"], scope["path"], headers, tls=page.tls, names=page.names
        )
        if problem:
            page.lines.log(
                logging.WARNING,
                group,
                "the page: refused requests",
                "the page: refused a request from %s: %s",
                peer,
                problem,
            )
            # What follows on such a connection may not be what a proxy takes it for.
            headers = {} if scope["http_version"].startswith("2") else {"Connection": "close"}
            return _refuse(403, f"refused: {problem}", **headers)
        needed = scope["path"].startswith("/api/")
        wait = page.rates.wait_time(group)
        session = None
        if needed or wait:
            session = await page.find_session(Request(scope), headers)
        if wait and session is not None:
            # Another user of the same address may have used up what that has.
            wait = page.rates.wait_time(session.key)
        if wait:
            return _refuse(429, "too many requests", **{"Retry-After": str(math.ceil(wait))})
        if needed and session is None:
            return _refuse(
                401,
                "this page is for those who were given its link: open the last link that the"
                " terminal of its program has printed",
            )
        scope["page_session"] = session
        return None


def _session(request: Request) -> PageSession:
    session: PageSession = request.scope["page_session"]
    return session


Handler: TypeAlias = Callable[[Page, Request], Awaitable[Response]]


def _with_errors(page: Page, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Turn the errors of requests to the farm into answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(page, request)
        except ConfigError as error:
            return _refuse(400, str(error))
        except (UnknownTopic, JobGone) as error:
            return _refuse(404, str(error))
        except TooManyTopics as error:
            return _refuse(429, str(error), **{"Retry-After": "10"})
        except LinkRefused as error:
            return _refuse(409, f"the farm has refused it: {error.reason}")
        except (LinkLost, ProtocolError) as error:
            return _refuse(503, f"the farm cannot be reached: {error}", **{"Retry-After": "5"})
        except OSError as error:  # no thread, or no descriptor
            text = f"this host cannot do it now: {error.strerror or error}"
            return _refuse(503, text, **{"Retry-After": "5"})

    return answer


# Who


async def _show_session(page: Page, request: Request) -> Response:
    session = _session(request)
    return _answer(
        {
            "user": page.watch.farm.user_name,
            "name": session.name,
            "steer": session.steer,
            "server": page.watch.farm.url,
            "kind": "own" if page.settings.own_farm else "afserver",
            "version": __version__,
            "time": round(page.watch.clock(), 1),
            "load_fields": LOAD_FIELDS,
        }
    )


_LOGIN = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
    "<title>trio_afrender</title></head><body><p>{text}</p></body></html>"
)


async def _log_in(page: Page, request: Request) -> Response:
    """Use up the token of a link. Not by a redirect: the browser would leave the new cookie out of
    a request that begins on another site, such as a mail."""
    if request.method == "HEAD":  # previews of links ask so, and must not use the link up
        return _refuse(405, "a link is opened by GET", Allow="GET")
    address = request.client.host if request.client else ""
    token = request.query_params.get("token", "")
    try:
        secret, session = page.sessions.redeem(token, address)
    except TokenRefused as refused:
        page.lines.log(
            logging.WARNING,
            address_group(address),
            "the page: links that are not valid",
            "the page: %s has opened a link that is not valid",
            address,
        )
        body = _LOGIN.format(refresh="", text=escape(str(refused)))
        return Response(body, 403, {"Cache-Control": "no-store"}, "text/html; charset=utf-8")
    page.report_used(session)
    refresh = '<meta http-equiv="refresh" content="0; url=/">'
    body = _LOGIN.format(refresh=refresh, text='<a href="/">Open the page</a>')
    response = Response(body, 200, {"Cache-Control": "no-store"}, "text/html; charset=utf-8")
    response.set_cookie(
        page.cookie, secret, path="/", secure=page.tls, httponly=True, samesite="strict"
    )
    return response


# The page's own files


async def _serve_file(page: Page, request: Request) -> Response:
    # Every other address is one of the page, whose scripts read it.
    name = request.path_params.get("name", "index.html")
    file = await call_in_thread(partial(read_page_file, name), limiter=page.reading)
    if file is None:
        return _refuse(404, "there is no such file")
    headers = {"Cache-Control": "no-cache", "ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, 200, headers, file.kind)


# Streams


async def _stream_events(page: Page, request: Request) -> Response:
    names = list(dict.fromkeys(filter(None, request.query_params.get("topics", "").split(","))))
    if not 0 < len(names) <= _MAX_TOPICS:
        raise ConfigError(f"topics: expected 1 to {_MAX_TOPICS} names with commas between")
    session = _session(request)
    address = request.client.host if request.client else ""
    if full := page.seats.refuse(address, local=session.local):
        return _refuse(429, full, **{"Retry-After": "30"})
    with ExitStack() as stack:
        stack.enter_context(page.seats.take(address))
        stack.enter_context(page.sessions.use(session))
        try:
            topics = [stack.enter_context(page.topics.open(name)) for name in names]
        except UnknownTopic as error:
            raise ConfigError(str(error)) from None
        held = stack.pop_all()
    shown = [page.watch.server, *topics]
    return EventStream(shown, page.watch.changed, page.watch.clock, page.turns, held)


# Tasks


def _find_numbers(page: Page, request: Request) -> TaskNode:
    """The task of a request, as far as its job shows it. Raises `JobGone`, `ConfigError`."""
    try:
        job, block, task = map(int, request.path_params["task"].split("."))
    except ValueError:
        raise ConfigError('expected a task as "JOB.BLOCK.TASK"') from None
    node = page.watch.jobs.get(job)
    if node is None or not 0 <= block < len(node.blocks):
        raise JobGone(job)
    if not 0 <= task < node.blocks[block].tasks:
        raise UnknownTopic(f"block {job}.{block} has no task {task}")
    one = attrs.evolve(node, blocks=(node.blocks[block],))
    return attrs.evolve(read_tasks(one, [[{}]])[0], task=task)


async def _read_task_file(page: Page, task: TaskNode, path: str) -> bytes:
    async with page.reading:
        body = await page.watch.farm.read_file(path)
    return body if len(body) <= _MAX_IMAGE else b""


async def _send_thumbnail(page: Page, request: Request) -> Response:
    """The last image of a task. Without one the answer has no content, which is no error."""
    task = _find_numbers(page, request)
    for path in reversed(await page.watch.farm.task_files(task)):
        try:
            body = await _read_task_file(page, task, path)
        except LinkRefused:
            continue  # it was replaced, or its job deleted
        if kind := find_image_type(body):
            return Response(body, 200, {"Cache-Control": "private, max-age=300"}, kind)
    return Response(status_code=204, headers={"Cache-Control": "private, max-age=5"})


async def _send_file(page: Page, request: Request) -> Response:
    task = _find_numbers(page, request)
    wanted = request.path_params["name"]
    # A name only chooses among the files that the farm lists: it never becomes a path.
    paths = [each for each in await page.watch.farm.task_files(task) if base_name(each) == wanted]
    if not paths:
        return _refuse(404, f'the task has no file "{printable(wanted)}"')
    body = await _read_task_file(page, task, paths[-1])
    kind = find_image_type(body) or "text/plain; charset=utf-8"
    return Response(body, 200, {"Cache-Control": "private, max-age=60"}, kind)


async def _send_output(page: Page, request: Request) -> Response:
    task = _find_numbers(page, request)
    if (found := page.watch.find_watched(task.job, task.block, task.task)) is not None:
        task = found
    else:
        job = page.watch.jobs[task.job]
        selection = TaskSelection(job=job, block=job.blocks[task.block], tasks=(task.task,))
        selected = await page.watch.farm.selected_tasks([selection])
        if not selected:  # another job has the id since the last poll
            raise UnknownTopic(f"block {task.job}.{task.block} has no task {task.task}")
        task = selected[0]
    query = request.query_params
    numbers: dict[str, int | None] = {}
    for name in ("attempt", "before", "from", "limit"):
        text = query.get(name)
        if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise ConfigError(f"{name}: expected a number")
        numbers[name] = None if text is None else int(text)
    if (numbers["attempt"] or 0) > task.starts:
        raise UnknownTopic(f"the task was started {task.starts} times")
    piece = await page.texts.read(
        task,
        numbers["attempt"] or 0,
        before=numbers["before"],
        start=numbers["from"] or 0,
        limit=65_536 if numbers["limit"] is None else numbers["limit"],
    )
    return _answer(piece)


# Nodes


async def _show_values(page: Page, request: Request) -> Response:
    if not _session(request).steer:
        return _refuse_change()
    where = request.path_params
    return _answer({"values": await read_values(page.watch.farm, where["kind"], where["node"])})


async def _show_loads(page: Page, request: Request) -> Response:
    """The past of some hosts, for the plots of a list."""
    numbers = request.path_params["renders"].split(",")
    if len(numbers) > _MAX_LOADS or not all(
        each.isascii() and each.isdecimal() and len(each) < 10 for each in numbers
    ):
        raise ConfigError(f"renders: expected at most {_MAX_LOADS} numbers")
    points = {each: page.watch.history.points(int(each), _LOAD_POINTS) for each in numbers}
    return _answer({"points": points})


async def _show_log(page: Page, request: Request) -> Response:
    where = request.path_params
    return _answer({"lines": await read_node_log(page.watch.farm, where["kind"], where["node"])})


# Changes


async def _show_actions(page: Page, request: Request) -> Response:
    return _answer(describe_actions()) if _session(request).steer else _refuse_change()


def _refuse_change() -> Response:
    return _refuse(403, "this link is for looking only")


async def _read_body(request: Request) -> object:
    """The JSON of a request. Raises `ConfigError`."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ConfigError("expected a body of Content-Type application/json")
    body = bytearray()
    with trio.move_on_after(_BODY_TIMEOUT) as timeout:
        async with aclosing(request.stream()) as parts:
            async for part in parts:
                body += part
                if len(body) > _MAX_BODY:
                    raise HTTPException(413, f"at most {_MAX_BODY} bytes are taken")
    if timeout.cancelled_caught:
        raise ConfigError(f"the request did not arrive within {_BODY_TIMEOUT:g} s")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ConfigError("the body is not JSON") from None


def _steering_of(page: Page, session: PageSession) -> Steering:
    # The farm's own logs have the host name beside the user.
    return Steering(attrs.evolve(page.watch.farm, host_name=f"web {session.address}"))


async def _preview(page: Page, request: Request) -> Response:
    change = read_change(await _read_body(request))
    return _answer(await _steering_of(page, _session(request)).preview(change))


async def _act(page: Page, request: Request) -> Response:
    session = _session(request)
    change = read_change(await _read_body(request))
    begun: list[BegunChange] = []
    try:
        report, undo, steps = await _steering_of(page, session).act(change, begun.append)
    except (LinkLost, LinkRefused, ProtocolError, OSError, trio.Cancelled) as error:
        # The farm may have done it before it was lost, or before the connection of the browser was
        # closed, as one without a byte for long is: then this is the only way back.
        lost = f"the farm was lost, so whether this is done is not known: {error}"
        if isinstance(error, trio.Cancelled):
            lost = "the connection of the browser was closed before the farm had answered"
        for each in begun:
            page.log.add(
                now=page.watch.clock(),
                who=session.name,
                address=session.address,
                text=each.text,
                problems=[lost],
                undo=each.undo,
                steps=each.steps,
            )
            _log.info("the page: %s: %s", session.name, f"{each.text}: {lost}")
        raise
    return _log_action(page, session, report, undo, steps)


async def _undo(page: Page, request: Request) -> Response:
    session = _session(request)
    body = await _read_body(request)
    number = body.get("id") if isinstance(body, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise ConfigError("id: expected the id of an action in the log")
    steps = page.log.take_undo(number)
    if not steps:
        return _refuse(409, "this action cannot be undone, or was undone already")
    left = list(steps)
    report = ChangeReport()
    try:
        while left:
            await _steering_of(page, session).undo(left[0], report)
            del left[0]
    except (LinkLost, LinkRefused, ProtocolError) as error:
        if not report.done:
            raise
        report.problems.append(f"the rest is not undone, and can be undone still: {error}")
    finally:
        if left or not report.done:
            page.log.return_undo(number, left or steps)
    return _log_action(page, session, report, "", ())


def _log_action(
    page: Page, session: PageSession, report: ChangeReport, undo: str, steps: Sequence[PageChange]
) -> Response:
    text = "; ".join(report.sentences)
    if not report.done:
        problems: dict[str, Any] = {"problems": report.problems}
        first = report.problems[0] if report.problems else "nothing was done"
        return _answer({"error": first, **problems}, 409)
    number = page.log.add(
        now=page.watch.clock(),
        who=session.name,
        address=session.address,
        text=text,
        problems=report.problems,
        undo=undo,
        steps=steps,
    )
    _log.info("the page: %s: %s", session.name, text)
    return _answer(
        {
            "text": text,
            "problems": report.problems,
            "hints": list(dict.fromkeys(report.hints)),
            "log": number,
        }
    )


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return _refuse(error.status_code, error.detail)


async def _refuse_bug(request: Request, error: Exception) -> Response:
    _log.error("the page: %s has failed", request.url.path, exc_info=error)
    return _refuse(500, "internal error: the log of the program has the reason")


def make_app(page: Page) -> ASGIApp:
    """Return the application of a page."""

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, _with_errors(page, handler), methods=[method])

    def change(path: str, handler: Handler) -> Route:
        async def checked(page: Page, request: Request) -> Response:
            session = _session(request)
            if not session.steer:
                return _refuse_change()
            if wait := page.changes.wait_time(session.key):
                return _refuse(429, "too many changes", **{"Retry-After": str(math.ceil(wait))})
            return await handler(page, request)

        return route(path, checked, "POST")

    async def missing(page: Page, request: Request) -> Response:
        return _refuse(404, "there is nothing at this address")

    app = Starlette(
        routes=[
            route("/login", _log_in),
            route("/static/{name:path}", _serve_file),
            route("/api/session", _show_session),
            route("/api/events", _stream_events),
            route("/api/thumbnail/{task}", _send_thumbnail),
            route("/api/file/{task}/{name}", _send_file),
            route("/api/output/{task}", _send_output),
            route("/api/actions", _show_actions),
            route("/api/values/{kind}/{node}", _show_values),
            route("/api/loads/{renders}", _show_loads),
            route("/api/log/{kind}/{node}", _show_log),
            change("/api/preview", _preview),
            change("/api/act", _act),
            change("/api/undo", _undo),
            Route("/api/{rest:path}", _with_errors(page, missing)),
            route("/{path:path}", _serve_file),
        ],
        exception_handlers={HTTPException: _refuse_http, Exception: _refuse_bug},
    )
    return _Guard(app, page)

"""The gateway: accepts websockets, and connects each to the `RenderProxy` of its name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from trio_afrender.afserver import AfserverLink, Identity, LinkState
from trio_afrender.afserver.client import OpenStream
from trio_afrender.afserver.pacing import PollSchedule
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.errors import AfRenderError, LinkLost, ProtocolError
from trio_afrender.gateway.afserver_requests import AfserverExchanges
from trio_afrender.gateway.agent_session import AgentSession
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.gateway.identity_store import IdentityStore, MemoryIdentityStore
from trio_afrender.gateway.render_proxy import RenderProxy
from trio_afrender.gateway.settings import GatewayConfig
from trio_afrender.gateway.token_reload import TokenReload
from trio_afrender.protocol.afanasy.clamp import strip_json_breakers
from trio_afrender.protocol.messages import Refused, Register
from trio_afrender.text import MAX_NODE_NAME, is_node_name
from trio_afrender.transport.connection_seats import host_of
from trio_afrender.transport.repeated_lines import RepeatedLines
from trio_afrender.transport.tokens import may_use
from trio_afrender.transport.websocket_server import WebSocketServerLink, serve_websocket

__all__ = ("Gateway", "run_gateway")

_log = logging.getLogger(__name__)

_MAX_WAITING = 4
"""Websockets that registered under one name and wait for its render. An agent that reconnects has
one, or a few while the server hangs."""
_MAX_REGISTER, _MAX_RUNS = 2**20, 4096
"""Bytes of a register, and its runs: a gateway stores them while the agent is connected."""
_MAX_LOGGED = 2000
"""Sources of repeated log lines that are counted one by one."""
CHECK_INTERVAL = 5.0
"""Seconds between two looks at the tokens of sessions, and at the tokens file."""
FILE_TIMEOUT = 10.0
"""Seconds for a look at a file, which may be on a share that hangs."""
_EXPIRY_INTERVAL = 3600.0
"""Seconds between two looks at the age of stored ids."""
_STOP_TIMEOUT = 5.0
"""Seconds for requests in progress when the gateway ends."""


@attrs.define(eq=False)
class Gateway:
    """A running gateway, made by `run_gateway`."""

    config: GatewayConfig
    url: str
    counters: GatewayCounters
    _exchanges: AfserverExchanges
    _identities: IdentityStore
    _nursery: trio.Nursery
    _renders: dict[str, RenderProxy] = attrs.field(factory=dict)
    _stopping: trio.Event = attrs.field(factory=trio.Event)
    _lines: RepeatedLines = attrs.field(
        factory=lambda: RepeatedLines(_log, trio.current_time, keys=_MAX_LOGGED)
    )

    def stop(self) -> None:
        """End `run_gateway` when the requests in progress are finished.

        Renders stay online at the server for its zombie time, so that the next gateway can
        continue with them.
        """
        self._stopping.set()

    async def serve(self, ws: WebSocketServerLink) -> None:
        """Serve one websocket until it ends."""
        register = await self._receive_register(ws)
        if register is None:
            return
        session = AgentSession(ws, register.name, self.counters, self._lines, rate=self.config.rate)
        try:
            # With a limit: on a disk that hangs each attempt of an agent would leave one more here.
            with trio.fail_after(FILE_TIMEOUT):
                render = await self._claim_render(register.name)
        except (OSError, trio.TooSlowError) as error:
            late = f"no answer within {FILE_TIMEOUT:g} s"
            problem = (error.strerror or error) if isinstance(error, OSError) else late
            why = f"the stored id cannot be read now: {problem}"
            self._log_session(session, "failed registers", f"not registered: {why}")
            await ws.send_away(why)
            return
        try:
            if render.pending_sessions - (render.session is not None) > _MAX_WAITING:
                self.counters.refused += 1
                why = f"{_MAX_WAITING} other connections wait for this name"
                self._log_session(session, "refused agents", f"refused: {why}", logging.WARNING)
                await ws.send_away(why)
                return
            timeout = self.config.timing.connect
            try:
                if self._stopping.is_set():
                    raise LinkLost("this gateway is about to end")
                # The agent gives up after the same time and connects again. Without a limit here its
                # attempts would accumulate while the server hangs.
                with trio.move_on_after(timeout) as attaching:
                    answer = await render.attach(session, register)
                if attaching.cancelled_caught:
                    raise LinkLost(f"{self._exchanges.address.url}: no answer within {timeout:g} s")
            except AfRenderError as error:
                self._log_session(session, "failed registers", f"not registered: {error}")
                await ws.send_away(str(error))
                return
            await ws.send(answer)
            if isinstance(answer, Refused):
                self.counters.refused += 1
                text = f"refused: {answer.text or answer.reason}"
                self._log_session(session, "refused agents", text, logging.WARNING)
                return
            self._log_session(session, "registered agents", f"registered as {answer.id}")
            self.counters.sessions += 1
            self.counters.agents += 1
            try:
                await session.run(render)
            except LinkLost as error:
                self.counters.sessions_lost += 1
                self._lines.log(logging.INFO, session.name, "lost sessions", "%s", error)
            finally:
                self.counters.agents -= 1
        finally:
            render.pending_sessions -= 1
            session.over.set()
            render.detach(session)

    def _log_session(
        self, session: AgentSession, kind: str, text: str, level: int = logging.INFO
    ) -> None:
        self._lines.log(level, session.name, kind, "%s: %s", session, text)

    async def _receive_register(self, ws: WebSocketServerLink) -> Register | None:
        """Receive the register; None if it is refused or does not come in time."""
        first = None
        with trio.move_on_after(self.config.timing.connect):
            first = await ws.receive()
        if first is None:
            source, kind = host_of(ws.peer), "missing registers"
            self._lines.log(logging.INFO, source, kind, "%a: did not register", ws.peer)
            return None
        if not isinstance(first, Register):
            await ws.connection.close(1002, "expected a register")
            raise ProtocolError(f"{ws.peer!a}: {type(first).__name__} before a register")
        name, runs = first.name, len(first.running) + len(first.undelivered)
        if not ws.can_register(name):
            refused = Refused(reason="unauthorized", text="the token is not for this name")
        # The server puts names into its JSON without escaping them.
        elif not is_node_name(name) or strip_json_breakers(name) != name:
            text = (
                f"a name has 1 to {MAX_NODE_NAME} printable characters, no quotes and backslashes"
            )
            refused = Refused(reason="bad-name", text=text)
        elif runs > _MAX_RUNS or ws.connection.message_size > _MAX_REGISTER:
            text = f"a register has at most {_MAX_RUNS} runs and {_MAX_REGISTER} bytes"
            refused = Refused(reason="too-large", text=text)
        else:
            return first
        self.counters.refused += 1
        self._lines.log(
            logging.WARNING,
            host_of(ws.peer),
            "refused registers",
            "%a: refused %a: %s",
            ws.peer,
            name,
            refused.text,
        )
        await ws.send(refused)
        return None

    async def _claim_render(self, name: str) -> RenderProxy:
        """Return the render of a name. The caller lowers its `pending_sessions` in the end."""
        if name not in self._renders:
            text = await self._identities.read(name)
            identity = Identity.read(text, server=self._exchanges.address.url, name=name)
            timing = self.config.timing
            link_state = LinkState(
                identity=identity,
                save=partial(self._identities.keep, name),
                log=lambda level, text: self._lines.log(
                    level, name, "registrations", "render %a: %s", name, text
                ),
                pace=PollSchedule(heartbeat=timing.heartbeat, zombie=timing.zombie),
            )
            if name not in self._renders:  # another websocket may have added it meanwhile
                self._renders[name] = RenderProxy(
                    name,
                    link_state,
                    self.counters,
                    self._lines,
                    self._nursery,
                    lambda link_state, token: AfserverLink(
                        AfserverRequests(self._exchanges.dialer(token), link_state),
                        link_state,
                        timing,
                    ),
                    self._forget_idle,
                )
                self.counters.renders = len(self._renders)
        render = self._renders[name]
        render.pending_sessions += 1
        return render

    def _forget_idle(self) -> None:
        """Drop the renders that no agent has or is about to have."""
        for name in [name for name, render in self._renders.items() if render.idle]:
            del self._renders[name]
            self._identities.leave(name)
        self.counters.renders = len(self._renders)

    async def watch_tokens(self) -> None:
        """End the sessions of tokens that are removed or expire. Reads the tokens file again."""
        path, tokens = self.config.tokens_file, self.config.tokens
        reload = None if path is None else TokenReload(path, tokens, self.counters)
        while True:
            if reload is not None:
                await self._look_at_tokens(reload)
            valid = tokens.patterns_by_digest()
            for render in self._renders.values():
                session = render.session
                if session is None or session.ending:
                    continue
                if not may_use(valid.get(session.token, ()), session.name):
                    self.counters.sessions_revoked += 1
                    session.end("the token was removed or has expired")
            self._lines.flush()
            await trio.sleep(CHECK_INTERVAL)

    async def _look_at_tokens(self, reload: TokenReload) -> None:
        problem: object = None
        try:
            # With a limit: on a share that hangs no token would expire any more.
            with trio.move_on_after(FILE_TIMEOUT) as looking:
                await reload.check()
            if looking.cancelled_caught:
                problem = f"no answer within {FILE_TIMEOUT:g} s"
        except OSError as error:
            problem = error.strerror or error
        if problem is not None:
            text = "the tokens file cannot be looked at: %s"
            self._lines.log(logging.WARNING, "", "failed looks at the tokens", text, problem)

    async def expire_identities(self) -> None:
        """Remove the stored ids of renders that have not registered for long."""
        while True:
            try:
                self.counters.identities_expired += await self._identities.expire()
            except OSError as error:
                _log.warning("stored ids of renders cannot be removed: %s", error)
            await trio.sleep(_EXPIRY_INTERVAL)

    async def wait_for_end(self) -> None:
        """Wait until `stop` is called, then for the requests in progress, 5 seconds at most."""
        await self._stopping.wait()
        with trio.move_on_after(_STOP_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for render in self._renders.values():
                    nursery.start_soon(render.stop, "this gateway ends, another is to come")


async def run_gateway(
    config: GatewayConfig,
    *,
    identities: IdentityStore | None = None,
    open_stream: OpenStream | None = None,
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]] | None = None,
    task_status: trio.TaskStatus[Gateway] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a gateway until stopped or cancelled. Cancelling it has the effect of `kill -9`.

    Raises `ConfigError` if it cannot listen.
    """
    counters = GatewayCounters()
    exchanges = AfserverExchanges(
        config.server, counters, open_stream=open_stream, timeout=config.timing.connect
    )
    async with trio.open_nursery() as nursery:
        gateway = Gateway(
            config, "", counters, exchanges, identities or MemoryIdentityStore(), nursery
        )
        bound = await nursery.start(
            partial(
                serve_websocket,
                gateway.serve,
                tokens=config.tokens,
                host=config.listen.host,
                port=config.listen.port,
                ssl_context=config.ssl_context,
                names=config.names,
                max_agents=config.max_agents,
                max_agents_per_token=config.share_of_token,
                keepalive=config.timing.zombie,
                listeners=listeners,
                counts=counters,
            )
        )
        gateway.url = bound.url
        nursery.start_soon(gateway.watch_tokens)
        nursery.start_soon(gateway.expire_identities)
        task_status.started(gateway)
        await gateway.wait_for_end()
        nursery.cancel_scope.cancel()

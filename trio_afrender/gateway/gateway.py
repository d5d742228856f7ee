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
from trio_afrender.gateway.afserver_requests import GatewayDialer
from trio_afrender.gateway.agent_session import AgentSession
from trio_afrender.gateway.counters import GatewayCounters, format_counters
from trio_afrender.gateway.identity_store import IdentityStore, MemoryIdentityStore
from trio_afrender.gateway.metrics import serve_metrics
from trio_afrender.gateway.render_proxy import RenderProxy
from trio_afrender.gateway.settings import GatewayConfig
from trio_afrender.protocol.afanasy.clamp import strip_json_breakers
from trio_afrender.protocol.messages import Refused, Register
from trio_afrender.transport.websocket_server import WebSocketServerLink, serve_websocket

__all__ = ("Gateway", "run_gateway")

_log = logging.getLogger(__name__)

_MAX_NAME = 255
"""Characters of a render's name."""
_STOP_TIMEOUT = 5.0
"""Seconds for requests in progress when the gateway ends."""


@attrs.define(eq=False)
class Gateway:
    """A running gateway, made by `run_gateway`."""

    config: GatewayConfig
    url: str
    counters: GatewayCounters
    _dialer: GatewayDialer
    _identities: IdentityStore
    _nursery: trio.Nursery
    _renders: dict[str, RenderProxy] = attrs.field(factory=dict)
    metrics_port: int = 0
    """The port of the metrics; 0: they are not served."""
    _stopping: trio.Event = attrs.field(factory=trio.Event)

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
        session = AgentSession(ws, register.name, self.counters, rate=self.config.rate)
        render = await self._claim_render(register.name)
        try:
            await self._run_session(ws, session, render, register)
        finally:
            render.pending_sessions -= 1
            session.over.set()
            render.detach(session)

    async def _run_session(
        self,
        ws: WebSocketServerLink,
        session: AgentSession,
        render: RenderProxy,
        register: Register,
    ) -> None:
        timeout = self.config.timing.connect
        try:
            if self._stopping.is_set():
                raise LinkLost("this gateway is about to end")
            # The agent gives up after the same time and connects again. Without a limit here its
            # attempts would accumulate while the server hangs.
            with trio.move_on_after(timeout) as attaching:
                answer = await render.attach(session, register)
            if attaching.cancelled_caught:
                raise LinkLost(f"{self._dialer.address.url}: no answer within {timeout:g} s")
        except AfRenderError as error:
            _log.info("%s: not registered: %s", session, error)
            await ws.send_away(str(error))
            return
        await ws.send(answer)
        if isinstance(answer, Refused):
            self.counters.refused += 1
            _log.warning("%s: refused: %s", session, answer.text or answer.reason)
            return
        _log.info("%s: registered as %s", session, answer.id)
        self.counters.sessions += 1
        self.counters.agents += 1
        try:
            await session.run(render)
        except LinkLost:
            self.counters.sessions_lost += 1
            raise
        finally:
            self.counters.agents -= 1

    async def _receive_register(self, ws: WebSocketServerLink) -> Register | None:
        """Receive the register; None if it is refused or does not come in time."""
        first = None
        with trio.move_on_after(self.config.timing.connect):
            first = await ws.receive()
        if first is None:
            _log.info("%a: did not register", ws.peer)
            return None
        if not isinstance(first, Register):
            await ws.connection.close(1002, "expected a register")
            raise ProtocolError(f"{ws.peer!a}: {type(first).__name__} before a register")
        if not ws.can_register(first.name):
            refused = Refused(reason="unauthorized", text="the token is not for this name")
        # The server puts names into its JSON without escaping them.
        elif (
            not 0 < len(first.name) <= _MAX_NAME
            or not first.name.isprintable()
            or strip_json_breakers(first.name) != first.name
        ):
            text = "a name has 1 to 255 printable characters, no quotes and backslashes"
            refused = Refused(reason="bad-name", text=text)
        else:
            return first
        self.counters.refused += 1
        _log.warning("%a: refused %a: %s", ws.peer, first.name, refused.text)
        await ws.send(refused)
        return None

    async def _claim_render(self, name: str) -> RenderProxy:
        """Return the render of a name. The caller lowers its `pending_sessions` in the end."""
        if name not in self._renders:
            text = await self._identities.read(name)
            identity = Identity.read(text, server=self._dialer.address.url, name=name)
            timing = self.config.timing
            link_state = LinkState(
                identity=identity,
                save=partial(self._identities.keep, name),
                pace=PollSchedule(heartbeat=timing.heartbeat, zombie=timing.zombie),
            )
            if name not in self._renders:  # another websocket may have added it meanwhile
                self._renders[name] = RenderProxy(
                    name,
                    link_state,
                    self.counters,
                    self._nursery,
                    lambda link_state: AfserverLink(
                        AfserverRequests(self._dialer, link_state), link_state, timing
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
        self.counters.renders = len(self._renders)

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
    dialer = GatewayDialer(
        config.server, counters, open_stream=open_stream, timeout=config.timing.connect
    )
    async with trio.open_nursery() as nursery:
        gateway = Gateway(
            config, "", counters, dialer, identities or MemoryIdentityStore(), nursery
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
                keepalive=config.timing.zombie,
                listeners=listeners,
            )
        )
        gateway.url = bound.url
        if config.metrics is not None:
            read_metrics = partial(format_counters, counters)
            gateway.metrics_port = await nursery.start(serve_metrics, read_metrics, config.metrics)
        task_status.started(gateway)
        await gateway.wait_for_end()
        nursery.cancel_scope.cancel()

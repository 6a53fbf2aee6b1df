"""A stand-in for Wikimedia on loopback: an EventStreams server and the action API of its wikis.

The demo and the tests run against it. It keeps to what the real servers do where a reader can tell: framing, ids with
timestamps, topics of two datacentres, resumption by offset or by timestamp (with its trap: what shares the millisecond
of the last event is lost). What it serves comes from elsewhere: messages are appended by whoever plays a world, texts
come from a `Wikis`. Its faults are switches that may be thrown while it runs.

It lives in world time: `now_ms` is what its clock says, and whoever plays a world sets it.

Source: mediawiki/services/eventstreams and KafkaSSE.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from schemas.event import milliseconds
from streams.ledger import Ledger
from streams.stream_log import Message, StreamLog, Subscription
from streams.stream_requests import ALIASES, BadRequest, refused, subscribe
from streams.wiki_api import WikiApi, Wikis
from streams.wiki_events import DATACENTRES, SCHEMAS

# Messages written between two looks at the connection.
CHUNK = 64
STREAM_HEADERS = {"Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0", "X-Accel-Buffering": "no"}
CONTACT = re.compile(r"\(.*(https?://|@).*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The answer to one request for a stream."""

    status: int = 503
    retry_after: str = ""


@dataclass(slots=True, kw_only=True)
class Faults:
    """What the streams suffer; each may be set at any time.

    refusals: each answers one request. close_after, tear_after: events that a connection gets before it ends; a torn
    one ends within the next event, with a reset. max_connections: one more is answered 429. needs_contact: a User-Agent
    without one is answered 403.
    """

    refusals: deque[Refusal] = field(default_factory=deque)
    close_after: int | None = None
    tear_after: int | None = None
    max_connections: int | None = None
    needs_contact: bool = False


class SimulatedSource:
    """Serves until stopped. `url` is for SLUICE_SOURCE, `content` for SLUICE_CONTENT, `api` is the wikis' half.

    messages: the log, in the order in which it was appended. opened: connections so far. sent: events written so far.
    """

    def __init__(
        self,
        wikis: Wikis,
        *,
        streams: Iterable[str] = tuple(SCHEMAS),
        ledger: Ledger | None = None,
        kept: int | None = None,
    ) -> None:
        """streams: their names. kept: how many messages the log keeps at least; None = all."""
        self.now_ms = 0
        # How many times faster than ours the time of the world goes; 0 = as fast as it can.
        self.speed = 1.0
        self.ledger = ledger
        self.api = WikiApi(wikis, self._now, ledger)
        self.faults = Faults()
        self.streams = tuple(streams)
        self.log = StreamLog((f"{dc}.{stream}" for stream in self.streams for dc in DATACENTRES), kept)
        self.url = ""
        self.opened = 0
        self.refused = 0
        self.sent = 0
        self.stalled = False
        self._connections: set[_Connection] = set()
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    def _now(self) -> int:
        return self.now_ms

    @property
    def messages(self) -> list[Message]:
        """Those that the log keeps, oldest first."""
        return self.log.messages

    @property
    def topics(self) -> list[str]:
        return self.log.topics

    @property
    def content(self) -> str:
        return f"{self.url}/{{domain}}/w/api.php"

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/v2/stream/{streams}", self._stream)
        app.router.add_get("/", self._spec)
        app.router.add_route("*", "/{domain}/w/api.php", self.api.handle)
        app.router.add_get("/{domain}/w/rest.php/v1/revision/{rev_id}/html", self.api.html)
        app.router.add_get("/{domain}/api/rest_v1/page/html/{title}/{rev_id}", self.api.html)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound_port = self._runner.addresses[0][1]
        self.url = f"http://{host}:{bound_port}"

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def size(self, topic: str) -> int:
        """The offset that the next message of `topic` will have."""
        return self.log.size(topic)

    async def append(self, topic: str, event: Mapping[str, Any]) -> int:
        """Serve an event from now on; returns its offset.

        Its `meta` gets topic, partition, offset and, of a page, the key, as the real server adds them; its time in
        Kafka is `meta.dt`.
        """
        offset = self.log.size(topic)
        meta = dict(event["meta"]) | {"topic": topic, "partition": 0, "offset": offset}
        if "page" in event:
            meta["key"] = {"wiki_id": event["wiki_id"], "page_id": event["page"]["page_id"]}
        # A copy, as what orjson returns holds on to several times its size.
        data = bytes(memoryview(orjson.dumps({**event, "meta": meta})))
        self._append(Message(topic, offset, milliseconds(meta["dt"]), data), is_event=True)
        if self._connections:
            await self._wake()
        return offset

    async def append_bytes(self, topic: str, at_ms: int, data: bytes, *, offset: int | None = None) -> None:
        """Serve a message as it is. offset: what its own `meta` says; the next one of its topic by default."""
        if offset is None:
            offset = self.log.size(topic)
        self._append(Message(topic, offset, at_ms, data), is_event=False)
        if self._connections:
            await self._wake()

    def _append(self, message: Message, *, is_event: bool) -> None:
        self.log.append(message)
        self.now_ms = max(self.now_ms, message.at_ms)
        if self.ledger is not None:
            self.ledger.offered(self.now_ms, message.topic, message.offset, message.data, is_event=is_event)

    def cut(self, *, torn: bool = False) -> None:
        """End every stream that is being served: between two events, or `torn` within one, with a reset."""
        for connection in list(self._connections):
            connection.torn = connection.torn or torn
            connection.stop()

    async def stall(self, *, stalled: bool = True) -> None:
        """Serve nothing, end nothing; `stalled=False` goes on where it stopped."""
        self.stalled = stalled
        await self._wake()

    async def inject(self, raw: bytes) -> None:
        """Write `raw` to every connection that stands, between the events appended so far and those to come."""
        for connection in self._connections:
            connection.raw.append((self.log.end, raw))
        await self._wake()

    async def until_sent(self, events: int) -> None:
        """Returns when that many events were written, to all connections together."""
        async with self._news:
            await self._news.wait_for(lambda: self.sent >= events)

    async def until_connected(self, times: int) -> None:
        """Returns when that many connections were made."""
        async with self._news:
            await self._news.wait_for(lambda: self.opened >= times)

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until_behind(self, messages: int) -> None:
        """Returns when no connection is further behind than that."""
        if self._behind() > messages:
            async with self._news:
                await self._news.wait_for(lambda: self._behind() <= messages)

    def _behind(self) -> int:
        return max((self.log.end - connection.at for connection in self._connections), default=0)

    async def _spec(self, request: web.Request) -> web.Response:
        """What `/?spec` says of the streams there are."""
        if "spec" not in request.query:
            raise web.HTTPFound("/?doc")
        names = [*self.streams, *(alias for alias, stream in ALIASES.items() if stream in self.streams)]
        schema = {"type": "array", "items": {"type": "string", "enum": sorted(names)}}
        parameter = {"in": "path", "name": "streams", "required": True, "schema": schema}
        path = {"get": {"summary": "Stream events", "parameters": [parameter]}}
        spec = {"openapi": "3.0.0", "info": {"title": "EventStreams"}, "paths": {"/v2/stream/{streams}": path}}
        return web.json_response(spec)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            self._admit(request)
            subscription = subscribe(self.log, self.streams, request)
        except BadRequest as exc:
            self.refused += 1
            if self.ledger is not None:
                self.ledger.refused(self.now_ms, self.refused, exc.status)
            return refused(exc, request)
        is_json = request.headers.get("Accept", "") == "application/json"
        kind = "application/json" if is_json else "text/event-stream; charset=utf-8"
        response = web.StreamResponse(headers=STREAM_HEADERS | {"Content-Type": kind})
        connection = _Connection(self, subscription, response, is_json=is_json)
        self._connections.add(connection)
        self.opened += 1
        number = self.opened
        if self.ledger is not None:
            streams = request.match_info["streams"].split(",")
            self.ledger.opened(self.now_ms, number, streams, request.headers.get("Last-Event-ID"))
        try:
            response.enable_chunked_encoding()
            await response.prepare(request)
            if not is_json:
                await response.write(b":ok\n\n")
            await self._wake()
            await connection.run()
            if connection.torn:
                await _tear(request, response, connection.torn_frame())
        finally:
            connection.stop()
            self._connections.discard(connection)
            await self._wake()
            if self.ledger is not None:
                self.ledger.closed(self.now_ms, number, events=connection.sent, torn=connection.torn)
        return response

    def _admit(self, request: web.Request) -> None:
        """Raises `BadRequest` for what a fault or a limit keeps out."""
        faults = self.faults
        if faults.refusals:
            refusal = faults.refusals.popleft()
            raise BadRequest(refusal.status, "as the test told", "told", refusal.retry_after)
        if faults.needs_contact and not CONTACT.search(request.headers.get("User-Agent", "")):
            raise BadRequest(403, "Please set a user-agent with a contact", "forbidden")
        if faults.max_connections is not None and len(self._connections) >= faults.max_connections:
            raise BadRequest(429, "Too Many Concurrent Connections From Your Client IP", "too_many_requests")


class _Connection:
    """One connection being served."""

    def __init__(
        self, source: SimulatedSource, subscription: Subscription, response: web.StreamResponse, *, is_json: bool
    ) -> None:
        self._source = source
        self._subscription = subscription
        self._response = response
        self._task: asyncio.Task[None] | None = None
        self._frame = subscription.line if is_json else subscription.frame
        self.at = subscription.start
        self.sent = 0
        self._last = b""
        self._stopped = False
        self.raw: deque[tuple[int, bytes]] = deque()
        self.torn = False

    async def run(self) -> None:
        """Serves until it is stopped, or until a fault ends it."""
        if self._stopped:
            return
        self._task = asyncio.create_task(self._serve())
        # Not awaited itself: what stops it must not stop the handler.
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    def stop(self) -> None:
        """Also before it has begun to run."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def torn_frame(self) -> bytes:
        """The first two thirds of the next event; of the last one, if there is none."""
        frame = b""
        while not frame and self.at < self._source.log.end:
            frame = self._frame(self._next())
        frame = frame or self._last
        return frame[: len(frame) * 2 // 3]

    async def _serve(self) -> None:
        while not self._over():
            pieces = [] if self._source.stalled else self._pieces()
            if pieces:
                await self._response.write(b"".join(pieces))
                await self._source._wake()
            elif self._source.stalled or not self._more():
                async with self._source._news:
                    await self._source._news.wait_for(lambda: not self._source.stalled and self._more())

    def _next(self) -> Message:
        log = self._source.log
        # What the log has forgotten meanwhile is lost to a slow reader.
        self.at = max(self.at, log.base)
        message = log.messages[self.at - log.base]
        self.at += 1
        return message

    def _more(self) -> bool:
        return self.at < self._source.log.end or bool(self.raw)

    def _over(self) -> bool:
        faults = self._source.faults
        if faults.tear_after is not None and self.sent >= faults.tear_after:
            self.torn = True
        return self.torn or (faults.close_after is not None and self.sent >= faults.close_after)

    def _pieces(self) -> list[bytes]:
        """What is to be written next, at most `CHUNK` events, and none beyond the end of the connection."""
        pieces: list[bytes] = []
        while len(pieces) < CHUNK and not self._over():
            if self.raw and self.raw[0][0] <= self.at:
                pieces.append(self.raw.popleft()[1])
            elif self.at < self._source.log.end:
                frame = self._frame(self._next())
                if frame:
                    self._last = frame
                    self.sent += 1
                    self._source.sent += 1
                    pieces.append(frame)
            else:
                break
        return pieces


async def _tear(request: web.Request, response: web.StreamResponse, frame: bytes) -> None:
    """Write what there is of an event, and reset the connection."""
    await response.write(frame)
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

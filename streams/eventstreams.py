"""A stand-in for Wikimedia on loopback: an EventStreams server and the action API of its wikis.

The demo and the tests run against it. It keeps to what the real servers do where a reader can tell: framing, ids with
timestamps, topics of two datacentres, resumption by offset or by timestamp (with its trap: what shares the millisecond
of the last event is lost). What it serves comes from elsewhere: messages are appended by whoever plays a world, texts
come from a `Wikis`. Its faults are switches that may be thrown while it runs.

Source: mediawiki/services/eventstreams and KafkaSSE.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from schemas.event import READABLE, milliseconds
from streams.wiki_api import WikiApi, Wikis

DATACENTRES = ("eqiad", "codfw")
LATEST = -1
# Messages written between two looks at the connection.
CHUNK = 64
CONTACT = re.compile(r"\(.*(https?://|@).*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message in the order of the world. data: what stands behind `data: `, one line."""

    topic: str
    offset: int
    at_ms: int
    data: bytes


class BadRequest(ValueError):
    """Something the server refuses, with the status that it answers."""

    def __init__(self, status: int, detail: str, kind: str = "bad_request", retry_after: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


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

    def __init__(self, wikis: Wikis) -> None:
        self.api = WikiApi(wikis)
        self.faults = Faults()
        self.messages: list[Message] = []
        self.topics = [f"{dc}.{stream}" for stream in READABLE for dc in DATACENTRES]
        self.url = ""
        self.opened = 0
        self.sent = 0
        self.stalled = False
        self._sizes = dict.fromkeys(self.topics, 0)
        self._connections: set[_Connection] = set()
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

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
        app.router.add_route("*", "/{domain}/w/api.php", self.api.handle)
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
        return self._sizes[topic]

    async def append(self, topic: str, event: Mapping[str, Any]) -> int:
        """Serve an event from now on; returns its offset.

        Its `meta` gets topic, partition, offset and, of a page, the key, as the real server adds them; its time in
        Kafka is `meta.dt`.
        """
        offset = self._sizes[topic]
        meta = dict(event["meta"]) | {"topic": topic, "partition": 0, "offset": offset}
        if "page" in event:
            meta["key"] = {"wiki_id": event["wiki_id"], "page_id": event["page"]["page_id"]}
        await self.append_bytes(topic, milliseconds(meta["dt"]), orjson.dumps({**event, "meta": meta}))
        return offset

    async def append_bytes(self, topic: str, at_ms: int, data: bytes, *, offset: int | None = None) -> None:
        """Serve a message as it is. offset: what its own `meta` says; the next one of its topic by default."""
        if offset is None:
            offset = self._sizes[topic]
        self.messages.append(Message(topic=topic, offset=offset, at_ms=at_ms, data=data))
        self._sizes[topic] = offset + 1
        await self._wake()

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
            connection.raw.append((len(self.messages), raw))
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

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            self._admit(request)
            subscription = _subscribe(self, request)
        except BadRequest as exc:
            return _refused(exc, request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        connection = _Connection(self, subscription, response)
        self._connections.add(connection)
        self.opened += 1
        try:
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b":ok\n\n")
            await self._wake()
            await connection.run()
            if connection.torn:
                await _tear(request, response, connection.torn_frame())
        finally:
            connection.stop()
            self._connections.discard(connection)
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

    def __init__(self, source: SimulatedSource, subscription: Subscription, response: web.StreamResponse) -> None:
        self._source = source
        self._subscription = subscription
        self._response = response
        self._task: asyncio.Task[None] | None = None
        self._at = 0
        self._sent = 0
        self._last = b""
        self.raw: deque[tuple[int, bytes]] = deque()
        self.torn = False

    async def run(self) -> None:
        """Serves until it is stopped, or until a fault ends it."""
        self._task = asyncio.create_task(self._serve())
        # Not awaited itself: what stops it must not stop the handler.
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def torn_frame(self) -> bytes:
        """The first two thirds of the next event; of the last one, if there is none."""
        frame = b""
        while not frame and self._at < len(self._source.messages):
            frame = self._subscription.frame(self._source.messages[self._at])
            self._at += 1
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

    def _more(self) -> bool:
        return self._at < len(self._source.messages) or bool(self.raw)

    def _over(self) -> bool:
        faults = self._source.faults
        if faults.tear_after is not None and self._sent >= faults.tear_after:
            self.torn = True
        return self.torn or (faults.close_after is not None and self._sent >= faults.close_after)

    def _pieces(self) -> list[bytes]:
        """What is to be written next, at most `CHUNK` events, and none beyond the end of the connection."""
        pieces: list[bytes] = []
        while len(pieces) < CHUNK and not self._over():
            if self.raw and self.raw[0][0] <= self._at:
                pieces.append(self.raw.popleft()[1])
            elif self._at < len(self._source.messages):
                frame = self._subscription.frame(self._source.messages[self._at])
                self._at += 1
                if frame:
                    self._last = frame
                    self._sent += 1
                    self._source.sent += 1
                    pieces.append(frame)
            else:
                break
        return pieces


class Subscription:
    """One connection: which topics from where, and the id of each event."""

    def __init__(self, source: SimulatedSource, topics: list[str], assignments: list[dict[str, Any]]) -> None:
        self._from: dict[str, int] = {}
        self._state: dict[str, dict[str, Any]] = {
            topic: {"topic": topic, "partition": 0, "offset": LATEST} for topic in topics
        }
        by_time = any(_only_time(assignment) for assignment in assignments)
        for assignment in assignments:
            topic = assignment["topic"]
            if assignment.get("offset") is not None:
                # Beside one that has a time alone, those that have both are dropped.
                if by_time and assignment.get("timestamp") is not None:
                    continue
                offset = assignment["offset"]
                # An offset that is not there any more, or not yet, is answered with what comes next.
                known = 0 <= offset <= source.size(topic)
                self._from[topic] = offset if known else source.size(topic)
                self._state[topic] = {"topic": topic, "partition": 0, "offset": offset}
            else:
                at_ms = assignment["timestamp"]
                later = (m.offset for m in source.messages if m.topic == topic and m.at_ms >= at_ms)
                self._from[topic] = next(later, source.size(topic))
                self._state[topic] = {"topic": topic, "partition": 0, "timestamp": at_ms}

    def frame(self, message: Message) -> bytes:
        """The event as it is written, or nothing where it is not asked for."""
        start = self._from.get(message.topic)
        if start is None or message.offset < start:
            return b""
        self._state[message.topic] = {"topic": message.topic, "partition": 0, "timestamp": message.at_ms + 1}
        event_id = orjson.dumps(list(self._state.values()))
        return b"event: message\nid: " + event_id + b"\ndata: " + message.data + b"\n\n"


def _subscribe(source: SimulatedSource, request: web.Request) -> Subscription:
    """What a request asks for. Raises `BadRequest`."""
    streams = request.match_info["streams"].split(",")
    unknown = [stream for stream in streams if stream not in READABLE]
    if unknown:
        raise BadRequest(400, f"Invalid streams: {','.join(unknown)}", "not_found")
    topics = [f"{dc}.{stream}" for stream in streams for dc in DATACENTRES]
    last_id = request.headers.get("Last-Event-ID")
    if last_id is not None:
        return Subscription(source, topics, _assignments(last_id, topics))
    if "since" in request.query:
        since = _since_ms(request.query["since"])
        return Subscription(source, topics, [{"topic": topic, "timestamp": since} for topic in topics])
    return Subscription(source, topics, [{"topic": topic, "offset": LATEST} for topic in topics])


def _assignments(last_id: str, topics: list[str]) -> list[dict[str, Any]]:
    """The list in `Last-Event-ID`: it replaces the URL's; each entry takes a timestamp or an offset."""
    try:
        entries = orjson.loads(last_id)
        asked = [(entry["topic"], int(entry.get("offset", entry.get("timestamp")))) for entry in entries]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as exc:
        raise BadRequest(400, f"Invalid Last-Event-ID: {exc}") from exc
    unknown = [topic for topic, _ in asked if topic not in topics]
    if unknown:
        raise BadRequest(404, f"topic {unknown[0]} is not available", "not_found")
    return list(entries)


def _only_time(assignment: Mapping[str, Any]) -> bool:
    return assignment.get("timestamp") is not None and assignment.get("offset") is None


def _since_ms(text: str) -> int:
    try:
        return int(text) if text.isdigit() else milliseconds(text)
    except ValueError as exc:
        raise BadRequest(400, f"Invalid since: {text}") from exc


def _refused(exc: BadRequest, request: web.Request) -> web.Response:
    body = {
        "status": exc.status,
        "type": exc.kind,
        "title": "Error",
        "detail": str(exc),
        "method": request.method.lower(),
        "uri": str(request.rel_url),
    }
    headers = {"Retry-After": exc.retry_after} if exc.retry_after else {}
    return web.json_response(body, status=exc.status, headers=headers)


async def _tear(request: web.Request, response: web.StreamResponse, frame: bytes) -> None:
    """Write what there is of an event, and reset the connection."""
    await response.write(frame)
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

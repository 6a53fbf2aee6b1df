"""A stand-in for Wikimedia on loopback: an EventStreams server and the action API of its wikis.

The demo and the tests run against it. It keeps to what the real servers do where a reader can tell: framing, ids with
timestamps, topics of two datacentres, resumption by offset or by timestamp, batches, `badrevids` and hidden flags.
What it serves comes from elsewhere: messages are appended by whoever plays a world, texts come from a `Wikis`.

Source: mediawiki/services/eventstreams and KafkaSSE; MediaWiki 1.43, action=query&prop=revisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from aiohttp import web

from schemas.event import READABLE, milliseconds

DATACENTRES = ("eqiad", "codfw")
MAX_REVIDS = 50
LATEST = -1
# Messages written between two looks at the connection.
CHUNK = 64


class Wikis(Protocol):
    """Where the API's answers come from."""

    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        """`{"pageid", "ns", "title", "revision": {...as the API writes it}}`, or None for `badrevids`."""

    def siteinfo(self, domain: str) -> Mapping[str, Any]:
        """The `query` object of `meta=siteinfo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message in the order of the world. data: what stands behind `data: `, one line."""

    topic: str
    offset: int
    at_ms: int
    data: bytes


class BadRequest(ValueError):
    """Something the server refuses, with the status that it answers."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class SimulatedSource:
    """Serves until stopped. `url` is for SLUICE_SOURCE, `content` for SLUICE_CONTENT.

    requests and revisions_asked count what the API was asked.
    """

    def __init__(self, wikis: Wikis) -> None:
        self._wikis = wikis
        self.messages: list[Message] = []
        self.topics = [f"{dc}.{stream}" for stream in READABLE for dc in DATACENTRES]
        self._sizes = dict.fromkeys(self.topics, 0)
        self._news = asyncio.Condition()
        self._connections: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.requests = 0
        self.revisions_asked = 0

    @property
    def content(self) -> str:
        return f"{self.url}/{{domain}}/w/api.php"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/v2/stream/{streams}", self._stream)
        app.router.add_route("*", "/{domain}/w/api.php", self._api)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound_port = self._runner.addresses[0][1]
        self.url = f"http://{host}:{bound_port}"

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def cut(self) -> None:
        """End every stream that is being served, in the middle of whatever it does."""
        for task in list(self._connections):
            task.cancel()

    def size(self, topic: str) -> int:
        """The offset that the next message of `topic` will have."""
        return self._sizes[topic]

    async def append(self, topic: str, event: Mapping[str, Any]) -> None:
        """Serve an event; its `meta` gets topic, partition and offset, as the real server adds them."""
        meta = dict(event["meta"]) | {"topic": topic, "partition": 0, "offset": self._sizes[topic]}
        await self.append_bytes(topic, milliseconds(meta["dt"]), orjson.dumps({**event, "meta": meta}))

    async def append_bytes(self, topic: str, at_ms: int, data: bytes, *, offset: int | None = None) -> None:
        """Serve a message as it is. offset: what its own `meta` says; the next one of its topic by default."""
        if offset is None:
            offset = self._sizes[topic]
        self.messages.append(Message(topic=topic, offset=offset, at_ms=at_ms, data=data))
        self._sizes[topic] = offset + 1
        async with self._news:
            self._news.notify_all()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            subscription = self._subscription(request)
        except BadRequest as exc:
            body = {"status": exc.status, "type": "error", "title": "Error", "detail": str(exc), "method": "get"}
            return web.json_response(body, status=exc.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b":ok\n\n")
        serving = asyncio.create_task(self._serve(response, subscription))
        self._connections.add(serving)
        try:
            await asyncio.wait({serving})
        finally:
            serving.cancel()
            self._connections.discard(serving)
        return response

    def _subscription(self, request: web.Request) -> Subscription:
        streams = request.match_info["streams"].split(",")
        unknown = [stream for stream in streams if stream not in READABLE]
        if unknown:
            raise BadRequest(400, f"Invalid streams: {','.join(unknown)}")
        topics = [f"{dc}.{stream}" for stream in streams for dc in DATACENTRES]
        last_id = request.headers.get("Last-Event-ID")
        if last_id is not None:
            return Subscription(self, topics, _assignments(last_id, topics))
        if "since" in request.query:
            since = _since_ms(request.query["since"])
            return Subscription(self, topics, [{"topic": topic, "timestamp": since} for topic in topics])
        return Subscription(self, topics, [{"topic": topic, "offset": LATEST} for topic in topics])

    async def _serve(self, response: web.StreamResponse, subscription: Subscription) -> None:
        at = 0
        while True:
            frames: list[bytes] = []
            while at < len(self.messages) and len(frames) < CHUNK:
                frame = subscription.frame(self.messages[at])
                at += 1
                if frame:
                    frames.append(frame)
            if frames:
                await response.write(b"".join(frames))
                continue
            async with self._news:
                await self._news.wait_for(lambda: at < len(self.messages))  # noqa: B023 - awaited here

    async def _api(self, request: web.Request) -> web.Response:
        self.requests += 1
        given: dict[str, Any] = dict(request.query)
        if request.method == "POST":
            given |= {key: str(value) for key, value in (await request.post()).items()}
        try:
            body = self._answer(request.match_info["domain"], given)
        except BadRequest as exc:
            code, _, info = str(exc).partition(": ")
            return web.json_response({"error": {"code": code, "info": info}}, headers={"MediaWiki-API-Error": code})
        return web.json_response(body, dumps=lambda doc: orjson.dumps(doc).decode())

    def _answer(self, domain: str, given: Mapping[str, str]) -> dict[str, Any]:
        if given.get("action") != "query":
            action = given.get("action", "")
            raise BadRequest(200, f'badvalue: Unrecognized value for parameter "action": {action}.')
        if given.get("meta") == "siteinfo":
            return {"batchcomplete": True, "query": dict(self._wikis.siteinfo(domain))}
        try:
            rev_ids = [int(part) for part in given.get("revids", "").split("|") if part]
        except ValueError as exc:
            raise BadRequest(200, f'badinteger: Invalid value for integer parameter "revids": {exc}') from exc
        if len(rev_ids) > MAX_REVIDS:
            raise BadRequest(200, 'toomanyvalues: Too many values supplied for parameter "revids". The limit is 50.')
        self.revisions_asked += len(rev_ids)
        return {"batchcomplete": True, "query": self._revisions(domain, sorted(set(rev_ids)))}

    def _revisions(self, domain: str, rev_ids: Iterable[int]) -> dict[str, Any]:
        bad: dict[str, Any] = {}
        pages: dict[int, dict[str, Any]] = {}
        for rev_id in rev_ids:
            found = self._wikis.revision(domain, rev_id)
            if found is None:
                bad[str(rev_id)] = {"revid": rev_id, "missing": True}
                continue
            page = pages.setdefault(
                found["pageid"],
                {"pageid": found["pageid"], "ns": found["ns"], "title": found["title"], "revisions": []},
            )
            page["revisions"].append(found["revision"])
        return ({"badrevids": bad} if bad else {}) | ({"pages": list(pages.values())} if pages else {})


class Subscription:
    """One connection: which topics from where, and the id of each event."""

    def __init__(self, source: SimulatedSource, topics: list[str], assignments: list[dict[str, Any]]) -> None:
        self._from: dict[str, int] = {}
        self._state: dict[str, dict[str, Any]] = {
            topic: {"topic": topic, "partition": 0, "offset": LATEST} for topic in topics
        }
        # A timestamp anywhere makes the server look up every topic by time; those with an offset alone keep it.
        for assignment in assignments:
            topic = assignment["topic"]
            if assignment.get("offset") is not None:
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


def _assignments(last_id: str, topics: list[str]) -> list[dict[str, Any]]:
    """The list in `Last-Event-ID`: it replaces the URL's; each entry takes a timestamp or an offset."""
    try:
        entries = orjson.loads(last_id)
        asked = [(entry["topic"], int(entry.get("offset", entry.get("timestamp")))) for entry in entries]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as exc:
        raise BadRequest(400, f"Invalid Last-Event-ID: {exc}") from exc
    unknown = [topic for topic, _ in asked if topic not in topics]
    if unknown:
        raise BadRequest(404, f"topic {unknown[0]} is not available")
    return list(entries)


def _since_ms(text: str) -> int:
    try:
        return int(text) if text.isdigit() else milliseconds(text)
    except ValueError as exc:
        raise BadRequest(400, f"Invalid since: {text}") from exc

"""A server of events for byte-level faults: what an EventStreams server serves, and how each connection ends, is told.

It keeps topics with offsets as the real one does, resumes by `Last-Event-ID` (offset or timestamp per topic, topics
that are not named there are not served) or `since`, and writes raw chunks, so that a response can end anywhere.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from schemas.event import PAGE_CHANGE, READABLE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, milliseconds, rfc3339

OPENING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How one connection ends.

    status and headers: answered instead of a stream. after: events served whole before `how` happens: "eof" (the
    response ends), "rst" (the connection is reset), "torn" (the response ends within the next event), "torn-rst",
    "stall" (silence, nothing ends), "drip" (a byte now and then, never a whole event), "mute" (no answer at all),
    "error" (an `error` event, then the end), "html" (a page in the place of a stream), "endless" (a line without end).
    bytes: of the torn event that
    are sent. after_bytes: of all events together that are sent before it ends as "torn" or "torn-rst" says.
    """

    after: int = 0
    how: str = "eof"
    bytes: int | None = None
    after_bytes: int | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One message of a topic. data: what is written behind `data: `."""

    topic: str
    offset: int
    at_ms: int
    data: bytes


class SseServer:
    """faults: one per connection, in order; after the last one connections stay open and serve what is added.

    requests: the headers of each request, in lower case, its target under "target" and its monotonic time under "at".
    offset_base: added to the
    offsets of all topics from now on, as another datacentre's Kafka would have them. jump: topic → index at which the
    next request by offset goes on, whatever it asks for. offered: the streams it has, all if empty; a request for
    another is answered 400. sent_bytes: bytes that the connections took.
    """

    def __init__(self, topics: Iterable[str] = ()) -> None:
        self.messages: list[Served] = []
        self.faults: list[Fault] = []
        self.requests: list[dict[str, str]] = []
        self.topics = list(topics) or [f"{dc}.{stream}" for stream in READABLE for dc in ("eqiad", "codfw")]
        self.offset_base = 0
        self.jump: dict[str, int] = {}
        self.offered: list[str] = []
        self.sent_bytes = 0
        self.url = ""
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def add(self, *docs: dict[str, Any] | bytes, topic: str = "") -> None:
        """Append messages: events as dicts (their meta says where), or raw bytes to `topic`."""
        for doc in docs:
            self._append(doc, topic)
        async with self._news:
            self._news.notify_all()

    def _append(self, doc: dict[str, Any] | bytes, topic: str) -> None:
        if isinstance(doc, bytes):
            self.messages.append(Served(topic=topic, offset=self._next(topic), at_ms=self._last_ms(topic), data=doc))
            return
        meta = doc["meta"]
        offset = self._next(meta["topic"])
        data = orjson.dumps(doc | {"meta": meta | {"partition": 0, "offset": offset}})
        self.messages.append(Served(topic=meta["topic"], offset=offset, at_ms=milliseconds(meta["dt"]), data=data))

    def _next(self, topic: str) -> int:
        return next((message.offset + 1 for message in reversed(self.messages) if message.topic == topic), 0)

    def _last_ms(self, topic: str) -> int:
        return max((m.at_ms for m in self.messages if m.topic == topic), default=0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await _request(reader)
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else None
            asked = request["target"].split("?")[0].rpartition("/")[2].split(",")
            invalid = [stream for stream in asked if self.offered and stream not in self.offered]
            if fault is not None and fault.how == "mute":
                await asyncio.Event().wait()
            if invalid:
                detail = f"Invalid streams: {','.join(invalid)}"
                body = orjson.dumps({"status": 400, "detail": detail, "uri": request["target"]})
                writer.write(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
                )
                await writer.drain()
            elif fault is not None and fault.how == "html":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")
                await writer.drain()
            elif fault is not None and fault.status != 200:
                lines = [f"HTTP/1.1 {fault.status} Told So", "Content-Length: 0", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in fault.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode())
                await writer.drain()
            else:
                await self._stream(request, fault, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went, or `cut` did this
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _stream(self, request: dict[str, str], fault: Fault | None, writer: asyncio.StreamWriter) -> None:
        writer.write(OPENING + _chunk(b":ok\n\n"))
        start = _starts(request, self.topics)
        start |= {topic: ("offset", at) for topic, at in self.jump.items() if start[topic][0] == "offset"}
        at, served, sent = 0, 0, 0
        cut = fault.after_bytes if fault is not None else None
        while True:
            if fault is not None and cut is None and served == fault.after and not fault.how.startswith("torn"):
                return await self._end(fault, writer)
            async with self._news:
                while at >= len(self.messages):
                    await self._news.wait()
            message = self.messages[at]
            at += 1
            if not self._wanted(message, start):
                continue
            frame = self._frame(message)
            if fault is not None and cut is not None and sent + len(frame) >= cut:
                writer.write(_chunk(frame[: cut - sent]) if cut > sent else b"")
                await writer.drain()
                return await self._end(fault, writer)
            if fault is not None and cut is None and served == fault.after:
                writer.write(_chunk(frame[: fault.bytes or len(frame) * 2 // 3]))
                await writer.drain()
                return await self._end(fault, writer)
            writer.write(_chunk(frame))
            await writer.drain()
            self.sent_bytes += len(frame)
            sent += len(frame)
            served += 1

    def _wanted(self, message: Served, start: dict[str, tuple[str, int]]) -> bool:
        how, since = start.get(message.topic, ("none", 0))
        at = message.offset + self.offset_base if how == "offset" else message.at_ms
        return how != "none" and at >= since

    def _frame(self, message: Served) -> bytes:
        data = message.data
        if self.offset_base:
            doc = orjson.loads(data)
            doc["meta"]["offset"] += self.offset_base
            data = orjson.dumps(doc)
        # As the real one: timestamps, and "latest" for what has not spoken.
        entries = [
            {"topic": topic, "partition": 0}
            | ({"timestamp": message.at_ms + 1} if topic == message.topic else {"offset": -1})
            for topic in self.topics
        ]
        return b"event: message\nid: " + orjson.dumps(entries) + b"\ndata: " + data + b"\n\n"

    async def _end(self, fault: Fault, writer: asyncio.StreamWriter) -> None:
        if fault.how == "stall":
            await asyncio.Event().wait()
        while fault.how == "drip":
            writer.write(_chunk(b"x"))
            await writer.drain()
            await asyncio.sleep(0.02)
        while fault.how == "endless":
            writer.write(_chunk(b"data: " + b"x" * 1_000_000))
            await writer.drain()
        if fault.how == "error":
            writer.write(_chunk(b'event: error\ndata: {"message":"told so"}\n\n'))
        if fault.how in {"rst", "torn-rst"}:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def cut(self) -> None:
        """End all connections that stand."""
        for task in self._tasks:
            task.cancel()

    async def until_stuck(self) -> None:
        """Until nothing was taken for half a second."""
        before = -1
        while before != self.sent_bytes or not before:
            before = self.sent_bytes
            await asyncio.sleep(0.5)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SseServer]:
        """Serve on a free port of loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            server.close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()


async def _request(reader: asyncio.StreamReader) -> dict[str, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return headers | {"target": head[0].split(" ")[1], "at": str(time.monotonic())}


def _starts(request: dict[str, str], topics: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Topic → from which offset or timestamp on it is served."""
    if "last-event-id" in request:
        found = {}
        for entry in orjson.loads(request["last-event-id"]):
            how = "offset" if "offset" in entry else "timestamp"
            assert ("offset" in entry) != ("timestamp" in entry), entry
            assert entry[how] >= 0, entry
            assert entry["topic"].partition(".")[2] in request["target"], entry
            assert entry["topic"] in topics, entry
            found[entry["topic"]] = (how, entry[how])
        return found
    since = parse_qs(urlsplit(request["target"]).query).get("since")
    start = milliseconds(since[0]) if since else 2**62
    return dict.fromkeys(topics, ("timestamp", start))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _meta(n: int, stream: str, at_ms: int, datacentre: str, domain: str = "en.wikipedia.org") -> dict[str, Any]:
    return {
        "id": f"{stream}-{datacentre}-{n}",
        "stream": stream,
        "domain": domain,
        "dt": rfc3339(at_ms),
        "topic": f"{datacentre}.{stream}",
    }


def page_change(
    n: int, at_ms: int, *, page: int = 1, wiki: str = "enwiki", datacentre: str = "eqiad"
) -> dict[str, Any]:
    """An edit; n makes its id and its revision."""
    return {
        "$schema": "/mediawiki/page/change/1.2.0",
        "meta": _meta(n, PAGE_CHANGE, at_ms, datacentre),
        "page_change_kind": "edit",
        "dt": rfc3339(at_ms),
        "wiki_id": wiki,
        "page": {"page_id": page, "page_title": f"Page_{page}", "namespace_id": 0},
        "revision": {"rev_id": n, "rev_dt": rfc3339(at_ms), "comment": "Größe, 大小"},
    }


def tags_change(
    n: int, at_ms: int, *, page: int = 1, wiki: str = "enwiki", datacentre: str = "eqiad"
) -> dict[str, Any]:
    return {
        "$schema": "/mediawiki/revision/tags-change/1.0.0",
        "meta": _meta(n, TAGS_CHANGE, at_ms, datacentre),
        "database": wiki,
        "page_id": page,
        "rev_id": n,
        "tags": ["mw-reverted"],
        "prior_state": {"tags": []},
    }


def recent_change(
    n: int, at_ms: int, *, kind: str = "edit", wiki: str = "enwiki", datacentre: str = "eqiad"
) -> dict[str, Any]:
    doc = {
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": _meta(n, RECENT_CHANGE, at_ms, datacentre),
        "wiki": wiki,
        "type": kind,
        "title": f"Page {n}",
    }
    return doc | ({"log_type": "patrol", "log_action": "patrol"} if kind == "log" else {"revision": {"new": n}})


def canary(n: int, at_ms: int, *, stream: str = PAGE_CHANGE, datacentre: str = "eqiad") -> dict[str, Any]:
    return {"$schema": "/canary/1.0.0", "meta": _meta(n, stream, at_ms, datacentre, domain="canary")}


def canaries(n: int, at_ms: int) -> list[dict[str, Any]]:
    """One from each topic."""
    streams = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE)
    return [canary(n, at_ms, stream=stream, datacentre=dc) for stream in streams for dc in ("eqiad", "codfw")]

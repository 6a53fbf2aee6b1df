"""A wiki's APIs on loopback, down to the bytes: they answer as MediaWiki does, or as a test tells them to."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import orjson

from processors.digest import sha1_base36
from schemas.event import PAGE_CHANGE, rfc3339

CRLF = b"\r\n"


@dataclass(frozen=True)
class Request:
    """One request. ids: the revisions it asks for."""

    path: str
    headers: dict[str, str]
    params: dict[str, str]
    ids: tuple[int, ...]


Reply = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ApiServer:
    """`async with ApiServer() as wiki`. Each request takes the next of `replies`; when there is none, `reply` answers.

    requests: what was asked, in order. connections: how many were made. busiest: most requests at one time.
    """

    revisions: dict[int, dict[str, Any]] = field(default_factory=dict)
    pages: dict[int, str] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    busiest: int = 0

    async def __aenter__(self) -> Self:
        self._now = 0
        self._asked = asyncio.Condition()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[Any]] = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def template(self) -> str:
        """For `SLUICE_CONTENT`."""
        return f"{self.base}/{{wiki}}/{{domain}}/w/api.php"

    def put(self, rev_id: int, text: str, *, page_id: int = 7, **more: Any) -> None:
        """A revision that can be read. more: further fields of it, or of its main slot as `slot`."""
        slot = {"size": len(text.encode()), "contentmodel": "wikitext", "content": text} | more.pop("slot", {})
        slot.setdefault("sha1", hashlib.sha1(text.encode()).hexdigest())
        plain = {"revid": rev_id, "roles": ["main"], "tags": [], "slots": {"main": slot}}
        self.revisions[rev_id] = {"pageid": page_id, "revision": plain | more}

    def hide(self, rev_id: int) -> None:
        slot = {"size": 0, "sha1hidden": True, "contentmodel": "wikitext", "texthidden": True}
        self.revisions[rev_id]["revision"] |= {"sha1hidden": True, "slots": {"main": slot}}

    async def asked(self, times: int) -> None:
        """Returns when there were that many requests."""
        async with self._asked:
            await self._asked.wait_for(lambda: len(self.requests) >= times)

    async def reply(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """As MediaWiki: pages with their revisions, and what is not there as `badrevids`; HTML of a revision."""
        if "/rest.php/" in request.path:
            html = self.pages.get(int(request.path.split("/")[-2]))
            await (http(404) if html is None else http(200, html.encode()))(request, writer)
            return
        pages: dict[int, dict[str, Any]] = {}
        for rev_id in sorted(set(request.ids) & self.revisions.keys()):
            known = self.revisions[rev_id]
            page = pages.setdefault(known["pageid"], {"pageid": known["pageid"], "ns": 0, "title": "P"})
            page.setdefault("revisions", []).append(known["revision"])
        query: dict[str, Any] = {"pages": list(pages.values())} if pages else {}
        if bad := set(request.ids) - self.revisions.keys():
            query["badrevids"] = {str(rev_id): {"revid": rev_id, "missing": True} for rev_id in sorted(bad)}
        await json({"batchcomplete": True, "query": query})(request, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while head := await reader.readuntil(CRLF + CRLF):
                await self._one(_request(head), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, request: Request, writer: asyncio.StreamWriter) -> None:
        async with self._asked:
            self.requests.append(request)
            self._asked.notify_all()
        self._now += 1
        self.busiest = max(self.busiest, self._now)
        try:
            await (self.replies.pop(0) if self.replies else self.reply)(request, writer)
            await writer.drain()
        finally:
            self._now -= 1


def http(status: int, body: bytes = b"", **headers: str) -> Reply:
    """A whole answer; `_` in a header's name stands for `-`."""

    async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
        lines = {"content-length": str(len(body))} | {name.replace("_", "-"): text for name, text in headers.items()}
        head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)

    return reply


def json(doc: Any, **headers: str) -> Reply:
    """A 200 with JSON, packed if the client takes gzip."""

    async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
        body, coding = orjson.dumps(doc), {}
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, coding = gzip.compress(body, 1, mtime=0), {"content_encoding": "gzip"}
        await http(200, body, content_type="application/json", **coding, **headers)(request, writer)

    return reply


def error(code: str, **headers: str) -> Reply:
    """An error of the API, as MediaWiki says it: a 200."""
    return json({"error": {"code": code, "info": "as the test told"}}, **headers)


def held_until(event: asyncio.Event, then: Reply) -> Reply:
    """Answers once `event` is set."""

    async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await then(request, writer)

    return reply


def drip(pause_seconds: float) -> Reply:
    """The head, then a byte now and then, without end."""

    async def reply(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return reply


def event(
    rev_id: int,
    text: str,
    *,
    at_ms: int,
    wiki: str = "enwiki",
    domain: str = "en.wikipedia.org",
    page_id: int = 7,
    parent_id: int = 0,
    kind: str = "edit",
    visible: bool = True,
    prior_sha1: str | None = None,
    slots: Sequence[str] = ("main",),
    size: int | None = None,
    other: str = "",
) -> bytes:
    """A page_change event that announces `text` as the main slot of `rev_id`, and `other` as each other one."""
    size = len(text.encode()) if size is None else size
    sha1 = sha1_base36(text)
    revision: dict[str, Any] = {
        "rev_id": rev_id,
        "rev_parent_id": parent_id,
        "rev_dt": rfc3339(at_ms),
        "rev_size": size,
        "rev_sha1": sha1,
        "is_content_visible": visible,
        "content_slots": {
            role: {
                "slot_role": role,
                "content_model": "wikitext",
                "content_sha1": sha1 if role == "main" else sha1_base36(other),
                "content_size": size,
            }
            for role in slots
        },
    }
    doc: dict[str, Any] = {
        "$schema": "/mediawiki/page/change/1.2.0",
        "meta": {"id": f"id-{wiki}-{rev_id}", "stream": PAGE_CHANGE, "domain": domain, "dt": rfc3339(at_ms)},
        "page_change_kind": kind,
        "dt": rfc3339(at_ms),
        "wiki_id": wiki,
        "page": {"page_id": page_id, "page_title": "P", "namespace_id": 0},
        "revision": revision,
    }
    if prior_sha1 is not None:
        doc["prior_state"] = {"revision": {"rev_id": parent_id, "rev_sha1": prior_sha1}}
    return orjson.dumps(doc)


def _request(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    target = urlsplit(first.split(" ")[1])
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines if line)}
    params = {name: values[0] for name, values in parse_qs(target.query).items()}
    ids = tuple(int(part) for part in params.get("revids", "").split("|") if part)
    return Request(path=target.path, headers=headers, params=params, ids=ids)

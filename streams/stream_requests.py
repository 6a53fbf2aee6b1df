"""What a request for streams asks for, and how it is refused.

Source: mediawiki/services/eventstreams, routes/stream.js.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from aiohttp import web

from schemas.event import milliseconds
from streams.stream_log import LATEST, StreamLog, Subscription
from streams.wiki_events import DATACENTRES

# Streams that have kept their old name beside the new one.
ALIASES = {"recentchange": "mediawiki.recentchange"}
TITLES = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable",
}  # fmt: skip


class BadRequest(ValueError):
    """Something the server refuses, with the status that it answers."""

    def __init__(self, status: int, detail: str, kind: str = "bad_request", retry_after: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


def subscribe(log: StreamLog, known: Collection[str], request: web.Request) -> Subscription:
    """What a request asks for. Raises `BadRequest`."""
    named = request.match_info["streams"].split(",")
    streams = [ALIASES.get(stream, stream) for stream in named]
    unknown = [stream for stream in streams if stream not in known]
    if unknown:
        raise BadRequest(400, f"Invalid streams: {','.join(unknown)}", "not_found")
    topics = [f"{dc}.{stream}" for stream in streams for dc in DATACENTRES]
    last_id = request.headers.get("Last-Event-ID")
    if last_id is not None:
        return Subscription(log, topics, _assignments(last_id, topics))
    if "since" in request.query:
        since = _since_ms(request.query["since"])
        return Subscription(log, topics, [{"topic": topic, "timestamp": since} for topic in topics])
    return Subscription(log, topics, [{"topic": topic, "offset": LATEST} for topic in topics])


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


def _since_ms(text: str) -> int:
    try:
        return int(text) if text.isdigit() else milliseconds(text)
    except ValueError as exc:
        raise BadRequest(400, f"Invalid since: {text}") from exc


def refused(exc: BadRequest, request: web.Request) -> web.Response:
    body = {
        "status": exc.status,
        "type": exc.kind,
        "title": TITLES.get(exc.status, "Error"),
        "detail": str(exc),
        "method": request.method.lower(),
        "uri": str(request.rel_url),
    }
    headers = {"Retry-After": exc.retry_after} if exc.retry_after else {}
    return web.json_response(body, status=exc.status, headers=headers)

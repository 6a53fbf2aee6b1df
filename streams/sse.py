"""The supervised connection to the source: one EventSource per connection, and every end of one means: again.

The library opens one connection well and survives none of its ends, so it never gets to reconnect: whatever happens,
its object is dropped, and with it any half-built event (what comes on it is cut into events by `streams.frames`). We
resume from our own cursor (see `processors.cursor`).

A message that cannot be read may have been torn on the way. So when one is no JSON or no UTF-8, the connection is
dropped once and the message asked for again; if the same bytes come again they are what the source has, and go on as a
problem. A message thus costs one reconnection at most. What is JSON but not what we know is a problem at once.

Silence ends a connection, too: no whole message for `idle_seconds`, be it that nothing comes or that bytes drip. What
waits for us is no silence.

Limit: an event of more than 23 MB (the source's Kafka takes no such message) ends every connection that reaches it. The
cursor stays before it, we go on asking with growing pauses, and an error is logged: nothing is skipped unseen.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
from aiohttp_sse_client.client import EventSource

from processors.cursor import Cursor, Meets, topics_of_id
from processors.route import Seen, lenient_meta
from schemas.event import Event, InvalidEvent, decode_event, rfc3339
from schemas.reasons import SetAside
from streams import metrics
from streams.clock import now_ms
from streams.endpoints import Endpoints
from streams.failpoints import failpoint
from streams.frames import Frames, FrameTooLarge
from streams.inbox import Closed, Item, Message, Named, Opened
from streams.settings import REQUIRED_STREAMS, InvalidSetting, Settings

# Twice this waits in the client before the socket is left alone; what is incomplete waits with us.
READ_BUFFER_BYTES = 256 * 2**10
MAX_EVENT_BYTES = 22 * 2**20
# What the steps after us can carry; larger ones are set aside with their bytes.
MAX_MESSAGE_BYTES = 8 * 2**20
CONNECT_SECONDS = 10.0
# The source cuts after 15 minutes; we go before.
MAX_AGE_SECONDS = 840.0
HEALTHY_SECONDS = 60.0
# Whoever refuses us is asked once a second at most.
REFUSED_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 300.0
SUSPECTS = 1000
MAYBE_TORN = (SetAside.NOT_JSON, SetAside.NOT_UTF8)

log = logging.getLogger("sluice.sse")


Put = Callable[[Item], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class _End(Exception):
    """Why a connection is over. retry_after: seconds for which the server asked us to stay away."""

    reason: str
    detail: str = ""
    retry_after: float = 0.0


def check_source(settings: Settings) -> None:
    """Raises `InvalidSetting` if an endpoint's address is none, or is Wikimedia's and no contact is given."""
    _check_url("SLUICE_SOURCE", settings.source, settings.contact)
    if settings.source_fallback:
        _check_url("SLUICE_SOURCE_FALLBACK", settings.source_fallback, settings.contact)


def _check_url(name: str, url: str, contact: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidSetting(f"{name}={url!r}: an http or https address is needed")
    if f".{parts.hostname}".endswith((".wikimedia.org", ".wikipedia.org")) and not contact:
        raise InvalidSetting(
            f"SLUICE_CONTACT is not set: {parts.hostname} refuses requests that do not say whom to write to; "
            "give a URL or a mail address"
        )


class Subscription:
    """Follows the streams for ever, on one connection at a time.

    cursor: where to read on; moved here as messages are put. begin_ms: where to begin what the cursor does not name.
    """

    def __init__(
        self, settings: Settings, cursor: Cursor, *, begin_ms: int, endpoints: Endpoints | None = None
    ) -> None:
        check_source(settings)
        self._settings = settings
        self._cursor = cursor
        self._begin_ms = begin_ms
        self._endpoints = endpoints if endpoints is not None else Endpoints(settings)
        self._not_offered: dict[str, set[str]] = {}
        self._suspects = Seen(SUSPECTS)
        self._random = random.Random()  # noqa: S311 - spreads reconnections, hides nothing

    async def follow(self, put: Put) -> None:
        """Put everything that comes, in order; a `put` that waits slows the server down. Ends by being cancelled."""
        while True:
            endpoint = self._endpoints.name
            began = time.monotonic()
            self._endpoints.trying()
            connection = _Connection(self, put)
            end = await connection.run()
            lasted = time.monotonic() - began
            metrics.RECONNECTS.labels(end.reason).inc()
            await put(Closed(at_ms=now_ms(), reason=end.reason))
            self._endpoints.ended(end.reason, brought=bool(connection.messages), name=endpoint)
            pause = max(self._pause(end.reason, lasted, brought=bool(connection.messages)), end.retry_after)
            _say(end, lasted, connection.messages, pause)
            failpoint("source.disconnected")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._endpoints.interrupt.wait(), pause)

    def _pause(self, reason: str, lasted_seconds: float, *, brought: bool) -> float:
        """Nothing after a long connection or an end of our own; a tick's length after a short one, a second at most;
        a second where nothing came, doubled each time.
        """
        jitter = self._random.uniform(1.0, 1.5)
        if not brought and reason not in {"rewind", "not_offered"}:
            failures = max(1, self._endpoints.failures)
            return min(MAX_PAUSE_SECONDS, REFUSED_SECONDS * 2.0 ** min(failures - 1, 16) * jitter)
        if lasted_seconds >= HEALTHY_SECONDS or reason in {"age", "rewind", "switch"}:
            return 0.0
        return min(REFUSED_SECONDS, self._settings.tick_seconds) * jitter

    def _request(self) -> tuple[str, dict[str, str]]:
        """URL and headers; a new dict each time, since the library writes into it."""
        streams = [s for s in self._settings.followed if s not in self._not_offered.get(self._endpoints.url, ())]
        url = f"{self._endpoints.url}/v2/stream/{','.join(streams)}"
        headers = {"User-Agent": self._settings.user_agent, "Accept-Encoding": "identity"}
        if last := self._cursor.last_event_id(streams, self._begin_ms):
            headers["Last-Event-ID"] = last
        else:
            url += "?" + urlencode({"since": rfc3339(self._begin_ms)})
        return url, headers

    async def _check_answer(self, response: aiohttp.ClientResponse) -> None:
        """Leave out what the server says it does not offer, unless no hold can do without; then ask again."""
        if response.status == 400:
            missing = set(self._settings.followed) & _invalid_streams(await response.content.read(10_000))
            left_out = self._not_offered.setdefault(self._endpoints.url, set())
            if missing - left_out and not missing & set(REQUIRED_STREAMS):
                left_out |= missing
                response.close()
                raise _End(reason="not_offered", detail=", ".join(sorted(missing)))
        response.raise_for_status()

    def _read(self, data: bytes) -> Event | InvalidEvent:
        """The event, or what is wrong with it. Raises `_End` if it may have been torn."""
        read = _decode(data)
        if not isinstance(read, InvalidEvent) or read.reason not in MAYBE_TORN:
            return read
        if self._suspects.add(hashlib.sha256(data).hexdigest()):
            raise _End(reason="garbage", detail=str(read))
        return read


def _invalid_streams(body: bytes) -> set[str]:
    """The streams that a server's answer 400 says it does not have: `{"detail": "Invalid streams: a,b", ...}`."""
    try:
        detail = orjson.loads(body)["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return set()
    _, found, names = str(detail).partition("Invalid streams: ")
    return {name.strip() for name in names.split(",")} if found else set()


def _decode(data: bytes) -> Event | InvalidEvent:
    if len(data) > MAX_MESSAGE_BYTES:
        return InvalidEvent(SetAside.TOO_LARGE, f"{len(data)} bytes; we carry {MAX_MESSAGE_BYTES}")
    try:
        return decode_event(data)
    except InvalidEvent as problem:
        # No JSON is read from what is no UTF-8.
        if problem.reason is SetAside.NOT_JSON and not _is_utf8(data):
            return InvalidEvent(SetAside.NOT_UTF8, "the data line is not UTF-8")
        return problem


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Connection:
    """One connection, from request to end."""

    def __init__(self, subscription: Subscription, put: Put) -> None:
        self._of = subscription
        self._to = put
        self._begun: set[str] = set()
        self._named = False
        self._putting = False
        self._alive = time.monotonic()
        self.opened = False
        self.messages = 0

    async def run(self) -> _End:
        """Read until an end of its own, or until we have a reason to end it."""
        began = self._alive
        idle_seconds = self._of._settings.idle_seconds
        reading = asyncio.create_task(self._read())
        interrupted = asyncio.create_task(self._of._endpoints.interrupt.wait())
        try:
            while True:
                look = min(1.0, idle_seconds / 4, MAX_AGE_SECONDS / 4)
                done, _ = await asyncio.wait({reading, interrupted}, timeout=look, return_when=asyncio.FIRST_COMPLETED)
                now = time.monotonic()
                if reading in done:
                    return reading.result()
                if interrupted in done:
                    return _End(reason="switch")
                if not self._putting and now - self._alive > idle_seconds:
                    return _End(reason="idle" if self.opened else "refused", detail="silence")
                if now - began > MAX_AGE_SECONDS:
                    return _End(reason="age")
        finally:
            for task in (reading, interrupted):
                task.cancel()
            await asyncio.wait({reading, interrupted})

    async def _read(self) -> _End:
        try:
            await self._follow()
        except _End as end:
            return end
        except aiohttp.ClientResponseError as exc:
            after = retry_after_seconds(exc.headers and exc.headers.get("Retry-After"), datetime.now(UTC))
            return _End(reason="refused", detail=f"{exc.status} {exc.message}", retry_after=after)
        except ConnectionAbortedError as exc:
            # The library's word for a status or a content type that is no event stream.
            return _End(reason="garbage", detail=str(exc))
        except TimeoutError as exc:
            return _End(reason="refused", detail=repr(exc))
        except (aiohttp.ClientError, OSError) as exc:
            return _End(reason="cut" if self.opened else "refused", detail=repr(exc))
        except FrameTooLarge as exc:
            log.error("the source sends what we cannot read, and we stay before it: %.200r", exc)  # noqa: TRY400
            return _End(reason="garbage", detail=f"{exc!r:.200}")
        return _End(reason="end")

    async def _follow(self) -> None:
        url, headers = self._of._request()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=timeout, read_bufsize=READ_BUFFER_BYTES)
            )
            source: Any = EventSource(
                url,
                session=session,
                max_connect_retry=0,
                headers=headers,
                raise_for_status=self._of._check_answer,
                allow_redirects=False,
            )
            await stack.enter_async_context(source)
            self.opened = True
            await self._put(Opened(at_ms=now_ms()))
            frames, content = Frames(MAX_EVENT_BYTES), source._response.content
            while piece := await content.readany():
                for frame in frames.feed(piece):
                    if frame.kind == b"error":
                        raise _End(reason="error_event", detail=frame.data[:300].decode("utf-8", "replace"))
                    await self._message(frame.sse_id, frame.data)

    async def _message(self, sse_id: bytes, data: bytes) -> None:
        at_ms = now_ms()
        cursor = self._of._cursor
        read = self._of._read(data)
        meta = lenient_meta(data) if isinstance(read, InvalidEvent) else read.meta
        if not self._named and (topics := topics_of_id(sse_id)):
            new = cursor.unknown(topics, self._of._begin_ms)
            await self._put(Named(topics=tuple(topic for topic, _ in topics), new=new))
            cursor.take(new)
            self._named = True
        if not self.messages:
            self._of._endpoints.worked()
        self.messages += 1
        if meta is not None and meta.topic not in self._begun:
            meets = cursor.meets(meta)
            if meets is Meets.OTHER:
                cursor.forget_offsets()
                raise _End(reason="rewind", detail=f"{meta.topic} goes on at offset {meta.offset}: another cluster's")
            self._begun.add(meta.topic)
            if meets is Meets.LAST:
                self._alive = time.monotonic()
                return
        await self._put(Message(data=data, at_ms=at_ms, meta=meta, read=read))
        if meta is not None:
            cursor.move(meta, at_ms)

    async def _put(self, item: Item) -> None:
        """Time in which we keep the server waiting is no silence of its."""
        self._putting = True
        await self._to(item)
        self._putting = False
        self._alive = time.monotonic()


def retry_after_seconds(value: Any, now: datetime) -> float:
    """The seconds that a `Retry-After` header asks for, at most 300; 0 where there is none or it makes no sense."""
    if not isinstance(value, str):
        return 0.0
    try:
        seconds = (
            float(value)
            if value.isascii() and value.strip().isdigit()
            else (parsedate_to_datetime(value) - now).total_seconds()
        )
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, seconds))


def _say(end: _End, lasted: float, messages: int, pause: float) -> None:
    normal = end.reason in {"age", "end"} and lasted >= HEALTHY_SECONDS
    log.log(
        logging.INFO if normal else logging.WARNING,
        "connection %s after %.0f s and %d messages%s; again in %.1f s",
        end.reason,
        lasted,
        messages,
        f" ({end.detail})" if end.detail else "",
        pause,
    )

"""The content APIs of the wikis: one request is one call; how much comes and how long it may take is bounded here."""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from processors.answers import THROTTLING, Answers, ApiError, NotAnAnswer, judge_page, read_answers
from processors.batcher import Site
from schemas.content import Html
from schemas.json_text import as_text
from schemas.reasons import Answer
from streams import metrics
from streams.content_source import Source
from streams.settings import Settings

CONNECTIONS = 3
DEADLINE_SECONDS = 30.0
# The API cuts an answer at 12 MiB; JSON writes some of it with more bytes.
MAX_BODY_BYTES = 32 * 1024 * 1024
CHUNK_BYTES = 65_536

# The REST API's word for a revision: it does not know it, or nobody may see it.
PAGE_ANSWERS = {200: Answer.TEXT, 403: Answer.HIDDEN, 404: Answer.MISSING}

# There is no wiki at this address, or not for us: no later answer will be another.
GONE = frozenset({401, 403, 404, 410})

_FIELDS = "ids|flags|size|slotsize|sha1|slotsha1|contentmodel|content|tags|roles"


class Trouble(Exception):
    """A request that gave no answer; asking again later may.

    outcome: one of `metrics.REQUEST_OUTCOMES`. may_be_cause: what was asked for can be the reason, not only the
    server. retry_after_seconds: as the server said, None if it did not. final: the server says that there is nothing
    to be had at this address.
    """

    def __init__(
        self,
        outcome: str,
        detail: str,
        *,
        may_be_cause: bool = False,
        retry_after_seconds: float | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.may_be_cause = may_be_cause
        self.retry_after_seconds = retry_after_seconds
        self.final = final


class BodyTooLarge(Trouble):
    """More came than is read of an answer."""


class ContentApi:
    """The client. Use it as an async context manager. sources: names of those that there are, in order.

    Raises `InvalidSetting` if the template cannot be used, or names the live site and there is no contact.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._sources = [Source("SLUICE_CONTENT", settings.content, contact=settings.contact)]
        if settings.content_fallback:
            self._sources.append(Source("SLUICE_CONTENT_FALLBACK", settings.content_fallback, contact=settings.contact))
        self.sources = metrics.CONTENT_SOURCES[: len(self._sources)]
        self._headers = {"User-Agent": settings.user_agent, "Accept-Encoding": "gzip"}
        self._deadline_seconds = deadline_seconds
        self._max_body_bytes = max_body_bytes
        self._sessions: list[aiohttp.ClientSession] = []

    async def __aenter__(self) -> Self:
        for source in self._sources:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, socket_factory=source.socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
                # The whole request has one deadline below; what is set here only ends the wait of a stuck connection.
                timeout=aiohttp.ClientTimeout(total=self._deadline_seconds),
            )
            self._sessions.append(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions:
            await session.close()

    def url(self, site: Site, source: int = 0) -> str:
        """The API of a wiki at a source. Raises `UnknownSite`."""
        return self._sources[source].url(site)

    async def ask(self, site: Site, rev_ids: Sequence[int], *, source: int = 0) -> Answers:
        """One request for at most 50 revisions. Raises `Trouble` and `UnknownSite`."""
        params = {
            "action": "query",
            "prop": "revisions",
            "revids": "|".join(str(rev_id) for rev_id in rev_ids),
            "rvslots": "*",
            "rvprop": _FIELDS,
            "format": "json",
            "formatversion": "2",
            "maxlag": "5",
        }
        status, headers, body = await self._get(source, self.url(site, source), params)
        retry_after_seconds = _refuse(status, headers, final={200})
        return _understand(body, rev_ids, retry_after_seconds)

    async def page(self, site: Site, rev_id: int, *, source: int = 0) -> Html:
        """The HTML of a revision. Raises `Trouble` and `UnknownSite`."""
        try:
            status, headers, body = await self._get(source, self._sources[source].page_url(site, rev_id), {})
        except BodyTooLarge:
            return Html(answer=Answer.TOO_LARGE)
        _refuse(status, headers, final=PAGE_ANSWERS.keys())
        answer = PAGE_ANSWERS[status]
        return Html(answer=answer) if answer is not Answer.TEXT else judge_page(body, rev_id)

    async def query(self, site: Site, params: Mapping[str, str]) -> Mapping[str, Any]:
        """One request with `action=query`; the document as it came. Raises `Trouble` and `UnknownSite`."""
        whole = {"action": "query", "format": "json", "formatversion": "2", "maxlag": "5"} | dict(params)
        status, headers, body = await self._get(0, self.url(site), whole)
        after = retry_after(headers.get("Retry-After"), time.time())
        if status != 200:
            outcome = "throttled" if status == 429 else "failed"
            raise Trouble(outcome, f"HTTP {status}", retry_after_seconds=after, final=status in GONE)
        try:
            doc = orjson.loads(body)
            error = doc.get("error")
        except (orjson.JSONDecodeError, AttributeError) as exc:
            raise Trouble("not_json", repr(exc)[:300], retry_after_seconds=after) from exc
        if error is not None:
            outcome = "throttled" if error.get("code") in THROTTLING else "failed"
            raise Trouble(outcome, as_text(error)[:300], retry_after_seconds=after)
        return dict(doc)

    async def _get(self, source: int, url: str, params: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and, of a 200 only, the body."""
        if not self._sessions:
            raise RuntimeError("ContentApi is used outside of `async with`")
        try:
            async with (
                asyncio.timeout(self._deadline_seconds),
                self._sessions[source].get(url, params=params, allow_redirects=False) as response,
            ):
                body = await self._body(response) if response.status == 200 else b""
                return response.status, response.headers, body
        except TimeoutError as exc:
            raise Trouble("failed", f"not answered in {self._deadline_seconds} s", may_be_cause=True) from exc
        except zlib.error as exc:
            raise Trouble("not_json", f"no gzip: {exc}", may_be_cause=True) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # ValueError: a header or URL that aiohttp does not take.
            raise Trouble("failed", repr(exc)[:300], may_be_cause=isinstance(exc, aiohttp.ClientPayloadError)) from exc

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, unpacked, never more of it in memory than is allowed and one chunk."""
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in {"identity", "gzip"}:
            raise Trouble("not_json", f"content coding {coding!r:.60} was not asked for")
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            rest = chunk
            while rest:
                if unpacker is None:
                    body += rest
                    rest = b""
                else:
                    body += unpacker.decompress(rest, CHUNK_BYTES)
                    rest = unpacker.unconsumed_tail
                if len(body) > self._max_body_bytes:
                    raise BodyTooLarge("failed", f"more than {self._max_body_bytes} bytes", may_be_cause=True)
        if unpacker is not None and not unpacker.eof:
            # Half a page of HTML would be taken for a page.
            raise Trouble("not_json", "the gzip ends too early", may_be_cause=True)
        return bytes(body)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, not capped; None if there is none, or none that says anything.

    now: Unix seconds.
    """
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _refuse(status: int, headers: Mapping[str, str], *, final: Collection[int]) -> float | None:
    """Seconds that the server asks for. Raises `Trouble` unless the status is one of `final`."""
    retry_after_seconds = retry_after(headers.get("Retry-After"), time.time())
    if status in final:
        return retry_after_seconds
    if status == 429:
        raise Trouble("throttled", "HTTP 429", retry_after_seconds=retry_after_seconds)
    if 300 <= status < 400:
        raise Trouble("not_json", f"HTTP {status}, a redirect, which is not followed")
    raise Trouble("failed", f"HTTP {status}", may_be_cause=status >= 500, retry_after_seconds=retry_after_seconds)


def _understand(body: bytes, rev_ids: Sequence[int], retry_after_seconds: float | None) -> Answers:
    try:
        answers = read_answers(body, rev_ids)
    except ApiError as exc:
        outcome = "throttled" if exc.code in THROTTLING else "failed"
        raise Trouble(
            outcome, str(exc)[:300], may_be_cause=outcome == "failed", retry_after_seconds=retry_after_seconds
        ) from exc
    except NotAnAnswer as exc:
        raise Trouble("not_json", str(exc)[:300], may_be_cause=True, retry_after_seconds=retry_after_seconds) from exc
    if not (answers.found or answers.missing):
        raise Trouble("failed", "an answer about none of the revisions asked for", may_be_cause=True)
    return answers

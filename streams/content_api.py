"""The content APIs of the wikis: one request is one call; what may be reached, how much and how long is bounded here.

Nothing free comes from an event into a URL: a domain is filled in only if it is that of a Wikimedia project, and no
address but a public one is connected to, unless the operator's own setting names it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
import zlib
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from processors.answers import THROTTLING, Answers, ApiError, NotAnAnswer, read_answers
from processors.batcher import Site
from streams.settings import InvalidSetting, Settings

CONNECTIONS = 3
DEADLINE_SECONDS = 30.0
MAX_BODY_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 65_536

_FAMILIES = (
    "wikipedia|wiktionary|wikibooks|wikinews|wikiquote|wikisource|wikiversity|wikivoyage|wikimedia|mediawiki"
    "|wikidata|wikifunctions"
)
_DOMAIN = re.compile(rf"(?:[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?(?:\.m)?\.(?:{_FAMILIES})|wikisource)\.org", re.ASCII)
_WIKI = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_FIELDS = "ids|flags|size|slotsize|sha1|slotsha1|contentmodel|content|tags|roles"

_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class UnknownSite(ValueError):
    """The event names no wiki that may be asked. Nothing was connected to."""


class Trouble(Exception):
    """A request that gave no answer; asking again later may.

    outcome: one of `metrics.REQUEST_OUTCOMES`. may_be_cause: what was asked for can be the reason, not only the
    server. retry_after_seconds: as the server said, None if it did not.
    """

    def __init__(
        self, outcome: str, detail: str, *, may_be_cause: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.may_be_cause = may_be_cause
        self.retry_after_seconds = retry_after_seconds


class Budget:
    """Requests spaced evenly: `share` of `per_minute`, at least one a minute, no burst after a rest. For one taker."""

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._next_at = 0.0
        self.share = 1.0

    async def take(self) -> None:
        """Returns when the next request may be made."""
        now = time.monotonic()
        at = max(now, self._next_at)
        if at > now:
            await asyncio.sleep(at - now)
        self._next_at = at + 60.0 / max(self._per_minute * self.share, 1.0)


class ContentApi:
    """The client. Use it as an async context manager.

    Raises `InvalidSetting` if the template cannot be used, or names the live site and there is no contact.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._template = settings.content
        self._named_host = _named_host(settings.content)
        if not settings.contact and (self._named_host is None or _DOMAIN.fullmatch(self._named_host)):
            raise InvalidSetting(
                f"SLUICE_CONTENT={settings.content!r} is the live site, which refuses requests from nobody: "
                "set SLUICE_CONTACT to a URL or mail address of yours"
            )
        self._headers = {"User-Agent": settings.user_agent, "Accept-Encoding": "gzip"}
        self._deadline_seconds = deadline_seconds
        self._max_body_bytes = max_body_bytes
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, socket_factory=self._socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            auto_decompress=False,
            # The whole request has one deadline below; what is set here only ends the wait of a stuck connection.
            timeout=aiohttp.ClientTimeout(total=self._deadline_seconds),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def url(self, site: Site) -> str:
        """The API of a wiki. Raises `UnknownSite`."""
        wiki, domain = site
        if "{domain}" in self._template and not _DOMAIN.fullmatch(domain):
            raise UnknownSite(f"{domain!r:.200} is no domain of a Wikimedia project")
        if "{wiki}" in self._template and not _WIKI.fullmatch(wiki):
            raise UnknownSite(f"{wiki!r:.200} is no name of a wiki")
        return self._template.replace("{domain}", domain).replace("{wiki}", wiki)

    async def ask(self, site: Site, rev_ids: Sequence[int]) -> Answers:
        """One request for at most 50 revisions. Raises `Trouble` and `UnknownSite`."""
        params = {
            "action": "query",
            "prop": "revisions",
            "revids": "|".join(str(rev_id) for rev_id in rev_ids),
            "rvslots": "main",
            "rvprop": _FIELDS,
            "format": "json",
            "formatversion": "2",
            "maxlag": "5",
        }
        status, headers, body = await self._get(self.url(site), params)
        retry_after_seconds = retry_after(headers.get("Retry-After"), time.time())
        if status == 429:
            raise Trouble("throttled", "HTTP 429", retry_after_seconds=retry_after_seconds)
        if 300 <= status < 400:
            raise Trouble("not_json", f"HTTP {status}, a redirect, which is not followed")
        if status != 200:
            raise Trouble(
                "failed", f"HTTP {status}", may_be_cause=status >= 500, retry_after_seconds=retry_after_seconds
            )
        return _understand(body, rev_ids, retry_after_seconds)

    async def query(self, site: Site, params: Mapping[str, str]) -> Mapping[str, Any]:
        """One request with `action=query`; the document as it came. Raises `Trouble` and `UnknownSite`."""
        whole = {"action": "query", "format": "json", "formatversion": "2", "maxlag": "5"} | dict(params)
        status, headers, body = await self._get(self.url(site), whole)
        after = retry_after(headers.get("Retry-After"), time.time())
        if status != 200:
            outcome = "throttled" if status == 429 else "failed"
            raise Trouble(outcome, f"HTTP {status}", retry_after_seconds=after)
        try:
            doc = orjson.loads(body)
            error = doc.get("error")
        except (orjson.JSONDecodeError, AttributeError) as exc:
            raise Trouble("not_json", repr(exc)[:300], retry_after_seconds=after) from exc
        if error is not None:
            outcome = "throttled" if error.get("code") in THROTTLING else "failed"
            raise Trouble(outcome, str(error)[:300], retry_after_seconds=after)
        return dict(doc)

    async def _get(self, url: str, params: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and, of a 200 only, the body."""
        if self._session is None:
            raise RuntimeError("ContentApi is used outside of `async with`")
        try:
            async with (
                asyncio.timeout(self._deadline_seconds),
                self._session.get(url, params=params, allow_redirects=False) as response,
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
                    raise Trouble("failed", f"more than {self._max_body_bytes} bytes", may_be_cause=True)
        return bytes(body)

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that was looked up. Raises `OSError` if it may not be connected to."""
        family, kind, protocol, _, address = info
        if not may_reach(ip_address(str(address[0]).partition("%")[0]), self._named_host):
            raise OSError(f"{address[0]} is not a public address")
        return socket.socket(family=family, type=kind, proto=protocol)


def may_reach(address: Address, named_host: str | None) -> bool:
    """Whether a connection to `address` is allowed.

    named_host: the host in the operator's own setting, None if events fill it in. Loopback and link-local addresses
    must be named as such there; other private ones may be what a named host stands for.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return may_reach(inner, named_host)
    if address.is_global and not address.is_multicast:
        return True
    if named_host is None:
        return False
    try:
        return address == ip_address(named_host)
    except ValueError:
        pass
    if named_host == "localhost":
        return address.is_loopback
    return address.is_private and not (address.is_loopback or address.is_link_local or address.is_unspecified)


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


def _named_host(template: str) -> str | None:
    """The host if the template itself names it, None if events fill it in. Raises `InvalidSetting`."""
    parts = urlsplit(template)
    rest = template.replace("{domain}", "").replace("{wiki}", "")
    if parts.scheme not in {"http", "https"} or not parts.netloc or "{" in rest or "}" in rest:
        raise InvalidSetting(f"SLUICE_CONTENT={template!r}: a URL with {{domain}} or {{wiki}} where they belong")
    if "{" not in parts.netloc:
        return parts.hostname
    if parts.scheme != "https":
        raise InvalidSetting(f"SLUICE_CONTENT={template!r}: https, as the host comes from the event")
    return None

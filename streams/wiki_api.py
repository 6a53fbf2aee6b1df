"""The APIs' half of the stand-in for Wikimedia: `action=query`, the HTML of revisions, their limits and their faults.

It answers as MediaWiki does, down to the sentences of its errors, with the fields that were asked for and no others.

Source: MediaWiki 1.43, action=query, prop=revisions, list=recentchanges and meta=siteinfo, formatversion=2, and
rest.php/v1, not logged in; limits of the gateway before it by its policy of May 2026.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import orjson
from aiohttp import web

from schemas.event import milliseconds
from streams.ledger import Ledger
from streams.wiki_html import page_html
from streams.wiki_recent import recent_changes
from streams.wiki_refused import Refused

MAX_REVIDS = 50
DEFAULT_RVPROP = "ids|timestamp|flags|comment|user"

# $wgAPIMaxResultSize: what does not fit in any more comes with the next request.
MAX_RESULT_BYTES = 12 * 2**20
MINUTE_MS = 60_000

# `rvprop` → what it brings. What is hidden comes as a flag in the place of the thing itself.
FIELDS = {
    "ids": ("revid", "parentid"),
    "flags": ("minor",),
    "user": ("user", "temp", "anon", "userhidden"),
    "userid": ("userid", "userhidden"),
    "timestamp": ("timestamp",),
    "size": ("size",),
    "sha1": ("sha1", "sha1hidden"),
    "roles": ("roles",),
    "comment": ("comment", "commenthidden"),
    "tags": ("tags",),
}
SLOT_FIELDS = {
    "slotsize": ("size",),
    "slotsha1": ("sha1", "sha1hidden"),
    "contentmodel": ("contentmodel",),
    "content": ("contentmodel", "contentformat", "content", "texthidden", "textmissing", "badcontentformat"),
}
WRONG = "\n(another text)"
# What a proxy says in the place of the API, with status 200.
HTML = b"<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>Our servers are busy</h1></body></html>\n"


class Wikis(Protocol):
    """Where the answers come from."""

    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        """`{"pageid", "ns", "title", "revision": {...as the API writes it}}`, or None for `badrevids`."""

    def siteinfo(self, domain: str) -> Mapping[str, Any] | None:
        """The `query` object of `meta=siteinfo`; None = there is no such wiki."""


@runtime_checkable
class Site(Wikis, Protocol):
    """Wikis that know their recent changes too."""

    def recent(self, domain: str) -> Sequence[Mapping[str, Any]]:
        """Rows of `list=recentchanges` with all their fields, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiFault:
    """What one request meets.

    html: a page in the place of JSON, status 200. status: `status`, with `retry_after` as its header. maxlag: the API's
    error of that name. wrong_text: the text is another than its SHA-1 says. slow: the answer comes after `seconds`.
    """

    kind: Literal["html", "status", "maxlag", "wrong_text", "slow"]
    status: int = 503
    retry_after: str = ""
    seconds: float = 0.0


class WikiApi:
    """Answers requests. faults: each is met by one request, in order; a test adds to them while it runs.

    now_ms: the world's clock. requests and revisions_asked count what was asked, refused or not. requests_per_minute:
    of world time, for each User-Agent; None = as many as one likes. lag_seconds: of the replicas, for `maxlag`.
    replica_lag_ms: revisions younger than that are not known yet. speed: how many times faster than ours the time of
    the world goes, for `Retry-After`.
    """

    def __init__(self, wikis: Wikis, now_ms: Callable[[], int] = lambda: 0, ledger: Ledger | None = None) -> None:
        self._wikis = wikis
        self._now_ms = now_ms
        self._ledger = ledger
        self.faults: deque[ApiFault] = deque()
        self.requests = 0
        self.revisions_asked = 0
        self.requests_per_minute: int | None = None
        self.lag_seconds = 0.0
        self.replica_lag_ms = 0
        self.max_result_bytes = MAX_RESULT_BYTES
        self.speed = 1.0
        self._spent: dict[str, tuple[int, int]] = {}

    async def handle(self, request: web.Request) -> web.Response:
        """One request to `/{domain}/w/api.php`, by GET or POST."""
        self.requests += 1
        given = dict(request.query)
        if request.method == "POST":
            given |= {key: str(value) for key, value in (await request.post()).items()}
        domain = request.match_info["domain"]
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
            elif fault.kind != "wrong_text":
                return _faulty(fault, domain)
        over = self._over_budget(request)
        if over is not None:
            return over
        falsified = fault is not None and fault.kind == "wrong_text"
        try:
            body = self._answer(domain, given, falsified=falsified)
        except Refused as exc:
            if exc.code == "maxlag":
                return _error(exc, domain, Retry_After="5", X_Database_Lag=f"{self.lag_seconds:.0f}")
            return _error(exc, domain)
        return _json(body)

    async def html(self, request: web.Request) -> web.Response:
        """One request for the HTML of a revision, in either of its two addresses."""
        self.requests += 1
        domain, asked = request.match_info["domain"], request.match_info["rev_id"]
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
            elif fault.kind != "wrong_text":
                # The REST API knows no maxlag.
                return _faulty(ApiFault(kind="status", status=503) if fault.kind == "maxlag" else fault, domain)
        over = self._over_budget(request)
        if over is not None:
            return over
        if not asked.isascii() or not asked.isdigit():
            return _rest_error(400, "Bad Request", "rest-param-type", f"The revision {asked} is no number")
        rev_id = int(asked)
        found = self._found(domain, rev_id)
        content = None if found is None else found["revision"]["slots"]["main"].get("content")
        if found is None:
            self._serve(domain, rev_id, "missing", None, "html")
            text = f"The specified revision ({rev_id}) does not exist"
            return _rest_error(404, "Not Found", "rest-nonexistent-revision", text)
        if content is None:
            self._serve(domain, rev_id, "hidden", None, "html")
            text = f"User doesn't have access to the requested revision ({rev_id})."
            return _rest_error(403, "Forbidden", "rest-permission-denied-revision", text)
        falsified = fault is not None and fault.kind == "wrong_text"
        site = self._wikis.siteinfo(domain) or {}
        page = page_html(domain, site, found, content + WRONG if falsified else content)
        self._serve(domain, rev_id, "wrong_text" if falsified else "text", page, "html")
        headers = {
            "Content-Type": 'text/html; charset=utf-8; profile="https://www.mediawiki.org/wiki/Specs/HTML/2.8.0"',
            "ETag": f'"{rev_id}/view/html"',
            "Content-Language": str(site.get("general", {}).get("lang", "en")),
        }
        return web.Response(body=page.encode(), headers=headers)

    def _over_budget(self, request: web.Request) -> web.Response | None:
        if self.requests_per_minute is None:
            return None
        minute, left_ms = divmod(self._now_ms(), MINUTE_MS)
        name = request.headers.get("User-Agent", "")
        last, spent = self._spent.get(name, (minute, 0))
        spent = spent + 1 if last == minute else 1
        self._spent[name] = (minute, spent)
        if spent <= self.requests_per_minute:
            return None
        wait = math.ceil((MINUTE_MS - left_ms) / 1000 / (self.speed or 1.0))
        return web.Response(status=429, text="Too many requests\n", headers={"Retry-After": str(max(1, wait))})

    def _found(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        found = self._wikis.revision(domain, rev_id)
        if found is not None and self.replica_lag_ms:
            saved_ms = milliseconds(found["revision"]["timestamp"])
            if saved_ms > self._now_ms() - self.replica_lag_ms:
                return None
        return found

    def _serve(self, domain: str, rev_id: int, answer: str, text: str | None, form: str) -> None:
        if self._ledger is not None:
            self._ledger.served(self._now_ms(), domain, rev_id, answer, text, form)

    def _answer(self, domain: str, given: Mapping[str, str], *, falsified: bool) -> dict[str, Any]:
        siteinfo = self._wikis.siteinfo(domain)
        if siteinfo is None:
            raise web.HTTPNotFound(text=f"no wiki is called {domain}")
        maxlag = given.get("maxlag", "")
        if maxlag.lstrip("-").isdigit() and self.lag_seconds > int(maxlag):
            lag = self.lag_seconds
            raise Refused("maxlag", f"Waiting for db1: {lag:g} seconds lagged.", host="db1", lag=lag, type="db")
        if given.get("action") != "query":
            raise Refused("badvalue", f'Unrecognized value for parameter "action": {given.get("action", "")}.')
        if given.get("meta") == "siteinfo":
            props = given.get("siprop", "general").split("|")
            return {"batchcomplete": True, "query": {name: siteinfo[name] for name in props if name in siteinfo}}
        if given.get("list") == "recentchanges":
            rows = self._wikis.recent(domain) if isinstance(self._wikis, Site) else ()
            return recent_changes(rows, given)
        rev_ids = _rev_ids(given.get("revids", ""))
        self.revisions_asked += len(rev_ids)
        if len(rev_ids) > MAX_REVIDS:
            info = f'Too many values supplied for parameter "revids". The limit is {MAX_REVIDS}.'
            raise Refused(
                "toomanyvalues", info, parameter="revids", limit=MAX_REVIDS, lowlimit=MAX_REVIDS, highlimit=500
            )
        props = given.get("rvprop", DEFAULT_RVPROP).split("|")
        roles = given.get("rvslots", "").split("|")
        first = given.get("rvcontinue", "")
        wanted = sorted(rev_id for rev_id in rev_ids if not first.isdigit() or rev_id >= int(first))
        query, next_id = self._revisions(domain, wanted, props, roles, falsified=falsified)
        rest = {"continue": {"rvcontinue": str(next_id), "continue": "||"}} if next_id else {"batchcomplete": True}
        return rest | ({"query": query} if query else {})

    def _revisions(
        self, domain: str, rev_ids: Iterable[int], props: list[str], roles: list[str], *, falsified: bool
    ) -> tuple[dict[str, Any], int | None]:
        """The `query` object, and the first revision that does not fit into it any more."""
        bad: dict[str, Any] = {}
        pages: dict[int, dict[str, Any]] = {}
        size, next_id = 0, None
        for rev_id in rev_ids:
            found = self._found(domain, rev_id)
            if found is None:
                bad[str(rev_id)] = {"revid": rev_id, "missing": True}
                self._serve(domain, rev_id, "missing", None, "wikitext")
                continue
            chosen = _chosen(found["revision"], props, roles, falsified=falsified)
            main = chosen.get("slots", {}).get("main", {})
            size += len(main.get("content", ""))
            if pages and size > self.max_result_bytes:
                next_id = rev_id
                break
            head = {name: found[name] for name in ("pageid", "ns", "title")}
            page = pages.setdefault(found["pageid"], head | {"revisions": []})
            page["revisions"].append(chosen)
            if "content" in main:
                answer = "wrong_text" if falsified else "text"
                self._serve(domain, rev_id, answer, main["content"], "wikitext")
            elif "texthidden" in main:
                self._serve(domain, rev_id, "hidden", None, "wikitext")
        return ({"badrevids": bad} if bad else {}) | ({"pages": list(pages.values())} if pages else {}), next_id


def _rev_ids(text: str) -> set[int]:
    found = set()
    for part in filter(None, text.split("|")):
        if not part.isascii() or not part.isdigit():
            raise Refused("badinteger", f'Invalid value "{part}" for integer parameter "revids".')
        found.add(int(part))
    return found


def _chosen(revision: Mapping[str, Any], props: list[str], roles: list[str], *, falsified: bool) -> dict[str, Any]:
    """The fields that `rvprop` and `rvslots` ask for, in the order in which the revision has them."""
    names = {field for prop in props for field in FIELDS.get(prop, ())} | {"suppressed"}
    slot_names = {field for prop in props for field in SLOT_FIELDS.get(prop, ())}
    chosen: dict[str, Any] = {}
    for name, value in revision.items():
        if name in names:
            chosen[name] = value
        elif name == "slots" and slot_names and roles != [""]:
            wanted = {role: slot for role, slot in value.items() if roles == ["*"] or role in roles}
            chosen["slots"] = {role: _slot(slot, slot_names, falsified=falsified) for role, slot in wanted.items()}
    return chosen


def _slot(slot: Mapping[str, Any], names: set[str], *, falsified: bool) -> dict[str, Any]:
    chosen = {name: value for name, value in slot.items() if name in names}
    if falsified and "content" in chosen:
        chosen["content"] += WRONG
    return chosen


def _json(body: Mapping[str, Any], **headers: str) -> web.Response:
    return web.Response(
        body=orjson.dumps(body),
        headers={"Content-Type": "application/json; charset=utf-8"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
    )


def _error(refused: Refused, domain: str, **headers: str) -> web.Response:
    docref = (
        f"See https://{domain}/w/api.php for API usage. Subscribe to the mediawiki-api-announce mailing list at "
        "&lt;https://lists.wikimedia.org/postorius/lists/mediawiki-api-announce.lists.wikimedia.org/&gt; "
        "for notice of API deprecations and breaking changes."
    )
    return _json({"error": refused.doc | {"docref": docref}}, MediaWiki_API_Error=refused.code, **headers)


def _rest_error(status: int, reason: str, key: str, text: str) -> web.Response:
    body = {"errorKey": key, "messageTranslations": {"en": text}, "httpCode": status, "httpReason": reason}
    return web.Response(status=status, body=orjson.dumps(body), headers={"Content-Type": "application/json"})


def _faulty(fault: ApiFault, domain: str) -> web.Response:
    if fault.kind == "html":
        return web.Response(body=HTML, headers={"Content-Type": "text/html; charset=utf-8"})
    if fault.kind == "maxlag":
        lagged = Refused("maxlag", "Waiting for db1: 7.2 seconds lagged.", host="db1", lag=7.2, type="db")
        return _error(lagged, domain, Retry_After=fault.retry_after or "5", X_Database_Lag="7")
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return web.Response(status=fault.status, text=f"{fault.status}\n", headers=headers)

"""The action API's half of the stand-in for Wikimedia: `action=query` for revisions and siteinfo, and its faults.

It answers as MediaWiki does, down to the sentences of its errors, with the fields that were asked for and no others.

Source: MediaWiki 1.43, action=query, prop=revisions and meta=siteinfo, formatversion=2, not logged in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson
from aiohttp import web

MAX_REVIDS = 50
DEFAULT_RVPROP = "ids|timestamp|flags|comment|user"

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
# What a proxy says in the place of the API, with status 200.
HTML = b"<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>Our servers are busy</h1></body></html>\n"


class Wikis(Protocol):
    """Where the answers come from."""

    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        """`{"pageid", "ns", "title", "revision": {...as the API writes it}}`, or None for `badrevids`."""

    def siteinfo(self, domain: str) -> Mapping[str, Any] | None:
        """The `query` object of `meta=siteinfo`; None = there is no such wiki."""


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


class Refused(ValueError):
    """An error of the API. code, info: its words. more: further fields of the error."""

    def __init__(self, code: str, info: str, **more: Any) -> None:
        super().__init__(f"{code}: {info}")
        self.code = code
        self.doc = {"code": code, "info": info, **more}


class WikiApi:
    """Answers requests. faults: each is met by one request, in order; a test adds to them while it runs.

    requests and revisions_asked count what was asked, refused or not.
    """

    def __init__(self, wikis: Wikis) -> None:
        self._wikis = wikis
        self.faults: deque[ApiFault] = deque()
        self.requests = 0
        self.revisions_asked = 0

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
        try:
            body = self._answer(domain, given, falsified=fault is not None and fault.kind == "wrong_text")
        except Refused as exc:
            return _error(exc, domain)
        return _json(body)

    def _answer(self, domain: str, given: Mapping[str, str], *, falsified: bool) -> dict[str, Any]:
        siteinfo = self._wikis.siteinfo(domain)
        if siteinfo is None:
            raise web.HTTPNotFound(text=f"no wiki is called {domain}")
        if given.get("action") != "query":
            raise Refused("badvalue", f'Unrecognized value for parameter "action": {given.get("action", "")}.')
        if given.get("meta") == "siteinfo":
            props = given.get("siprop", "general").split("|")
            return {"batchcomplete": True, "query": {name: siteinfo[name] for name in props if name in siteinfo}}
        rev_ids = _rev_ids(given.get("revids", ""))
        self.revisions_asked += len(rev_ids)
        if len(rev_ids) > MAX_REVIDS:
            info = f'Too many values supplied for parameter "revids". The limit is {MAX_REVIDS}.'
            raise Refused(
                "toomanyvalues", info, parameter="revids", limit=MAX_REVIDS, lowlimit=MAX_REVIDS, highlimit=500
            )
        props = given.get("rvprop", DEFAULT_RVPROP).split("|")
        roles = given.get("rvslots", "").split("|")
        query = self._revisions(domain, sorted(rev_ids), props, roles, falsified=falsified)
        return {"batchcomplete": True} | ({"query": query} if query else {})

    def _revisions(
        self, domain: str, rev_ids: Iterable[int], props: list[str], roles: list[str], *, falsified: bool
    ) -> dict[str, Any]:
        bad: dict[str, Any] = {}
        pages: dict[int, dict[str, Any]] = {}
        for rev_id in rev_ids:
            found = self._wikis.revision(domain, rev_id)
            if found is None:
                bad[str(rev_id)] = {"revid": rev_id, "missing": True}
                continue
            head = {name: found[name] for name in ("pageid", "ns", "title")}
            page = pages.setdefault(found["pageid"], head | {"revisions": []})
            page["revisions"].append(_chosen(found["revision"], props, roles, falsified=falsified))
        return ({"badrevids": bad} if bad else {}) | ({"pages": list(pages.values())} if pages else {})


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
        chosen["content"] += "\n(another text)"
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


def _faulty(fault: ApiFault, domain: str) -> web.Response:
    if fault.kind == "html":
        return web.Response(body=HTML, headers={"Content-Type": "text/html; charset=utf-8"})
    if fault.kind == "maxlag":
        lagged = Refused("maxlag", "Waiting for db1: 7.2 seconds lagged.", host="db1", lag=7.2, type="db")
        return _error(lagged, domain, Retry_After=fault.retry_after or "5", X_Database_Lag="7")
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return web.Response(status=fault.status, text=f"{fault.status}\n", headers=headers)

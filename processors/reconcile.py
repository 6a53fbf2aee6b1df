"""Completeness: what the content API lists as recent changes, held against what the log has. Pure.

The source promises nothing about events that MediaWiki failed to send (its own producers reconcile daily, too). What is
missing is made into a page_change event from the row of the API, marked as such, so that the line treats it like any
other. It says less than the real one: no groups of its editor, no slots, no declared revert.

Source: MediaWiki 1.43, action=query, list=recentchanges, formatversion=2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from processors.digest import sha1_base36_from_hex
from schemas.event import PAGE_CHANGE, milliseconds, rfc3339

# Of recent changes these put a revision before readers. A page_change of 1.2 is what the row can fill.
TYPES = {"edit": "edit", "new": "create"}
SCHEMA = "/mediawiki/page/change/1.2.0"


class InvalidRow(ValueError):
    """A row of the API that makes no event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A revision that the API lists. at_ms: when it was made. row: all that the API says."""

    wiki: str
    domain: str
    page_id: int
    rev_id: int
    at_ms: int
    row: Mapping[str, Any]


def listed(row: Mapping[str, Any], wiki: str, domain: str) -> Listed | None:
    """A row of `list=recentchanges`; None for what puts no revision before readers. Raises `InvalidRow`."""
    if row.get("type") not in TYPES:
        return None
    try:
        return Listed(
            wiki=wiki,
            domain=domain,
            page_id=int(row["pageid"]),
            rev_id=int(row["revid"]),
            at_ms=milliseconds(row["timestamp"]),
            row=row,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidRow(f"a recent change of {wiki} without a place: {exc!r}") from exc


def event_of(change: Listed, now_ms: int) -> bytes:
    """A page_change event for a revision that the source never sent.

    now_ms: when it was found missing; this is its `meta.dt`, so that its hold begins when it could be heard of. Its id
    follows from wiki and revision: found missing twice, it is written once. Raises `InvalidRow`.
    """
    row = change.row
    try:
        return orjson.dumps(_event(change, row, now_ms))
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidRow(f"{change.wiki} {change.rev_id}: {exc!r}") from exc


def _event(change: Listed, row: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    at = rfc3339(change.at_ms)
    digest = hashlib.sha256(f"{change.wiki} {change.rev_id}".encode()).hexdigest()
    revision: dict[str, Any] = {
        "rev_id": change.rev_id,
        "rev_dt": at,
        "rev_parent_id": int(row.get("old_revid") or 0),
        "is_minor_edit": bool(row.get("minor", False)),
        "is_content_visible": "sha1hidden" not in row,
        "is_editor_visible": "userhidden" not in row,
        "is_comment_visible": "commenthidden" not in row,
        # Without a SHA-1: the row's is that of all slots together.
        "content_slots": {"main": {"slot_role": "main"}},
    }
    if row.get("sha1"):
        revision["rev_sha1"] = sha1_base36_from_hex(str(row["sha1"]))
    if isinstance(row.get("newlen"), int):
        revision["rev_size"] = row["newlen"]
    if "comment" in row:
        revision["comment"] = str(row["comment"])
    editor = _editor(row)
    return {
        "$schema": SCHEMA,
        "meta": {
            "id": f"reconciled-{digest[:32]}",
            "stream": PAGE_CHANGE,
            "domain": change.domain,
            "dt": rfc3339(now_ms),
        },
        "page_change_kind": TYPES[row["type"]],
        "dt": at,
        "wiki_id": change.wiki,
        "page": {
            "page_id": change.page_id,
            "page_title": str(row["title"]).replace(" ", "_"),
            "namespace_id": int(row["ns"]),
            "is_redirect": bool(row.get("redirect", False)),
        },
        "revision": revision | ({"editor": editor} if editor else {}),
        "performer": editor,
        "reconciled": True,
    }


def _editor(row: Mapping[str, Any]) -> dict[str, Any]:
    if "user" not in row:
        return {}
    editor: dict[str, Any] = {
        "user_text": str(row["user"]),
        "groups": [],
        "is_bot": bool(row.get("bot", False)),
        "is_temp": bool(row.get("temp", False)),
    }
    return editor | ({"user_id": int(row["userid"])} if row.get("userid") else {})

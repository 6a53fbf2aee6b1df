"""`list=recentchanges` of the simulated wikis: rows, the fields that are asked for, and what the next request brings.

Source: MediaWiki 1.43, action=query&list=recentchanges, formatversion=2, not logged in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.event import milliseconds
from streams.wiki_pages import Recent, seconds
from streams.wiki_refused import Refused

DEFAULT_LIMIT, MAX_LIMIT = 10, 500
# `rcprop` → what it brings, beside `type`.
FIELDS = {
    "title": ("ns", "title"),
    "ids": ("pageid", "revid", "old_revid", "rcid"),
    "user": ("user", "temp", "anon", "userhidden"),
    "comment": ("comment", "commenthidden"),
    "timestamp": ("timestamp",),
    "sizes": ("oldlen", "newlen"),
    "flags": ("bot", "new", "minor"),
    "sha1": ("sha1", "sha1hidden"),
    "tags": ("tags",),
    "loginfo": ("logtype", "logaction", "logparams"),
}


def row(recent: Recent) -> dict[str, Any] | None:
    """One row with all its fields, as of now; None where its page is gone."""
    head = {"ns": recent.namespace, "title": recent.title, "rcid": recent.rc_id, "timestamp": seconds(recent.at_ms)}
    if recent.log is not None:
        kind, action, params = recent.log
        logged = {"type": "log", "pageid": 0, "revid": 0, "old_revid": 0, "user": recent.user}
        return {
            **logged, **head, "comment": recent.comment, "tags": [],
            "logtype": kind, "logaction": action, "logparams": params,
        }  # fmt: skip
    revision = recent.revision
    if revision is None or revision.page.is_deleted:
        return None
    parent, visible = revision.parent, revision.visible
    author = {name: value for name, value in revision.author().items() if name != "userid"}
    return {
        "type": "edit" if revision.parent_id else "new",
        **head,
        "pageid": revision.page.page_id,
        "revid": revision.rev_id,
        "old_revid": revision.parent_id,
        **author,
        "bot": bool(revision.editor["is_bot"]),
        "new": not revision.parent_id,
        "minor": revision.is_minor,
        "oldlen": 0 if parent is None else parent.size_bytes,
        "newlen": revision.size_bytes,
        **({"comment": revision.comment} if visible["comment"] else {"commenthidden": True}),
        **({"sha1": revision.digest} if visible["text"] else {"sha1hidden": True}),
        "tags": list(revision.tags),
    }


def recent_changes(rows: Sequence[Mapping[str, Any]], given: Mapping[str, str]) -> dict[str, Any]:
    """The whole answer. rows: newest first. Raises `Refused`."""
    limit = _limit(given.get("rclimit", ""))
    names = {name for prop in given.get("rcprop", "title|timestamp|ids").split("|") for name in FIELDS.get(prop, ())}
    kinds = set(given["rctype"].split("|")) if given.get("rctype") else {"edit", "new", "log", "categorize", "external"}
    spaces = set(given["rcnamespace"].split("|")) if given.get("rcnamespace") else None
    chosen = [each for each in rows if each["type"] in kinds and (spaces is None or str(each["ns"]) in spaces)]
    is_newer = given.get("rcdir", "older") == "newer"
    if is_newer:
        chosen.reverse()
    chosen = [each for each in chosen if _within(each, given, is_newer=is_newer)]
    answer: dict[str, Any] = {"batchcomplete": True}
    if len(chosen) > limit:
        after = chosen[limit]
        stamp = str(after["timestamp"]).translate(str.maketrans("", "", "-:TZ"))
        answer = {"continue": {"rccontinue": f"{stamp}|{after['rcid']}", "continue": "-||"}}
    shown = [{name: value for name, value in each.items() if name in names | {"type"}} for each in chosen[:limit]]
    return answer | {"query": {"recentchanges": shown}}


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if text == "max":
        return MAX_LIMIT
    if not text.isascii() or not text.isdigit() or not int(text):
        raise Refused("badinteger", f'Invalid value "{text}" for integer parameter "rclimit".')
    return min(int(text), MAX_LIMIT)


def _within(each: Mapping[str, Any], given: Mapping[str, str], *, is_newer: bool) -> bool:
    """Between `rcstart` and `rcend`, and not before `rccontinue`, in the direction that is asked for."""
    at_ms, sign = milliseconds(each["timestamp"]), 1 if is_newer else -1
    for name, part in (("rcstart", 1), ("rcend", -1)):
        if given.get(name) and sign * part * (at_ms - _time(given[name])) < 0:
            return False
    if given.get("rccontinue"):
        _, bar, rc_id = given["rccontinue"].partition("|")
        if not bar or not rc_id.isdigit():
            raise Refused(
                "badcontinue", "Invalid continue param. You should pass the original value returned by the API"
            )
        return sign * (int(each["rcid"]) - int(rc_id)) >= 0
    return True


def _time(text: str) -> int:
    try:
        return milliseconds(text)
    except ValueError as exc:
        raise Refused("badtimestamp", f'Invalid value "{text}" for timestamp parameter.') from exc

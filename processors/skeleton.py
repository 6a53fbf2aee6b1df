"""What is left of an event once something in it was hidden: ids, hashes, times and flags. Pure.

A skeleton is the event with everything else left out, so that a reader decodes it as ever. Whoever it was is known by a
key alone, which tells whether two edits are by the same one; text, comments and names are gone. What is kept is named
here: a field that the source adds tomorrow is left out until somebody looked at it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from processors.digest import user_key
from processors.hear import Edited, hear
from schemas.event import Event, InvalidEvent, PageChange, RecentChange, VisibilityChange, decode_event, milliseconds

KEPT = frozenset(
    {
        *("$schema", "meta", "id", "stream", "domain", "dt", "topic", "partition", "offset"),
        *("changelog_kind", "page_change_kind", "wiki_id", "database", "wiki", "type", "namespace", "title"),
        *("page", "page_id", "page_title", "page_namespace", "namespace_id", "is_redirect", "page_is_redirect"),
        *("revision", "rev_id", "rev_parent_id", "rev_dt", "rev_timestamp", "rev_size", "rev_len", "rev_sha1"),
        *("rev_minor_edit", "is_minor_edit", "is_content_visible", "is_editor_visible", "is_comment_visible"),
        *("slot_role", "content_model", "content_format", "content_sha1", "content_size", "origin_rev_id"),
        *("revert", "method", "is_exact", "rev_original_id", "rev_reverted_oldest_id", "rev_reverted_newest_id"),
        *("prior_state", "tags", "visibility", "predicted_classification", "model_name", "model_version"),
        *("predictions", "minor", "bot", "patrolled", "timestamp", "log_id", "log_type", "log_action", "new", "old"),
        *("is_bot", "is_temp", "groups", "edit_count", "length"),
    }
)
# What `skeleton` says where the revision itself may be seen; elsewhere it says true.
PRIOR_STATE = "prior_state"
REV_FIELDS = re.compile(rb'"(?:rev_id|rev_parent_id|parent_id|new|old)"\s*:\s*(\d+)')
PAGE_FIELDS = re.compile(rb'"page_id"\s*:\s*(\d+)')
EDITORS = frozenset({"editor", "performer"})
# Their keys are not ours: roles of slots, labels of a model.
MAPPINGS = frozenset({"content_slots", "probabilities"})
MAY_HIDE = re.compile(rb'visible"\s*:\s*false|"visibility"\s*:')
# Flags here, texts elsewhere.
FLAGS = frozenset({"text", "user", "comment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What a hiding concerns: one revision, or the whole page if `rev_id` is None. since_ms: before that the public
    knew nothing of it. cause: id of the event that hides it.
    """

    wiki: str
    page_id: int
    rev_id: int | None
    since_ms: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A revision that is before readers again. since_ms: before that the public knew nothing of it. cause: id of the
    event that shows it; own: whether that says all of the revision itself, as an undeletion does.
    """

    wiki: str
    page_id: int
    rev_id: int
    since_ms: int
    cause: str
    own: bool


def hidden_by(payload: bytes) -> Hidden | None:
    """What an event hides, None if it hides nothing: a suppressed deletion, or a part of a revision made invisible."""
    # Nearly all page changes say that they are visible; to read each a second time would cost a fifth of all work.
    if not MAY_HIDE.search(payload):
        return None
    try:
        event = decode_event(payload)
    except InvalidEvent:
        return None
    if isinstance(event, VisibilityChange):
        flags = event.visibility
        if flags.text and flags.user and flags.comment:
            return None
        return Hidden(
            wiki=event.wiki,
            page_id=event.page_id,
            rev_id=event.rev_id,
            since_ms=_rev_timestamp_ms(payload),
            cause=event.meta.event_id,
        )
    if not isinstance(event, PageChange) or event.all_visible:
        return None
    whole = event.kind == "delete" and event.performer is None
    return Hidden(
        wiki=event.wiki,
        page_id=event.page_id,
        rev_id=None if whole else event.rev_id,
        since_ms=0 if whole else event.rev_ms,
        cause=event.meta.event_id,
    )


def shown_by(payload: bytes) -> Shown | None:
    """What an event that hides nothing puts before readers again; None if nothing."""
    if b"visibility" not in payload and b"undelete" not in payload:
        return None
    try:
        event = decode_event(payload)
    except InvalidEvent:
        return None
    if not isinstance(event, PageChange | VisibilityChange):
        return None
    own = isinstance(event, PageChange)
    if isinstance(event, PageChange) and event.kind not in {"undelete", "visibility_change"}:
        return None
    return Shown(
        wiki=event.wiki,
        page_id=event.page_id,
        rev_id=event.rev_id,
        since_ms=_rev_timestamp_ms(payload),
        cause=event.meta.event_id,
        own=own,
    )


def concerns(key: bytes, payload: bytes, hidden: Mapping[tuple[str, int], set[int | None]]) -> bool:
    """Whether an event of the log repeats something hidden: is about a hidden revision, or came right after one.

    key: `wiki:page:rev:event id`. hidden: (wiki, page) → revisions, None for all of them.
    """
    wiki, page, rev, _ = key.decode().split(":", 3)
    if not page:
        # A recent change names no page.
        revs = {each for (of, _), found in hidden.items() if of == wiki for each in found}
        return bool(rev) and int(rev) in revs
    revs = hidden.get((wiki, int(page)), set())
    if not revs:
        return False
    return None in revs or int(rev) in revs or prior_rev_id(payload) in revs


def skeleton(payload: bytes, hidden: set[int | None]) -> bytes:
    """What may stay of an event. Where only its prior state was hidden, that alone is reduced.

    hidden: the revisions of its page; None for all of them.
    """
    doc = orjson.loads(payload)
    wiki = str(doc.get("wiki_id") or doc.get("database") or doc.get("wiki") or "")
    event = decode_event(payload)
    if None in hidden or _rev_id(event) in hidden:
        reduced = _reduced(doc, wiki) | {"skeleton": True}
        heard = hear(payload)
        if isinstance(heard, Edited) and heard.user is not None:
            # What a policy may ask about the editor, without what it follows from.
            reduced["revision"]["editor"]["class"] = heard.editor_class
        return orjson.dumps(reduced)
    prior = {"prior_state": _reduced(doc["prior_state"], wiki), "skeleton": doc.get("skeleton", PRIOR_STATE)}
    return orjson.dumps(doc | prior)


def shown_again(bare: bytes, cause: str) -> bytes:
    """The skeleton of a revision that `cause` put before readers again: it stays bare, but it may be asked for."""
    return orjson.dumps(orjson.loads(bare) | {"shown": cause, "skeleton": PRIOR_STATE})


def as_shown(payload: bytes) -> bytes:
    """The event by which a revision is asked for: of one that was shown again what is left of it, by the name of the
    event that showed it, as it is decided about by that name. Of any other the same bytes.
    """
    if b'"shown":' not in payload:
        return payload
    doc = orjson.loads(payload)
    if "skeleton" not in doc or (cause := doc.pop("shown", None)) is None:
        return payload
    visible = dict.fromkeys(("is_content_visible", "is_editor_visible", "is_comment_visible"), True)
    return orjson.dumps(doc | {"meta": doc["meta"] | {"id": cause}, "revision": doc["revision"] | visible})


def stays(payload: bytes) -> bool:
    """Whether the skeleton is of a revision that the public may see: only what was before it was hidden, or it is shown
    again.
    """
    return bool(orjson.loads(payload).get("skeleton") == PRIOR_STATE)


def mentions(payload: bytes, hidden: Mapping[tuple[str, int], set[int | None]]) -> bool:
    """Whether a dead letter may repeat something hidden: it names a wiki and, by whatever field, a hidden revision or
    page of it. Nobody could read the letter, so its bytes are searched; rather one too many than one too few.
    """
    for (wiki, page_id), revs in hidden.items():
        if b'"%b"' % wiki.encode() not in payload:
            continue
        numbers = {int(found) for found in REV_FIELDS.findall(payload)}
        pages = {int(found) for found in PAGE_FIELDS.findall(payload)} if None in revs else set()
        if page_id in pages or not numbers.isdisjoint(revs):
            return True
    return False


def _rev_id(event: Event) -> int | None:
    return None if isinstance(event, RecentChange) and event.rev_id is None else getattr(event, "rev_id", None)


def prior_rev_id(payload: bytes) -> int | None:
    """The revision that a page change has as its prior state."""
    if b"prior_state" not in payload:
        return None
    try:
        event = decode_event(payload)
    except InvalidEvent:
        return None
    return event.prior_rev_id if isinstance(event, PageChange) else None


def _rev_timestamp_ms(payload: bytes) -> int:
    """When the revision was made that a visibility change is about; 0 where it does not say."""
    try:
        return milliseconds(orjson.loads(payload)["rev_timestamp"])
    except (KeyError, TypeError, ValueError):
        return 0


def _reduced(doc: Mapping[str, Any], wiki: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in doc.items():
        if name in EDITORS:
            # That there is one says something, even where nothing is said of it.
            found[name] = _editor(value, wiki) if value else value
        elif name in MAPPINGS:
            found[name] = {
                label: _reduced(each, wiki) if isinstance(each, dict) else each for label, each in value.items()
            }
        elif name in KEPT or (name in FLAGS and isinstance(value, bool)):
            found[name] = _reduced(value, wiki) if isinstance(value, dict) else value
    return found


def _editor(doc: Mapping[str, Any], wiki: str) -> dict[str, Any]:
    key = doc.get("key") or user_key(wiki, str(doc.get("user_text", "")))
    return {name: value for name, value in doc.items() if name in KEPT} | {"key": key}

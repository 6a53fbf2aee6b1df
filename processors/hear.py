"""What an event says to the gate: its bytes in, one small value out. Pure.

The gate looks at a dozen fields of an event that has a hundred, and at every event there is, so it reads them itself
rather than through `schemas.event`, which is asked only to say what is wrong with an event that cannot be read.

Source: mediawiki/page/change 1.x, revision/tags-change 1.x, revision/visibility-change 1.x, recentchange 1.x (log
actions), page/prediction_classification_change 1.x of the Wikimedia Event Platform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import orjson

from processors.digest import user_key
from schemas.decision import Signal
from schemas.event import (
    EDIT_KINDS,
    PAGE_CHANGE,
    READABLE,
    RECENT_CHANGE,
    TAGS_CHANGE,
    VISIBILITY_CHANGE,
    InvalidEvent,
    decode_event,
    milliseconds,
)
from schemas.reasons import EditorClass, SetAside, SignalKind

# An edit's own time counts unless the public saw it much later (imports, clock skew).
SKEW_MS = 600_000
TRUSTED_GROUPS = frozenset({"sysop", "patroller", "reviewer", "autoreview", "autoreviewer", "autopatrolled", "editor"})
TRUSTED_EDITS, TRUSTED_MS = 500, 90 * 86_400_000
NEW_EDITS = 25
RISK_STREAMS = {
    "mediawiki.page_revert_risk_prediction_change.v1": "revertrisk-language-agnostic",
    "mediawiki.page_revert_risk_multilingual_prediction_change.v1": "revertrisk-multilingual",
    "mediawiki.page_revert_risk_wikidata_prediction_change.v1": "revertrisk-wikidata",
}
TOPIC_STREAM = "mediawiki.page_outlink_topic_prediction_change.v1"
# From which probability a topic counts: where WMF's own consumers put it.
TOPIC_THRESHOLD = 0.5


class Edited(NamedTuple):
    """A revision that an event puts before readers. start_ms: since when the public could see it."""

    wiki: str
    page_id: int
    title: str
    kinds: tuple[str, ...]
    namespace: int
    rev_id: int
    parent_id: int
    event_id: str
    at_ms: int
    rev_ms: int
    start_ms: int
    sha1: str | None
    user: str | None
    editor_class: str
    hidden: bool
    undone: tuple[int, int] | None
    prior: tuple[int, str | None] | None

    @property
    def undelete(self) -> bool:
        return self.kinds[0] == "undelete"


class Told(NamedTuple):
    """A signal about one revision of a page, or about all that is there (rev_id 0). page_id 0: not known, see title.

    shows: the revision is before readers again.
    """

    wiki: str
    page_id: int
    rev_id: int
    signal: Signal
    title: str = ""
    shows: bool = False


class Blocked(NamedTuple):
    """An editor may edit no more.

    waited: it is told for an edit that came after it; those that were there heard it before.
    """

    wiki: str
    user: str
    signal: Signal
    waited: bool = False


class Flagged(NamedTuple):
    """Something about a page as a whole: its topics, or whether it is protected (page_id 0, see title).

    merged_into: the title of the page that revisions of this one were moved to.
    """

    wiki: str
    page_id: int
    title: str
    event_id: str
    at_ms: int
    topics: tuple[str, ...] | None = None
    protected: bool | None = None
    merged_into: str | None = None


Heard = Edited | Told | Blocked | Flagged


def hear(payload: bytes) -> Heard | None:
    """Read one message of the source; None if it says nothing that could change a decision.

    Raises `InvalidEvent`.
    """
    try:
        doc = orjson.loads(payload)
        meta = doc["meta"]
        if meta.get("domain") == "canary":
            return None
        reader, schema = _READERS[meta["stream"]]
        if not doc.get("$schema", schema).startswith(schema):
            _unreadable(payload, "$schema")
        return reader(doc, meta)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as exc:
        if isinstance(exc, InvalidEvent):
            raise
        _unreadable(payload, repr(exc))


def _unreadable(payload: bytes, why: str) -> NoReturn:
    """Says what is wrong with an event better than its reader could. Raises `InvalidEvent`."""
    decode_event(payload)
    raise InvalidEvent(SetAside.WRONG_TYPE, why)


def _page_change(doc: Mapping[str, Any], meta: Mapping[str, Any]) -> Heard | None:
    kind, page, revision = doc["page_change_kind"], doc["page"], doc["revision"]
    wiki, page_id, rev_id, event_id = doc["wiki_id"], page["page_id"], revision["rev_id"], meta["id"]
    if type(page_id) is not int or type(rev_id) is not int or type(wiki) is not str or type(event_id) is not str:
        raise TypeError("wiki, page_id, rev_id or meta.id")
    at_ms = milliseconds(meta["dt"])
    hidden = not (
        revision.get("is_content_visible", True)
        and revision.get("is_editor_visible", True)
        and revision.get("is_comment_visible", True)
    )
    if kind not in EDIT_KINDS:
        return _taken_away(doc, kind, wiki, page_id, rev_id, event_id, at_ms, hidden)
    rev_ms = milliseconds(revision["rev_dt"])
    editor = revision.get("editor") or None
    prior = doc.get("prior_state") or {}
    before = prior.get("revision") or None
    revert = revision.get("revert")
    sha1 = revision.get("rev_sha1")
    if sha1 is not None and type(sha1) is not str:
        raise TypeError("rev_sha1")
    undone = None
    if revert and "rev_reverted_oldest_id" in revert:
        oldest = revert["rev_reverted_oldest_id"]
        undone = (oldest, revert.get("rev_reverted_newest_id", oldest))
    start_ms = rev_ms
    if kind == "undelete" or not -SKEW_MS <= at_ms - rev_ms <= SKEW_MS:
        start_ms = at_ms
    namespace = page["namespace_id"]
    kinds = _KINDS[kind, bool(page.get("is_redirect"))]
    if kind == "move" and namespace == 0 and (prior.get("page") or {}).get("namespace_id", 0) != 0:
        kinds = ("create", *kinds)
    return Edited(
        wiki,
        page_id,
        page["page_title"],
        kinds,
        namespace,
        rev_id,
        revision.get("rev_parent_id") or 0,
        event_id,
        at_ms,
        rev_ms,
        start_ms,
        sha1,
        # A skeleton has a key in the place of the name.
        None if editor is None else editor.get("key") or _user(wiki, editor["user_text"]),
        "unknown" if editor is None else _editor_class(editor, start_ms),
        hidden,
        undone,
        None if before is None or before.get("rev_id") is None else (before["rev_id"], before.get("rev_sha1")),
    )


_KINDS = {
    (kind, redirect): (kind, "redirect") if redirect else (kind,) for kind in EDIT_KINDS for redirect in (False, True)
}


def _taken_away(
    doc: Mapping[str, Any], kind: str, wiki: str, page_id: int, rev_id: int, event_id: str, at_ms: int, hidden: bool
) -> Told | None:
    if kind == "delete":
        revision = doc["revision"]
        shown = any(revision.get(f"is_{part}_visible", True) for part in ("content", "editor", "comment"))
        suppressed = not doc.get("performer") and not shown
        what = SignalKind.HIDE if suppressed else SignalKind.PAGE_DELETE
        return Told(wiki, page_id, 0, Signal(kind=what, event_id=event_id, at_ms=at_ms))
    if kind != "visibility_change":
        raise InvalidEvent(SetAside.UNKNOWN_SCHEMA, f"page_change_kind {kind!r}")
    hide = Signal(kind=SignalKind.HIDE, event_id=event_id, at_ms=at_ms)
    return Told(wiki, page_id, rev_id, hide) if hidden else None


def _tags_change(doc: Mapping[str, Any], meta: Mapping[str, Any]) -> Heard | None:
    if "mw-reverted" not in doc["tags"] or "mw-reverted" in doc["prior_state"]["tags"]:
        return None
    return _about(doc, meta, SignalKind.REVERTED_TAG)


def _visibility_change(doc: Mapping[str, Any], meta: Mapping[str, Any]) -> Heard | None:
    now, before = doc["visibility"], doc["prior_state"]["visibility"]
    if any(before[part] and not now[part] for part in ("text", "user", "comment")):
        return _about(doc, meta, SignalKind.HIDE)
    if all(now[part] for part in ("text", "user", "comment")) and not all(before.values()):
        return _about(doc, meta, SignalKind.HIDE)._replace(shows=True)
    return None


def _about(doc: Mapping[str, Any], meta: Mapping[str, Any], kind: SignalKind) -> Told:
    wiki, page_id, rev_id, event_id = doc["database"], doc["page_id"], doc["rev_id"], meta["id"]
    if type(page_id) is not int or type(rev_id) is not int or type(wiki) is not str or type(event_id) is not str:
        raise TypeError("database, page_id, rev_id or meta.id")
    return Told(wiki, page_id, rev_id, Signal(kind=kind, event_id=event_id, at_ms=milliseconds(meta["dt"])))


def _prediction(doc: Mapping[str, Any], meta: Mapping[str, Any]) -> Heard | None:
    said = doc["predicted_classification"]
    wiki, page_id, rev_id = doc["wiki_id"], doc["page"]["page_id"], doc["revision"]["rev_id"]
    at_ms = milliseconds(meta["dt"])
    if meta["stream"] == TOPIC_STREAM:
        topics = tuple(sorted(t for t, sure in said["probabilities"].items() if sure >= TOPIC_THRESHOLD))
        return Flagged(wiki, page_id, "", meta["id"], at_ms, topics=topics)
    score = float(said["probabilities"]["true"])
    model = f"{said['model_name']}/{said.get('model_version', '')}"
    signal = Signal(kind=SignalKind.RISK, event_id=meta["id"], at_ms=at_ms, model=model, score=score)
    return Told(wiki, page_id, rev_id, signal)


def _recent_change(doc: Mapping[str, Any], meta: Mapping[str, Any]) -> Heard | None:
    if doc["type"] in {"edit", "new"} and doc.get("patrolled") is True:
        # Its editor may patrol, or the edit was; later patrols are log actions.
        return _looked_at(doc, meta, SignalKind.PATROL, int(doc["revision"]["new"]))
    if doc["type"] != "log":
        return None
    kind, action, wiki, title = doc["log_type"], doc["log_action"], doc["wiki"], doc["title"]
    if kind not in _LOGS:
        return None
    params, at_ms, event_id = doc.get("log_params") or {}, milliseconds(meta["dt"]), meta["id"]
    what = _LOGS[kind].get(action)
    if what is None:
        return None
    if kind == "merge":
        return Flagged(wiki, 0, title.replace(" ", "_"), event_id, at_ms, merged_into=params["dest"].replace(" ", "_"))
    if kind == "protect":
        return Flagged(wiki, 0, title.replace(" ", "_"), event_id, at_ms, protected=action != "unprotect")
    if kind == "block":
        signal = Signal(kind=what, event_id=event_id, at_ms=at_ms)
        return Blocked(wiki, _user(wiki, title.partition(":")[2] or title), signal)
    rev_id = _revision(params)
    return _looked_at(doc, meta, what, rev_id) if rev_id else None


def _looked_at(doc: Mapping[str, Any], meta: Mapping[str, Any], kind: SignalKind, rev_id: int) -> Told:
    signal = Signal(kind=kind, event_id=meta["id"], at_ms=milliseconds(meta["dt"]))
    return Told(doc["wiki"], 0, rev_id, signal, doc["title"].replace(" ", "_"))


def _revision(params: Any) -> int:
    """Which revision was looked at; ids were strings once. 0: the log does not say, so that it says nothing to us."""
    said = params[0] if isinstance(params, list) and params else params.get("curid") if isinstance(params, dict) else 0
    return int(said) if isinstance(said, int | str) and str(said).isdecimal() else 0


_LOGS: Mapping[str, Mapping[str, SignalKind]] = {
    "patrol": {"patrol": SignalKind.PATROL},
    "review": {
        "approve": SignalKind.APPROVE,
        "approve-i": SignalKind.APPROVE,
        "unapprove": SignalKind.UNAPPROVE,
    },
    "block": {"block": SignalKind.BLOCK, "reblock": SignalKind.BLOCK},
    "protect": dict.fromkeys(("protect", "modify", "unprotect"), SignalKind.HIDE),  # the kind is not used
    "merge": {"merge": SignalKind.HIDE},
}

_PREDICTION = (_prediction, "/mediawiki/page/prediction_classification_change/1.")
_READERS: Mapping[str, tuple[Callable[[Mapping[str, Any], Mapping[str, Any]], Heard | None], str]] = {
    PAGE_CHANGE: (_page_change, READABLE[PAGE_CHANGE]),
    TAGS_CHANGE: (_tags_change, READABLE[TAGS_CHANGE]),
    VISIBILITY_CHANGE: (_visibility_change, READABLE[VISIBILITY_CHANGE]),
    RECENT_CHANGE: (_recent_change, READABLE[RECENT_CHANGE]),
    TOPIC_STREAM: _PREDICTION,
    **dict.fromkeys(RISK_STREAMS, _PREDICTION),
}


@lru_cache(maxsize=50_000)
def _user(wiki: str, user_text: str) -> str:
    return user_key(wiki, user_text)


def _editor_class(editor: Mapping[str, Any], at_ms: int) -> EditorClass:
    if "class" in editor:
        return EditorClass(editor["class"])
    if editor.get("is_bot"):
        return EditorClass.BOT
    if editor.get("is_temp"):
        return EditorClass.TEMP
    if not editor.get("user_id"):
        return EditorClass.ANON
    if not TRUSTED_GROUPS.isdisjoint(editor.get("groups") or ()):
        return EditorClass.TRUSTED
    edits, since = editor.get("edit_count"), editor.get("registration_dt")
    if edits is not None and edits >= TRUSTED_EDITS and since and at_ms - milliseconds(since) >= TRUSTED_MS:
        return EditorClass.TRUSTED
    return EditorClass.NEW if edits is not None and edits < NEW_EDITS else EditorClass.REGISTERED

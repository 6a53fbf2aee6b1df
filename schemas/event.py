"""The events of the source, as we read them: bytes in, one of six frozen values out.

Unknown fields are ignored: the source adds some about once a month. What cannot be read raises `InvalidEvent`
with a closed reason. Times are Unix milliseconds in UTC.

A *skeleton* (`schemas.skeleton`) is an event of which only ids, hashes, times and flags are left. It is read like any
other: who did it is then known by a key alone (`Editor.key`), and comments are absent.

Source: mediawiki/page/change 1.x, recentchange 1.x, revision/tags-change 1.x, revision/visibility-change 1.x and
page/prediction_classification_change 1.x of the Wikimedia Event Platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from schemas.json_text import as_text
from schemas.reasons import SetAside

PAGE_CHANGE = "mediawiki.page_change.v1"
TAGS_CHANGE = "mediawiki.revision-tags-change"
VISIBILITY_CHANGE = "mediawiki.revision-visibility-change"
RECENT_CHANGE = "mediawiki.recentchange"
RISK_STREAMS = (
    "mediawiki.page_revert_risk_prediction_change.v1",
    "mediawiki.page_revert_risk_multilingual_prediction_change.v1",
    "mediawiki.page_revert_risk_wikidata_prediction_change.v1",
)
TOPIC_PREDICTION = "mediawiki.page_outlink_topic_prediction_change.v1"
PREDICTIONS = (*RISK_STREAMS, TOPIC_PREDICTION)

# Stream → the schema, without its minor version, that we know how to read there.
READABLE = {
    PAGE_CHANGE: "/mediawiki/page/change/1.",
    TAGS_CHANGE: "/mediawiki/revision/tags-change/1.",
    VISIBILITY_CHANGE: "/mediawiki/revision/visibility-change/1.",
    RECENT_CHANGE: "/mediawiki/recentchange/1.",
    **dict.fromkeys(PREDICTIONS, "/mediawiki/page/prediction_classification_change/1."),
}
# Stream → the newest minor version that we know. A newer one is read all the same, and counted as drift.
KNOWN_MINOR = {PAGE_CHANGE: 12, TAGS_CHANGE: 0, VISIBILITY_CHANGE: 0, RECENT_CHANGE: 0} | dict.fromkeys(PREDICTIONS, 3)

# The kinds of page_change that put a revision before readers; delete and visibility_change only take away.
EDIT_KINDS = frozenset({"create", "edit", "move", "undelete"})
PAGE_CHANGE_KINDS = EDIT_KINDS | {"delete", "visibility_change"}


class InvalidEvent(ValueError):
    """A message that no retry can repair; it belongs in the dead-letter topic under `reason`."""

    def __init__(self, reason: SetAside, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Where and when an event was made.

    `topic`, `partition` and `offset` are those of the source's own Kafka; -1 where the server did not say. `domain` is
    "" where the event names none (predictions). `drifts`: its schema has a newer minor version than we know.
    """

    event_id: str
    stream: str
    domain: str
    at_ms: int
    topic: str
    partition: int
    offset: int
    drifts: bool = False

    @property
    def is_canary(self) -> bool:
        return self.domain == "canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """Who did it. All of it can be absent: redacted pages, suppressed users.

    key: stands for the user in a skeleton, where `user_text` is "" (`processors.digest.user_key`); "" elsewhere.
    """

    user_text: str
    user_id: int | None
    is_bot: bool
    is_temp: bool
    groups: tuple[str, ...]
    edit_count: int | None
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """`revision.revert`: the revisions from `oldest_rev_id` to `newest_rev_id` were undone by this edit."""

    method: str
    is_exact: bool
    oldest_rev_id: int
    newest_rev_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One content slot of a revision; `sha1` is base-36, 31 digits."""

    role: str
    model: str
    sha1: str
    size_bytes: int
    origin_rev_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChange:
    """`mediawiki.page_change.v1`. `rev_sha1` is base-36 and absent on hidden text; `parent_id` 0 = none."""

    meta: Meta
    wiki: str
    kind: str
    happened_ms: int
    uri: str
    page_id: int
    title: str
    namespace: int
    is_redirect: bool
    rev_id: int
    parent_id: int
    rev_ms: int
    rev_sha1: str | None
    rev_size: int | None
    is_minor: bool
    comment: str | None
    editor: Editor | None
    performer: Editor | None
    content_visible: bool
    editor_visible: bool
    comment_visible: bool
    slots: tuple[Slot, ...]
    revert: Revert | None
    prior_rev_id: int | None
    prior_rev_sha1: str | None
    prior_title: str | None

    @property
    def all_visible(self) -> bool:
        return self.content_visible and self.editor_visible and self.comment_visible

    @property
    def main(self) -> Slot | None:
        return next((slot for slot in self.slots if slot.role == "main"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsChange:
    """`mediawiki.revision-tags-change`: the revision's tags after and before. Its time is `meta.at_ms`."""

    meta: Meta
    wiki: str
    page_id: int
    rev_id: int
    tags: frozenset[str]
    prior_tags: frozenset[str]

    @property
    def added(self) -> frozenset[str]:
        return self.tags - self.prior_tags


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """What of a revision the public may see."""

    text: bool
    user: bool
    comment: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibilityChange:
    """`mediawiki.revision-visibility-change`, of any revision. `by_oversight`: the performer is withheld too."""

    meta: Meta
    wiki: str
    page_id: int
    rev_id: int
    visibility: Visibility
    prior: Visibility
    by_oversight: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentChange:
    """`mediawiki.recentchange`. It never carries a page id; a log action carries no revision id either.

    patrolled: of an edit, whether it was patrolled when it was made; None where the wiki does not patrol.
    """

    meta: Meta
    wiki: str
    type: str
    title: str
    rev_id: int | None
    log_type: str | None
    log_action: str | None
    patrolled: bool | None = None

    @property
    def is_log(self) -> bool:
        return self.type == "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A model's classification of one revision; `meta.stream` says of which kind. probabilities: label → 0 to 1."""

    meta: Meta
    wiki: str
    page_id: int
    rev_id: int
    model: str
    model_version: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A sign of life of its stream and topic; everything else in it is invented by the source."""

    meta: Meta


Event = PageChange | TagsChange | VisibilityChange | RecentChange | Prediction | Canary


def decode_event(payload: bytes) -> Event:
    """Read one message of the source.

    payload: one JSON object in UTF-8, as found in the `data:` line of an SSE event.
    Raises `InvalidEvent` if it is not JSON, is of a stream or schema we do not know, or lacks a field we need.
    """
    try:
        doc = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise InvalidEvent(SetAside.NOT_JSON, str(exc)) from exc
    if not isinstance(doc, dict):
        raise InvalidEvent(SetAside.WRONG_TYPE, f"a JSON object was expected, not {type(doc).__name__}")
    try:
        return _decode(doc)
    except KeyError as exc:
        raise InvalidEvent(SetAside.MISSING_FIELD, f"no field {exc}") from exc
    except (TypeError, ValueError, AttributeError, OverflowError) as exc:
        if isinstance(exc, InvalidEvent):
            raise
        raise InvalidEvent(SetAside.WRONG_TYPE, str(exc)) from exc


def milliseconds(text: str) -> int:
    """Unix milliseconds of an RFC 3339 time; without a zone it is UTC.

    Raises `ValueError` if it is none.
    """
    # Nearly all end in `:SSZ` or `:SS.mmmZ`, and many share a minute.
    past_ms = _SECONDS_MS.get(text[16:20])
    if past_ms is not None and len(text) == 20:
        return _minute(text[:16]) + past_ms
    past_ms, more_ms = _SECONDS_MS.get(text[16:19]), _THOUSANDTHS_MS.get(text[19:])
    if past_ms is not None and more_ms is not None:
        return _minute(text[:16]) + past_ms + more_ms
    return _milliseconds(text)


_SECONDS_MS = {f":{s:02}{end}": s * 1000 for s in range(60) for end in ("", "Z")}
_THOUSANDTHS_MS = {f".{ms:03}Z": ms for ms in range(1000)}


@lru_cache(maxsize=10_000)
def _minute(text: str) -> int:
    return _milliseconds(text + ":00Z")


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def rfc3339(at_ms: int) -> str:
    """The reverse of `milliseconds`: `2026-11-22T02:23:39.671Z`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decode(doc: dict[str, Any]) -> Event:
    meta = _meta(doc["meta"])
    if meta.is_canary:
        return Canary(meta=meta)
    readable = READABLE.get(meta.stream)
    if readable is None:
        raise InvalidEvent(SetAside.UNKNOWN_SCHEMA, f"stream {meta.stream!r} is none of ours")
    schema = doc.get("$schema")
    if schema is not None:
        if not schema.startswith(readable):
            raise InvalidEvent(SetAside.UNKNOWN_SCHEMA, f"{schema!r} on {meta.stream}; we read {readable}x")
        if _minor(schema, readable) > KNOWN_MINOR[meta.stream]:
            meta = replace(meta, drifts=True)
    if meta.stream == PAGE_CHANGE:
        return _page_change(doc, meta)
    if meta.stream == RECENT_CHANGE:
        return _recent_change(doc, meta)
    if meta.stream == TAGS_CHANGE:
        return TagsChange(
            meta=meta,
            wiki=_text(doc["database"]),
            page_id=_int(doc["page_id"]),
            rev_id=_int(doc["rev_id"]),
            tags=frozenset(_text(tag) for tag in doc["tags"]),
            prior_tags=frozenset(_text(tag) for tag in doc["prior_state"]["tags"]),
        )
    if meta.stream in PREDICTIONS:
        return _prediction(doc, meta)
    return VisibilityChange(
        meta=meta,
        wiki=_text(doc["database"]),
        page_id=_int(doc["page_id"]),
        rev_id=_int(doc["rev_id"]),
        visibility=_visibility(doc["visibility"]),
        prior=_visibility(doc["prior_state"]["visibility"]),
        by_oversight="performer" not in doc,
    )


def _minor(schema: str, readable: str) -> int:
    """The minor version of a schema that begins with `readable`; 0 where it is no number."""
    minor = schema[len(readable) :].partition(".")[0]
    return int(minor) if minor.isascii() and minor.isdigit() else 0


def _meta(meta: Mapping[str, Any]) -> Meta:
    stream = _text(meta["stream"])
    return Meta(
        # A canary of recentchange may have nothing in `meta` but stream, domain and time.
        event_id=_text(meta["id"]) if meta.get("domain") != "canary" else _text(meta.get("id", "")),
        stream=stream,
        # Predictions were recorded without one.
        domain=_text(meta["domain"] if stream not in PREDICTIONS else meta.get("domain", "")),
        at_ms=milliseconds(_text(meta["dt"])),
        topic=_text(meta.get("topic", stream)),
        partition=_int(meta.get("partition", 0)),
        offset=_int(meta.get("offset", -1)),
    )


def _page_change(doc: Mapping[str, Any], meta: Meta) -> PageChange:
    kind = _text(doc["page_change_kind"])
    if kind not in PAGE_CHANGE_KINDS:
        raise InvalidEvent(SetAside.UNKNOWN_SCHEMA, f"page_change_kind {kind!r}")
    page, revision = doc["page"], doc["revision"]
    prior = doc.get("prior_state") or {}
    prior_revision = prior.get("revision") or {}
    revert = revision.get("revert")
    return PageChange(
        meta=meta,
        wiki=_text(doc["wiki_id"]),
        kind=kind,
        happened_ms=milliseconds(_text(doc["dt"])),
        uri=_text(doc["meta"].get("uri", "")),
        page_id=_int(page["page_id"]),
        title=_text(page["page_title"]),
        namespace=_int(page["namespace_id"]),
        is_redirect=_bool(page.get("is_redirect", False)),
        rev_id=_int(revision["rev_id"]),
        parent_id=_int(revision.get("rev_parent_id") or 0),
        rev_ms=milliseconds(_text(revision["rev_dt"])),
        rev_sha1=_optional_text(revision.get("rev_sha1")),
        rev_size=_optional_int(revision.get("rev_size")),
        is_minor=_bool(revision.get("is_minor_edit", False)),
        comment=_optional_text(revision.get("comment")),
        editor=_editor(revision.get("editor")),
        performer=_editor(doc.get("performer")),
        content_visible=_bool(revision.get("is_content_visible", True)),
        editor_visible=_bool(revision.get("is_editor_visible", True)),
        comment_visible=_bool(revision.get("is_comment_visible", True)),
        slots=tuple(_slot(role, slot) for role, slot in sorted((revision.get("content_slots") or {}).items())),
        revert=_revert(revert) if revert and "rev_reverted_oldest_id" in revert else None,
        prior_rev_id=_optional_int(prior_revision.get("rev_id")),
        prior_rev_sha1=_optional_text(prior_revision.get("rev_sha1")),
        prior_title=_optional_text((prior.get("page") or {}).get("page_title")),
    )


def _recent_change(doc: Mapping[str, Any], meta: Meta) -> RecentChange:
    revision = doc.get("revision") or {}
    return RecentChange(
        meta=meta,
        wiki=_text(doc["wiki"]),
        type=_text(doc["type"]),
        title=_text(doc["title"]),
        rev_id=_optional_int(revision.get("new")),
        log_type=_optional_text(doc.get("log_type")),
        log_action=_optional_text(doc.get("log_action")),
        patrolled=_optional_bool(doc.get("patrolled")),
    )


def _prediction(doc: Mapping[str, Any], meta: Meta) -> Prediction:
    found = doc["predicted_classification"]
    return Prediction(
        meta=meta,
        wiki=_text(doc["wiki_id"]),
        page_id=_int(doc["page"]["page_id"]),
        rev_id=_int(doc["revision"]["rev_id"]),
        model=_text(found["model_name"]),
        model_version=_text(found["model_version"]),
        probabilities={_text(label): float(share) for label, share in found["probabilities"].items()},
    )


def _editor(doc: Mapping[str, Any] | None) -> Editor | None:
    """A redacted performer is absent or `{}`."""
    if not doc:
        return None
    return Editor(
        user_text=_text(doc["user_text"]) if "key" not in doc else "",
        user_id=_optional_int(doc.get("user_id")),
        is_bot=_bool(doc.get("is_bot", False)),
        is_temp=_bool(doc.get("is_temp", False)),
        groups=tuple(_text(group) for group in doc.get("groups") or ()),
        edit_count=_optional_int(doc.get("edit_count")),
        key=_text(doc.get("key", "")),
    )


def _revert(doc: Mapping[str, Any]) -> Revert:
    oldest = _int(doc["rev_reverted_oldest_id"])
    return Revert(
        method=_text(doc.get("method", "")),
        is_exact=_bool(doc.get("is_exact", False)),
        oldest_rev_id=oldest,
        newest_rev_id=_int(doc.get("rev_reverted_newest_id", oldest)),
    )


def _slot(role: str, doc: Mapping[str, Any]) -> Slot:
    return Slot(
        role=role,
        model=_text(doc.get("content_model", "unknown")),
        sha1=_text(doc.get("content_sha1", "")),
        size_bytes=_int(doc.get("content_size", 0)),
        origin_rev_id=_optional_int(doc.get("origin_rev_id")),
    )


def _visibility(doc: Mapping[str, Any]) -> Visibility:
    return Visibility(text=_bool(doc["text"]), user=_bool(doc["user"]), comment=_bool(doc["comment"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, not {as_text(value):.60}")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"an integer was expected, not {as_text(value):.60}")
    return value


def _optional_int(value: object) -> int | None:
    return None if value is None else _int(value)


def _optional_bool(value: object) -> bool | None:
    return None if value is None else _bool(value)


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false was expected, not {as_text(value):.60}")
    return value

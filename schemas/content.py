"""`sluice.content.v1`: the text of a revision and of its parent, or a typed answer that there is none.

Key `wiki:page:rev`, so that a repeat or a later, better answer replaces the earlier. Written by fetch, read by enrich.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from schemas.log import InvalidRecord
from schemas.reasons import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotText:
    """The text of a slot beside the main one, as it is stored. sha1: base-36, of the text in UTF-8."""

    role: str
    model: str | None
    sha1: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Html:
    """The page as the wiki rendered it for this revision. text is present exactly if answer is `TEXT`; the answer is
    `SHA1_MISMATCH` where another revision came."""

    answer: Answer
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What the content API answered for one revision.

    text is present exactly if answer is `TEXT`; sha1 is base-36, 31 digits, of the text in UTF-8; where the answer is
    `SHA1_MISMATCH`, of what came instead. tags are the revision's change tags at that moment. A parent is `NOT_ASKED`
    where the revision was not asked for either. slots: those beside the main one, by role.
    """

    rev_id: int
    answer: Answer
    text: str | None = None
    sha1: str | None = None
    model: str | None = None
    tags: tuple[str, ...] = ()
    slots: tuple[SlotText, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One record. event: the page_change event that asked for it, as it came.

    The record holds the event as JSON: decoded again it has the same value, but spaces and escapes may differ.
    parent is absent when the revision has none. source: base URL of the API that was asked; "" where none was. html is
    absent where it is not fetched for this wiki.
    """

    wiki: str
    page_id: int
    rev_id: int
    event: bytes
    revision: Text
    parent: Text | None
    source: str
    html: Html | None = None

    @property
    def key(self) -> bytes:
        return record_key(self.wiki, self.page_id, self.rev_id)


def record_key(wiki: str, page_id: int, rev_id: int) -> bytes:
    """The key of a revision in `content` and `enriched`."""
    return f"{wiki}:{page_id}:{rev_id}".encode()


def encode_content(content: Content) -> bytes:
    """JSON with sorted keys: equal answers give equal bytes."""
    return orjson.dumps(
        {
            "event": orjson.Fragment(content.event),
            "html": None if content.html is None else {"answer": content.html.answer.value, "text": content.html.text},
            "page_id": content.page_id,
            "parent": None if content.parent is None else _encode_text(content.parent),
            "rev_id": content.rev_id,
            "revision": _encode_text(content.revision),
            "source": content.source,
            "wiki": content.wiki,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def decode_content(payload: bytes) -> Content:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        return Content(
            wiki=str(doc["wiki"]),
            page_id=int(doc["page_id"]),
            rev_id=int(doc["rev_id"]),
            event=orjson.dumps(doc["event"]),
            revision=_decode_text(doc["revision"]),
            parent=None if doc["parent"] is None else _decode_text(doc["parent"]),
            source=str(doc["source"]),
            html=_decode_html(doc.get("html")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no content record: {exc!r}") from exc


def _encode_text(text: Text) -> dict[str, object]:
    return {
        "answer": text.answer.value,
        "model": text.model,
        "rev_id": text.rev_id,
        "sha1": text.sha1,
        "slots": [{"model": s.model, "role": s.role, "sha1": s.sha1, "text": s.text} for s in text.slots],
        "tags": sorted(text.tags),
        "text": text.text,
    }


def _decode_text(doc: dict[str, object]) -> Text:
    text, sha1, model, tags = doc["text"], doc["sha1"], doc["model"], doc["tags"]
    if not isinstance(tags, list):
        raise TypeError("tags are no list")
    return Text(
        rev_id=int(str(doc["rev_id"])),
        answer=Answer(str(doc["answer"])),
        text=None if text is None else str(text),
        sha1=None if sha1 is None else str(sha1),
        model=None if model is None else str(model),
        tags=tuple(str(tag) for tag in tags),
        slots=tuple(_decode_slot(slot) for slot in _list(doc.get("slots", []))),
    )


def _decode_slot(doc: Any) -> SlotText:
    model = None if doc["model"] is None else str(doc["model"])
    return SlotText(role=str(doc["role"]), model=model, sha1=str(doc["sha1"]), text=str(doc["text"]))


def _decode_html(doc: Any) -> Html | None:
    if doc is None:
        return None
    return Html(answer=Answer(str(doc["answer"])), text=None if doc["text"] is None else str(doc["text"]))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value

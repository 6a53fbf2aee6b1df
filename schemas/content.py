"""`sluice.content.v1`: the text of a revision and of its parent, or a typed answer that there is none.

Key `wiki:page:rev`, so that a repeat or a later, better answer replaces the earlier. Written by fetch, read by enrich.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from schemas.log import InvalidRecord
from schemas.reasons import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What the content API answered for one revision.

    text is present exactly if answer is `TEXT`; sha1 is base-36, 31 digits, of the text in UTF-8; where the answer is
    `SHA1_MISMATCH`, of what came instead. tags are the revision's change tags at that moment. A parent is `NOT_ASKED`
    where the revision was not asked for either.
    """

    rev_id: int
    answer: Answer
    text: str | None = None
    sha1: str | None = None
    model: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One record. event: the page_change event that asked for it, as it came.

    The record holds the event as JSON: decoded again it has the same value, but spaces and escapes may differ.
    parent is absent when the revision has none. source: base URL of the API that was asked; "" where none was.
    """

    wiki: str
    page_id: int
    rev_id: int
    event: bytes
    revision: Text
    parent: Text | None
    source: str

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
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no content record: {exc!r}") from exc


def _encode_text(text: Text) -> dict[str, object]:
    return {
        "answer": text.answer.value,
        "model": text.model,
        "rev_id": text.rev_id,
        "sha1": text.sha1,
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
    )

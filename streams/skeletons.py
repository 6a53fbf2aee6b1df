"""What stands for what was hidden: skeletons in the log, a proof of each hiding, dead letters without their bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from processors.digest import page_partition
from processors.news import Place
from processors.remembered import Revisions
from processors.route import lenient_meta
from processors.skeleton import Hidden, prior_rev_id, shown_again, skeleton
from schemas.event import EDIT_KINDS, InvalidEvent, PageChange, decode_event
from schemas.log import KIND_ERASURE, KIND_EVENT, KIND_SKELETON
from streams.kafka import Out, header

# Headers that we give a record. `shown`: of a revision that is before readers again, by which event.
OURS = frozenset({"kind", "place", "shown"})

log = logging.getLogger("sluice.erase")


@dataclass(slots=True, kw_only=True)
class Found:
    """What a scan of the log found. topic, partitions: of the log.

    by_key: (partition, key) → the skeleton. revs: (wiki, page, revision) whose texts must go. proofs: (wiki, page), or
    (wiki, -revision) where the page is not known → which records were reduced.
    """

    topic: str
    partitions: int
    by_key: dict[tuple[int, bytes], Out] = field(default_factory=dict)
    revs: set[tuple[str, int, int]] = field(default_factory=set)
    proofs: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)

    def reduce(self, record: Any, kind: bytes | None, revisions: Revisions) -> None:
        """A record that repeats what was hidden of its page: its skeleton, and its place for the proof."""
        wiki, page, rev, _ = record.key.decode().split(":", 3)
        hidden: set[int | None] = revisions[wiki, int(page)] if page else {int(rev)}
        if (value := skeleton_of(record, hidden)) is None:
            return
        if page:
            self.revs.add((wiki, int(page), int(rev)))
        place = place_of(record)
        if value == record.value and kind == KIND_SKELETON:
            # It was erased before; the broker still has the event as well.
            self.by_key.pop((record.partition, record.key), None)
            return
        headers = [(name, each) for name, each in record.headers if name not in OURS]
        self.by_key[record.partition, record.key] = Out(
            topic=self.topic,
            key=record.key,
            value=value,
            partition=record.partition,
            headers=[("kind", KIND_SKELETON), *headers, ("place", place)],
        )
        erased = {"key": record.key.decode(), "offset": int(place.split(b":")[0]), "partition": record.partition}
        self.proofs.setdefault((wiki, int(page) if page else -int(rev)), []).append(erased)

    def reduce_late(self, record: Any, revisions: Revisions) -> None:
        """An event that came after what it repeats was hidden; most are as the source itself reduced them."""
        ((wiki, page_id), revs) = next(iter(revisions.items()))
        _, _, rev, event_id = record.key.decode().split(":", 3)
        self.reduce(record, KIND_EVENT, revisions)
        out = self.by_key.get((record.partition, record.key))
        if out is None or _says_no_more(record.value, out.value):
            self.by_key.pop((record.partition, record.key), None)
            return
        rev_id = int(rev) if int(rev) in revs else prior_rev_id(record.value)
        hidden = Hidden(wiki=wiki, page_id=page_id, rev_id=rev_id, since_ms=0, cause=f"late:{event_id}")
        proof = self.proof(hidden)
        self.by_key[proof.partition or 0, proof.key] = proof

    def proof(self, hidden: Hidden) -> Out:
        """Which records were erased because of one hiding: their places, nothing of what they said."""
        records = [*self.proofs.get((hidden.wiki, hidden.page_id), ())]
        if hidden.rev_id is not None:
            records += self.proofs.get((hidden.wiki, -hidden.rev_id), ())
        doc = {
            "cause": hidden.cause,
            "kind": "erasure",
            "page_id": hidden.page_id,
            "records": records,
            "rev_id": hidden.rev_id,
            "wiki": hidden.wiki,
        }
        return Out(
            topic=self.topic,
            key=f"erasure:{hidden.cause}".encode(),
            value=orjson.dumps(doc, option=orjson.OPT_SORT_KEYS),
            partition=page_partition(hidden.wiki, hidden.page_id, self.partitions),
            headers=[("kind", KIND_ERASURE)],
        )

    def mark_what_was_undeleted(self, undeleted: Mapping[Place, str]) -> None:
        """Its text stands under the event that undeleted it: what stands for an earlier event must not erase that."""
        for at, out in self.by_key.items():
            wiki, page, rev, _ = out.key.decode().split(":", 3)
            cause = undeleted.get((wiki, int(page), int(rev))) if page and rev else None
            if cause is not None:
                self.by_key[at] = out._replace(headers=[*out.headers, ("shown", cause.encode())])


def place_of(record: Any) -> bytes:
    """Where an event stood, and when the broker had it, whatever stands for it by now."""
    return header(record, "place") or b"%d:%d" % (record.offset, record.timestamp)


def skeleton_of(record: Any, hidden: set[int | None]) -> bytes | None:
    """What is left of a record without what was hidden; None (and an error in the logs) if it cannot be told."""
    try:
        return skeleton(record.value, hidden)
    except (InvalidEvent, KeyError, TypeError, AttributeError) as exc:
        log.error("%s/%d cannot be reduced to a skeleton: %r", record.topic, record.offset, exc)  # noqa: TRY400
        return None


def edited(record: Any) -> Place | None:
    """The revision that a record of the log puts before readers; None if it is of another kind."""
    if header(record, "kind") not in {KIND_EVENT, KIND_SKELETON} or record.value is None:
        return None
    try:
        event = decode_event(record.value)
    except InvalidEvent:
        return None
    if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
        return None
    return event.wiki, event.page_id, event.rev_id


def once_more(record: Any, bare: bytes, cause: str) -> Out:
    """The skeleton of an edit once more, for those who ask for texts: its revision is before readers again."""
    headers = [(name, each) for name, each in record.headers if name not in OURS]
    return Out(
        topic=record.topic,
        key=record.key,
        value=shown_again(bare, cause),
        partition=record.partition,
        headers=[("kind", KIND_SKELETON), *headers, ("place", place_of(record)), ("shown", cause.encode())],
    )


def _says_no_more(event: bytes, left: bytes | None) -> bool:
    """Whether a skeleton leaves nothing out but what says nothing: the event was made after the hiding."""
    whole, bare = orjson.loads(event), orjson.loads(left or b"{}")
    bare.pop("skeleton", None)
    return bool(whole == bare)


def without_bytes(letter: Any) -> Out:
    """A dead letter as it may stay: which step, why, where it came from, and which event, so that it is written once.

    What went wrong in words may quote the bytes.
    """
    kept = [(name, value) for name, value in letter.headers if name in {"step", "reason", "origin"}]
    return Out(
        topic=letter.topic,
        key=letter.key,
        value=b"",
        partition=letter.partition,
        headers=[
            *kept,
            ("detail", b"erased: it was hidden at the source"),
            ("erased", _event_id(letter.value).encode()),
        ],
    )


def _event_id(payload: bytes) -> str:
    """Of the event that a dead letter holds, as a message of the source or within a record of content; else ""."""
    meta = lenient_meta(payload)
    if meta is not None:
        return meta.event_id
    try:
        return str(orjson.loads(payload)["event"]["meta"]["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""

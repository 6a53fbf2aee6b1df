"""What the steps write for each other, held against the ledger: only the same again, nothing unheard of or left."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from processors.oracle_facts import Check, Disagreement, Finding, Line, PageKey, Record
from processors.oracle_ledger import Ledger
from processors.oracle_log import Partitioner, proved
from processors.oracle_published import Sent, page_in
from schemas.event import PageChange


def check_repeats(ledger: Ledger, line: Line) -> Finding:
    """C2 within: a key comes again only with the same bytes, or because the API's answer or the event is another.

    A key that was erased is left out: what was hidden may come again before its tombstone does, or without its parent.
    """
    wrong = []
    records = [*line.content, *line.enriched, *line.decisions]
    erased = {(record.topic, record.key) for record in records if record.value is None}
    before: dict[tuple[str, int, bytes], list[Record]] = {}
    for record in records:
        if (record.topic, record.key) in erased:
            continue
        earlier = before.setdefault((record.topic, record.partition, record.key), [])
        other = next((each for each in earlier if not _may_follow(ledger, each, record)), None)
        if other is not None:
            wrong.append(
                Disagreement(
                    check=Check.DUPLICATES,
                    what=f"key {record.key.decode()} comes again on {record.topic}",
                    expected="once" if record in line.decisions else "the same bytes again",
                    came=f"{other.place} and {record.place}",
                    place=record.place,
                    page=page_in(record.key),
                )
            )
        earlier.append(record)
    return Finding(check=Check.DUPLICATES, looked_at=len(records), disagreements=tuple(wrong))


def _may_follow(ledger: Ledger, before: Record, after: Record) -> bool:
    """Whether both may be there under one key; of decisions none may come twice, equal or not."""
    one, other = (_without_tags(orjson.loads(record.value or b"null")) for record in (before, after))
    if "decisions" in other:
        return False
    return _event_id(one) != _event_id(other) or one == other or _answers_changed(ledger, other)


def _without_tags(doc: dict[str, Any]) -> dict[str, Any]:
    """The API's tags grow with time, and the ledger does not say when."""
    for name in ("change", "revision", "parent"):
        if isinstance(doc.get(name), dict):
            doc[name].pop("tags", None)
    return doc


def _event_id(doc: Mapping[str, Any]) -> str:
    if "event" in doc:
        return str(doc["event"]["meta"]["id"])
    return str((doc.get("change") or {}).get("event_id", ""))


def _answers_changed(ledger: Ledger, doc: Mapping[str, Any]) -> bool:
    if "change" in doc:
        domain, parent = doc["change"]["domain"], doc["change"]["revision"]["parent_id"]
    else:
        domain, parent = doc["event"]["meta"]["domain"], doc["event"]["revision"].get("rev_parent_id")
    return any(
        len({(a.answer, a.sha256) for a in ledger.answers.get((domain, rev_id), ())}) > 1
        for rev_id in (doc["rev_id"], parent)
    )


def check_ghosts(ledger: Ledger, line: Line, sent: Sequence[Sent]) -> Finding:
    """C5: what is out names an event of the ledger, with the same page and revision."""
    wrong = []
    named = [(r, orjson.loads(r.value)) for r in line.decisions if r.value is not None]
    named += [(each.record, each.doc) for each in sent if each.doc is not None]
    # Read one by one: together they may be larger than memory.
    texts = ((r, orjson.loads(r.value)) for r in [*line.content, *line.enriched] if r.value is not None)
    looked_at = len(line.source)
    for record, doc in itertools.chain(named, texts):
        looked_at += 1
        for wiki, page_id, rev_id, event_id in _named(record.key, doc):
            offered = ledger.by_id.get(event_id or "")
            event = None if offered is None else offered.event
            right = isinstance(event, PageChange) and (event.wiki, event.page_id, event.rev_id) == (
                wiki,
                page_id,
                rev_id,
            )
            if not right and event_id is not None:
                what = f"{wiki} page {page_id} revision {rev_id}: event {event_id} never said so"
                wrong.append(_ghost(what, record.place, "an event of the ledger", (wiki, page_id), rev_id))
    for record in line.source:
        if record.headers.get("kind") == b"event":
            event_id = record.key.split(b":", 3)[-1].decode()
            offered = ledger.by_id.get(event_id)
            if offered is None:
                wrong.append(_ghost(f"event {event_id} was never offered", record.place, "an event of the ledger"))
            elif record.value is None or not _as_served(ledger, event_id, orjson.loads(record.value)):
                wrong.append(_ghost(f"event {event_id} is not as it was served", record.place, "its bytes unchanged"))
    return Finding(check=Check.GHOSTS, looked_at=looked_at, disagreements=tuple(wrong))


def _as_served(ledger: Ledger, event_id: str, doc: Any) -> bool:
    return any(doc == copy.doc for copy in ledger.copies[event_id])


def _named(key: bytes, doc: Mapping[str, Any]) -> Iterator[tuple[str, int, int, str | None]]:
    """(wiki, page, revision, event id) of everything a record speaks of; a retraction names no event."""
    if "decisions" in doc:
        for d in doc["decisions"]:
            yield d["wiki"], d["page_id"], d["rev_id"], d["event_id"]
    elif "event" in doc:
        yield doc["wiki"], doc["page_id"], doc["rev_id"], doc["event"]["meta"]["id"]
    else:
        wiki, page_id, rev_id = key.decode().split(":")[:3]
        yield wiki, int(page_id), int(rev_id), (doc.get("change") or {}).get("event_id")


def _ghost(
    what: str, place: str, expected: str, page: PageKey | None = None, rev_id: int | None = None
) -> Disagreement:
    return Disagreement(
        check=Check.GHOSTS, what=what, expected=expected, came="this", place=place, page=page, rev_id=rev_id
    )


def check_homes(line: Line, murmur2: Partitioner) -> Finding:
    """C3 needs it: everything about a page lies on the page's own partition, on every topic."""
    topics = [line.content, line.enriched, line.decisions, *line.edits.values(), *line.pages.values()]
    wrong = []
    for record in (record for topic in topics for record in topic):
        wiki, page_id = page_in(record.key)
        home = (murmur2(f"{wiki}:{page_id}".encode()) & 0x7FFFFFFF) % line.partitions
        if record.partition != home:
            wrong.append(
                Disagreement(
                    check=Check.ORDER,
                    what=f"a record of page {wiki}:{page_id} is not on its partition of {record.topic}",
                    expected=f"partition {home}",
                    came=f"partition {record.partition}",
                    place=record.place,
                    page=(wiki, page_id),
                )
            )
    return Finding(check=Check.ORDER, looked_at=0, disagreements=tuple(wrong))


def check_finished(line: Line, edits: Sequence[PageChange]) -> Finding:
    """C8: each revision of the log has its content, each content its parsed record, or a dead letter says why not.

    Of what was hidden since there may be nothing any more, wherever the broker has tidied up.
    """
    erased = proved(line).hidden
    content = {_page_and_rev(r.key) for r in line.content if r.value is not None}
    enriched = {_page_and_rev(r.key) for r in line.enriched if r.value is not None}
    letters = [record.headers.get("erased") or record.value or b"" for record in line.deadletter]
    wrong = []
    for event in edits:
        revision = (event.wiki, event.page_id, event.rev_id)
        if (
            revision in enriched
            or revision in erased
            or any(event.meta.event_id.encode() in letter for letter in letters)
        ):
            continue
        missing = "parsed record" if revision in content else "content"
        wrong.append(
            Disagreement(
                check=Check.RECOVERED,
                what=f"{event.wiki} revision {event.rev_id} never got its {missing}",
                expected=f"a record of event {event.meta.event_id} or a dead letter",
                came="neither",
                page=revision[:2],
                rev_id=event.rev_id,
            )
        )
    return Finding(check=Check.RECOVERED, looked_at=len(edits), disagreements=tuple(wrong))


def _page_and_rev(key: bytes) -> tuple[str, int, int]:
    wiki, page_id, rev_id = key.decode().split(":")
    return wiki, int(page_id), int(rev_id)

"""The line in memory: the steps' own code over a made-up world, without a broker, and the ledger of that world.

What Kafka would keep is kept in lists; what fetch would ask the API is asked of the world, as of the event. So a change
of any step's code shows in what the topics would hold.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from aiokafka.partitioner import murmur2

from processors.answers import announced_parent_sha1, announced_sha1, judge, read_answers
from processors.enrich import enrich
from processors.oracle import Score, score
from processors.oracle_facts import Line, Record
from processors.oracle_ledger import Ledger, read_ledger
from processors.shard import Group, Shard
from schemas.content import Content, Text, encode_content
from schemas.decision import encode_decisions
from schemas.enriched import encode_enriched
from schemas.event import EDIT_KINDS, TAGS_CHANGE, InvalidEvent, PageChange, decode_event, milliseconds, rfc3339
from schemas.log import Policy, Position
from schemas.reasons import Answer
from streams import source
from streams.inbox import Closed, Item, Message, Named, Opened
from streams.kafka import Out
from streams.publish import Publish
from streams.settings import Settings
from streams.source_log import Found
from streams.topics import Topics
from streams.world import TOPICS as UPSTREAM
from streams.world import Announced, World, build_world, canary

AFTER_MS = 20_000
# The content of every fifth revision comes when so many more records of its partition have been read.
SLOW, SLOW_RECORDS = 5, 60
SETTINGS = Settings(
    partitions=3,
    policies=tuple(Policy(name=n, hold_seconds=h) for n, h in {"live": 0, "fast": 3, "careful": 8}.items()),
    grace_seconds=1.0,
    tick_seconds=0.25,
)


@dataclass(frozen=True)
class Served:
    """One message as the source serves it, and how far the world was then."""

    at_ms: int
    topic: str
    offset: int
    data: bytes
    played: int


@dataclass
class Told:
    """A world with its messages, and the ledger's lines about what it did and offered."""

    world: World
    messages: list[Served] = field(default_factory=list)
    ledger: list[bytes] = field(default_factory=list)


@dataclass
class Kept:
    """A record as a consumer gets it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


def dumps(doc: Mapping[str, Any]) -> bytes:
    return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


@cache
def told(random_state: int, seconds: float = 15, rate: float = 6, *, crowded: bool = False) -> Told:
    """Every message of a world in its order, then canaries for a while; and its ledger. crowded: `with_rarities`."""
    world = build_world(random_state, seconds=seconds, rate=rate)
    made = Told(world)
    made.ledger.append(world_line(world, random_state, rate))
    made.ledger += [dumps(line) for line in acts(world)]
    last = world.end_ms + AFTER_MS
    entries = with_rarities(world, crowded=crowded)
    for at_ms in range(world.end_ms + 500, last + 1, 500):
        entries += [(len(world.timeline), canary(topic, at_ms)) for topic in UPSTREAM]
    offsets = dict.fromkeys(UPSTREAM, 0)
    for played, entry in entries:
        if isinstance(entry, Announced):
            offset, offsets[entry.topic] = offsets[entry.topic], offsets[entry.topic] + 1
            event = served_as(entry.event, entry.topic, offset)
            made.messages.append(Served(entry.at_ms, entry.topic, offset, orjson.dumps(event), played))
            made.ledger.append(offered_line(made.messages[-1]))
    return made


def with_rarities(world: World, *, crowded: bool) -> list[tuple[int, Announced | Any]]:
    """The timeline with `mw-reverted` where no text came back, and at times that the world itself does not choose.

    Of good edits: early (before the edit is announced), in time, and 5 ms after it was due under each window. Returns
    (how far the world is then, entry). crowded: also where an edit of the same page waits beside it.
    """
    good = {(t.wiki, t.rev_id) for t in world.truth if t.kind == "good" and t.undone_after_ms is None}
    edits = [
        entry
        for entry in world.timeline
        if isinstance(entry, Announced)
        and entry.event.get("page_change_kind") == "edit"
        and (entry.event["wiki_id"], entry.event["revision"]["rev_id"]) in good
    ]
    if not crowded:
        edits = [entry for entry in edits if alone(entry, world)]
    entries: list[tuple[int, Announced | Any]] = list(enumerate(world.timeline, 1))
    for number, entry in enumerate(edits[::3]):
        saved = milliseconds(entry.event["revision"]["rev_dt"])
        at_ms = (entry.at_ms - 40, saved + 2000, saved + 4005, saved + 9005)[number % 4]
        place = next((n for n, (_, other) in enumerate(entries) if other.at_ms > at_ms), len(entries))
        entries.insert(place, (entries[place - 1][0], tagged(entry, at_ms)))
    return entries


def alone(entry: Announced, world: World) -> bool:
    """Whether no other edit of its page was announced in the ten seconds before it."""
    others = [
        other
        for other in world.timeline
        if isinstance(other, Announced) and other.event.get("page", {}).get("page_id") == entry.event["page"]["page_id"]
    ]
    return not any(0 < entry.at_ms - other.at_ms < 10_000 for other in others)


def tagged(entry: Announced, at_ms: int) -> Announced:
    event, stream = entry.event, TAGS_CHANGE
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{event['wiki_id']} {event['revision']['rev_id']} {at_ms}"))
    meta = dict(event["meta"]) | {"stream": stream, "id": name, "dt": rfc3339(at_ms)}
    doc = {
        "$schema": "/mediawiki/revision/tags-change/1.0.0", "meta": meta, "database": event["wiki_id"],
        "page_id": event["page"]["page_id"], "page_title": event["page"]["page_title"],
        "rev_id": event["revision"]["rev_id"], "tags": ["mw-reverted"], "prior_state": {"tags": []},
    }  # fmt: skip
    return Announced(at_ms=at_ms, topic=f"eqiad.{stream}", event=doc)


def world_line(world: World, random_state: int, rate: float) -> bytes:
    head = {"kind": "world", "version": 1, "random_state": random_state, "rate": rate, "begin_ms": world.begin_ms}
    return dumps(head | {"end_ms": world.end_ms, "wikis": sorted({truth.wiki for truth in world.truth})})


def served_as(event: Mapping[str, Any], topic: str, offset: int) -> dict[str, Any]:
    meta = dict(event["meta"]) | {"topic": topic, "partition": 0, "offset": offset}
    return {**event, "meta": meta}


def offered_line(message: Served) -> bytes:
    line: dict[str, Any] = {
        "kind": "offered",
        "at_ms": message.at_ms,
        "topic": message.topic,
        "offset": message.offset,
    }
    try:
        line["event"] = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        line["bytes_base64"] = base64.b64encode(message.data).decode()
    return dumps(line)


def acts(world: World) -> Iterable[dict[str, Any]]:
    """What the world did, from its truth; an undoing is told at its time."""
    saved = {}
    for entry in world.timeline:
        if isinstance(entry, Announced) and "page_change_kind" in entry.event and "revision" in entry.event:
            event = entry.event
            saved.setdefault((event["wiki_id"], event["revision"]["rev_id"]), event)
    undoes: dict[tuple[str, int], list[int]] = {}
    for truth in world.truth:
        if truth.undone_by is not None:
            undoes.setdefault((truth.wiki, truth.undone_by), []).append(truth.rev_id)
    lines = []
    for truth in world.truth:
        event = saved.get((truth.wiki, truth.rev_id))
        if event is None:
            continue
        at_ms = round(decode_event(orjson.dumps(served_as(event, "eqiad.x", 0))).rev_ms)  # type: ignore[union-attr]
        line = {
            "kind": "did", "at_ms": at_ms, "wiki": truth.wiki, "page_id": event["page"]["page_id"],
            "title": truth.title, "rev_id": truth.rev_id, "parent_id": None, "what": truth.kind, "how": truth.how,
            "undoes": undoes.get((truth.wiki, truth.rev_id), []), "user": None, "sha1": None, "size_bytes": 0,
        }  # fmt: skip
        lines.append(line)
        if truth.how == "deletion" and truth.undone_after_ms is not None:
            gone = {"rev_id": None, "what": "delete", "how": None, "undoes": [truth.rev_id]}
            lines.append(line | gone | {"at_ms": at_ms + truth.undone_after_ms})
    return sorted(lines, key=lambda line: line["at_ms"])


class MemoryLine:
    """All five steps over one world. `reconnects`: the connection ends in the middle, and a minute comes again."""

    def __init__(self, told: Told, settings: Settings = SETTINGS) -> None:
        self.told = told
        self.settings = settings
        self.topics = Topics(settings)
        self.kept: dict[str, list[Kept]] = {row.name: [] for row in self.topics.table()}
        self.ledger = list(told.ledger)
        self._ends: dict[tuple[str, int], int] = {}
        self._contents: dict[str, tuple[bytes, bytes, list[bytes]]] = {}

    def run(self) -> tuple[Ledger, Line]:
        self.hear()
        asyncio.run(self._decide_and_publish())
        return read_ledger(self.ledger), self.line()

    def score(self) -> Score:
        ledger, line = self.run()
        return score(ledger, line, murmur2=murmur2)

    def write(self, outs: Iterable[Out], at_ms: int) -> list[Kept]:
        """One transaction."""
        made = []
        for out in outs:
            partition = out.partition or 0
            offset = self._ends.get((out.topic, partition), 0)
            self._ends[out.topic, partition] = offset + 1
            made.append(Kept(out.topic, partition, offset, out.key, out.value, list(out.headers), at_ms))
            self.kept[out.topic].append(made[-1])
        for key in {(record.topic, record.partition) for record in made}:
            self._ends[key] += 1  # the marker of the transaction
        return made

    def hear(self) -> None:
        """The source step's own batches, a quarter of a second of the world each; in the middle it reconnects."""
        world = self.told.world
        batches = source.Batches(self.settings, Found(tick=None, event_ids=()), world.begin_ms)
        positions = tuple(Position(topic=t, partition=0, next_offset=-1, at_ms=world.begin_ms) for t in UPSTREAM)
        begin: list[Item] = [Opened(at_ms=world.begin_ms), Named(topics=tuple(UPSTREAM), new=positions)]
        items, due = begin, world.begin_ms
        half = len(self.told.messages) // 2
        for number, message in enumerate(self.told.messages):
            if message.at_ms > due:
                self.write(batches.outs(items, [], read_ms=due, all_read=True), due)
                items, due = [], max(due + round(self.settings.tick_seconds * 1000), message.at_ms)
            if number == half:
                again = self.told.messages[half - 200 : half]
                items += [Closed(at_ms=due, reason="ended"), Opened(at_ms=due), *(self._message(m, due) for m in again)]
            items.append(self._message(message, due))
        self.write(batches.outs(items, [], read_ms=due, all_read=True), due)

    def _message(self, served: Served, at_ms: int) -> Message:
        try:
            read = decode_event(served.data)
        except InvalidEvent as exc:
            return Message(data=served.data, at_ms=at_ms, meta=None, read=exc)
        return Message(data=served.data, at_ms=at_ms, meta=read.meta, read=read)

    async def _decide_and_publish(self) -> None:
        publish = Publish(self.settings)
        played = {hashlib.sha256(m.data).digest(): m.played for m in self.told.messages}
        for partition in range(self.settings.partitions):
            shard, publish._pages[partition] = Shard(), {}
            slow: list[tuple[int, tuple[bytes, bytes, bytes]]] = []
            for number, record in enumerate([r for r in self.kept[self.topics.source] if r.partition == partition]):
                content = self._content(record, played)
                if content is not None:
                    is_slow = int(content[0].split(b":")[2]) % SLOW == 0
                    slow.append((number + SLOW_RECORDS * is_slow, content))
                come = [content for due, content in slow if due <= number]
                slow = [each for each in slow if each[0] > number]
                await self._publish(publish, partition, self._fetched(partition, come, record.timestamp))
                groups = shard.apply(dict(record.headers)["kind"], record.value or b"")
                decided = self.write([self._decisions(partition, group) for group in groups], record.timestamp)
                await self._publish(publish, partition, decided)
            await self._publish(publish, partition, self._fetched(partition, [content for _, content in slow], 0))

    def _decisions(self, partition: int, group: Group) -> Out:
        value = encode_decisions(group.decisions)
        return Out(topic=self.topics.decisions, key=group.key, value=value, partition=partition)

    async def _publish(self, publish: Publish, partition: int, records: list[Kept]) -> None:
        for record in records:
            self.write(await publish.work(partition, [record]), record.timestamp)

    def _fetched(self, partition: int, contents: list[tuple[bytes, bytes, bytes]], at_ms: int) -> list[Kept]:
        made = []
        for key, content, enriched in contents:
            self.write([Out(topic=self.topics.content, key=key, value=content, partition=partition)], at_ms)
            made += self.write([Out(topic=self.topics.enriched, key=key, value=enriched, partition=partition)], at_ms)
        return made

    def _content(self, record: Kept, played: Mapping[bytes, int]) -> tuple[bytes, bytes, bytes] | None:
        if dict(record.headers)["kind"] != b"event" or record.value is None:
            return None
        event = decode_event(record.value)
        if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
            return None
        self.told.world.played = played.get(hashlib.sha256(record.value).digest(), 0)
        content = self._fetch(event, record.value)
        return content.key, encode_content(content), _enriched(encode_content(content), content)

    def _fetch(self, event: PageChange, data: bytes) -> Content:
        revision = self._ask(event.meta.domain, event.rev_id, lambda found: announced_sha1(event))
        parent = None
        if event.parent_id:
            parent = self._ask(event.meta.domain, event.parent_id, lambda found: announced_parent_sha1(event, found))
        return Content(
            wiki=event.wiki, page_id=event.page_id, rev_id=event.rev_id, event=data,
            revision=revision, parent=parent, source=f"https://{event.meta.domain}/w/api.php",
        )  # fmt: skip

    def _ask(self, domain: str, rev_id: int, announced: Callable[[Any], str | None]) -> Text:
        answer = self.told.world.revision(domain, rev_id)
        line: dict[str, Any] = {"kind": "served", "at_ms": 0, "domain": domain, "rev_id": rev_id, "size_bytes": None}
        if answer is None:
            self.ledger.append(dumps(line | {"answer": "missing", "sha256": None}))
            return Text(rev_id=rev_id, answer=Answer.MISSING)
        page = {key: value for key, value in answer.items() if key != "revision"} | {"revisions": [answer["revision"]]}
        found = read_answers(orjson.dumps({"query": {"pages": [page]}}), [rev_id]).found[rev_id]
        sha256 = None if found.text is None else hashlib.sha256(found.text.encode()).hexdigest()
        self.ledger.append(dumps(line | {"answer": "hidden" if found.hidden else "text", "sha256": sha256}))
        return judge(found, announced(found))

    def line(self) -> Line:
        topics = self.topics

        def records(topic: str) -> list[Record]:
            return [
                Record(
                    topic=r.topic, partition=r.partition, offset=r.offset, key=r.key, value=r.value,
                    headers=dict(r.headers), at_ms=r.timestamp,
                )
                for r in self.kept[topic]
            ]  # fmt: skip

        return Line(
            partitions=self.settings.partitions,
            source=records(topics.source),
            content=records(topics.content),
            enriched=records(topics.enriched),
            decisions=records(topics.decisions),
            deadletter=records(topics.deadletter),
            edits={policy: records(topics.edits(policy)) for policy in topics.policies},
            pages={policy: records(topics.pages(policy)) for policy in topics.policies},
        )


_ENRICHED: dict[bytes, bytes] = {}


def _enriched(encoded: bytes, content: Content) -> bytes:
    """Parsing is the slow part, and nobody breaks it here: once per content."""
    name = hashlib.sha256(encoded).digest()
    if name not in _ENRICHED:
        _ENRICHED[name] = encode_enriched(enrich(content))
    return _ENRICHED[name]

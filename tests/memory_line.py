"""The line in memory: the steps' own code over a made-up world, without a broker, and the ledger of that world.

What Kafka would keep is kept in lists; what fetch would ask the API is asked of the world, as of the event. So a change
of any step's code shows in what the topics would hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from aiokafka.partitioner import murmur2

from processors.answers import announced_parent_sha1, announced_sha1, judge, read_answers
from processors.enrich import enrich
from processors.group import Group
from processors.oracle import Score, score
from processors.oracle_facts import Line, Record
from processors.oracle_ledger import Ledger, read_ledger
from processors.route import event_id_of_key
from processors.shard import Shard
from schemas.content import Content, Text, encode_content
from schemas.enriched import encode_enriched
from schemas.event import (
    EDIT_KINDS,
    READABLE,
    TAGS_CHANGE,
    InvalidEvent,
    PageChange,
    decode_event,
    milliseconds,
    rfc3339,
)
from schemas.log import Policies, Policy, Position, decode_tick, encode_policies
from schemas.reasons import Answer
from streams import ledger as writer
from streams.inbox import Closed, Item, Message, Named, Opened
from streams.kafka import Out
from streams.publish import Publish
from streams.settings import Settings
from streams.source_batches import Batches
from streams.source_log import Found
from streams.topics import Topics
from streams.wiki_events import TOPICS, canary
from streams.world import build_world
from streams.world_scene import Announced

AFTER_MS = 11_000
# The upstream topics that the source asks for.
HEARD = tuple(topic for topic in TOPICS if topic.partition(".")[2] in READABLE)
# The content of every fifth revision comes when so many more records of its partition have been read.
SLOW, SLOW_RECORDS = 5, 60
SETTINGS = Settings(
    partitions=3,
    policies=tuple(Policy(name=n, hold_seconds=h) for n, h in {"live": 0, "fast": 3, "careful": 8}.items()),
    grace_seconds=1.0,
    tick_seconds=0.25,
    recentchange="all",
)


@dataclass(frozen=True)
class Served:
    """One message as the source serves it."""

    at_ms: int
    topic: str
    offset: int
    data: bytes


@dataclass
class Told:
    """A world's messages, what its API says of each edit as it is announced, and the ledger of all that."""

    begin_ms: int
    messages: list[Served] = field(default_factory=list)
    contents: dict[str, Content] = field(default_factory=dict)
    ledger: bytes = b""


@dataclass(frozen=True)
class ControlRecord:
    """A record of `sluice.control.v1`."""

    value: bytes
    key: bytes = b"policies"
    offset: int = 0


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


@cache
def told(random_state: int, seconds: float = 15, rate: float = 6, *, crowded: bool = False) -> Told:
    """Every message of a world in its order, and canaries for a while. crowded: see `rarities`."""
    plain = Telling(random_state, seconds, rate)
    plain.run([])
    rare = Telling(random_state, seconds, rate)
    rare.run(rarities(plain, crowded=crowded))
    return rare.told


class Telling:
    """Lets a world happen once, and writes down what it says."""

    def __init__(self, random_state: int, seconds: float, rate: float) -> None:
        self.world = build_world(random_state, seconds=seconds, rate=rate, tail_seconds=8)
        self.told = Told(self.world.begin_ms)
        self._file = io.BytesIO()
        self._ledger = writer.Ledger(self._file)
        self._offsets = dict.fromkeys(TOPICS, 0)

    def run(self, more: list[Announced]) -> None:
        """more: what is said beside what the world says."""
        world = self.world
        self._ledger.world(
            random_state=world.random_state, begin_ms=world.begin_ms, end_ms=world.end_ms, rate=world.rate,
            time_scale=world.time_scale, wikis=world.wikis,
        )  # fmt: skip
        more = sorted(more, key=lambda entry: entry.at_ms)
        while (at_ms := world.next_ms()) is not None:
            while more and more[0].at_ms <= at_ms:
                self._say(more.pop(0))
            for entry in world.step():
                if isinstance(entry, Announced):
                    self._say(entry)
                else:
                    self._ledger.did(entry)
        for at_ms in range(world.end_ms + 500, world.end_ms + AFTER_MS, 500):
            for topic in TOPICS:
                self._say(Announced(at_ms=at_ms, topic=topic, event=canary(topic, at_ms)))
        self.told.ledger = self._file.getvalue()

    def _say(self, entry: Announced) -> None:
        if entry.topic not in HEARD:
            return
        offset = self._offsets[entry.topic]
        self._offsets[entry.topic] += 1
        meta = dict(entry.event["meta"]) | {"topic": entry.topic, "partition": 0, "offset": offset}
        message = Served(entry.at_ms, entry.topic, offset, orjson.dumps({**entry.event, "meta": meta}))
        self.told.messages.append(message)
        self._ledger.offered(message.at_ms, message.topic, message.offset, message.data)
        event = decode_event(message.data)
        if isinstance(event, PageChange) and event.kind in EDIT_KINDS:
            self.told.contents.setdefault(event.meta.event_id, self._fetch(event, message.data))

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
        answer = self.world.revision(domain, rev_id)
        if answer is None:
            self._ledger.served(self.world.now_ms, domain, rev_id, "missing", None, "wikitext")
            return Text(rev_id=rev_id, answer=Answer.MISSING)
        page = {key: value for key, value in answer.items() if key != "revision"} | {"revisions": [answer["revision"]]}
        found = read_answers(orjson.dumps({"query": {"pages": [page]}}), [rev_id]).found[rev_id]
        said = "hidden" if found.hidden else "text"
        self._ledger.served(self.world.now_ms, domain, rev_id, said, found.text, "wikitext")
        return judge(found, announced(found))


def rarities(telling: Telling, *, crowded: bool) -> list[Announced]:
    """`mw-reverted` where no text came back, and at times that the world itself does not choose.

    Of good edits: early (before the edit is announced), in time, and 5 ms after it was due under each window.
    crowded: also where another edit of the same page waits beside it.
    """
    good = {(t.wiki, t.rev_id) for t in telling.world.truth if t.kind == "good" and t.undone_after_ms is None}
    said = [(message, orjson.loads(message.data)) for message in telling.told.messages]
    edits = [(m, doc) for m, doc in said if doc.get("page_change_kind") == "edit" and doc["wiki_id"] != "canarywiki"]
    times: dict[tuple[str, int], list[int]] = {}
    for message, doc in edits:
        times.setdefault((doc["wiki_id"], doc["page"]["page_id"]), []).append(message.at_ms)
    made: list[Announced] = []
    for message, doc in edits:
        around = times[doc["wiki_id"], doc["page"]["page_id"]]
        alone = not any(0 < message.at_ms - other < 10_000 for other in around)
        if (doc["wiki_id"], doc["revision"]["rev_id"]) in good and (alone or crowded):
            saved = milliseconds(doc["revision"]["rev_dt"])
            at_ms = (message.at_ms - 40, saved + 2000, saved + 4005, saved + 9005)[len(made) % 4]
            made.append(tagged(doc, at_ms))
    return made


def tagged(event: Mapping[str, Any], at_ms: int) -> Announced:
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{event['wiki_id']} {event['revision']['rev_id']} {at_ms}"))
    meta = dict(event["meta"]) | {"stream": TAGS_CHANGE, "id": name, "dt": rfc3339(at_ms)}
    doc = {
        "$schema": "/mediawiki/revision/tags-change/1.0.0", "meta": meta, "database": event["wiki_id"],
        "page_id": event["page"]["page_id"], "page_title": event["page"]["page_title"],
        "rev_id": event["revision"]["rev_id"], "tags": ["mw-reverted"], "prior_state": {"tags": []},
    }  # fmt: skip
    return Announced(at_ms=at_ms, topic=f"eqiad.{TAGS_CHANGE}", event=doc)


class MemoryLine:
    """All five steps over one world.

    In the middle the connection ends, and much comes again; later the source is killed and started anew. later: other
    policies, which come into force in the middle.
    """

    def __init__(self, told: Told, settings: Settings = SETTINGS, *, later: Policies | None = None) -> None:
        self.told = told
        self.settings = settings
        self._later = later
        self.topics = Topics(settings)
        self.kept: dict[str, list[Kept]] = {row.name: [] for row in self.topics.table()}
        self._ends: dict[tuple[str, int], int] = {}

    def run(self) -> tuple[Ledger, Line]:
        self.hear()
        asyncio.run(self._decide_and_publish())
        return read_ledger(io.BytesIO(self.told.ledger)), self.line()

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
        due = self.told.begin_ms
        batches = Batches(self.settings, Found(tick=None, event_ids={}), due)
        positions = tuple(Position(topic=topic, partition=0, next_offset=-1, at_ms=due) for topic in HEARD)
        items: list[Item] = [Opened(at_ms=due), Named(topics=tuple(HEARD), new=positions)]
        half, late = len(self.told.messages) // 2, len(self.told.messages) * 3 // 4
        for number, message in enumerate(self.told.messages):
            if message.at_ms > due:
                control = [ControlRecord(encode_policies(self._later))] if self._later and number > half else []
                self._later = None if control else self._later
                self.write(batches.outs(items, control, read_ms=due, all_read=True), due)
                items, due = [], max(due + round(self.settings.tick_seconds * 1000), message.at_ms)
            if number == half:
                again = self.told.messages[half - 200 : half]
                items += [Closed(at_ms=due, reason="ended"), Opened(at_ms=due), *(self._message(m, due) for m in again)]
            if number == late:
                # What came since the last tick is lost with the process, and comes again by the cursor.
                batches, behind = self._started_anew(due)
                items = [Opened(at_ms=due), *(self._message(m, due) for m in self.told.messages[:late] if behind(m))]
            items.append(self._message(message, due))
        self.write(batches.outs(items, [], read_ms=due, all_read=True), due)

    def _started_anew(self, at_ms: int) -> tuple[Batches, Callable[[Served], bool]]:
        records = self.kept[self.topics.source]
        tick = decode_tick(next(r.value or b"" for r in reversed(records) if r.key.startswith(b"tick:")))
        ids: dict[str, list[str]] = {}
        for headers, key in ((dict(r.headers), r.key) for r in records):
            if headers["kind"] == b"event":
                ids.setdefault(headers["stream"].decode(), []).append(event_id_of_key(key))
        ends = {position.topic: position.next_offset for position in tick.cursor}
        batches = Batches(self.settings, Found(tick=tick, event_ids=ids), at_ms)
        return batches, lambda message: message.offset >= ends[message.topic]

    def _message(self, served: Served, at_ms: int) -> Message:
        try:
            read = decode_event(served.data)
        except InvalidEvent as exc:
            return Message(data=served.data, at_ms=at_ms, meta=None, read=exc)
        return Message(data=served.data, at_ms=at_ms, meta=read.meta, read=read)

    async def _decide_and_publish(self) -> None:
        publish = Publish(self.settings)
        for partition in range(self.settings.partitions):
            shard, publish._pages[partition] = Shard(), {}
            slow: list[tuple[int, tuple[bytes, bytes, bytes]]] = []
            for number, record in enumerate([r for r in self.kept[self.topics.source] if r.partition == partition]):
                content = self._content(record)
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
        return Out(topic=self.topics.decisions, key=group.key, value=group.value, partition=partition)

    async def _publish(self, publish: Publish, partition: int, records: list[Kept]) -> None:
        for record in records:
            self.write(await publish.work(partition, [record]), record.timestamp)

    def _fetched(self, partition: int, contents: list[tuple[bytes, bytes, bytes]], at_ms: int) -> list[Kept]:
        made = []
        for key, content, enriched in contents:
            self.write([Out(topic=self.topics.content, key=key, value=content, partition=partition)], at_ms)
            made += self.write([Out(topic=self.topics.enriched, key=key, value=enriched, partition=partition)], at_ms)
        return made

    def _content(self, record: Kept) -> tuple[bytes, bytes, bytes] | None:
        if dict(record.headers)["kind"] != b"event" or record.value is None:
            return None
        event = decode_event(record.value)
        if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
            return None
        content = self.told.contents[event.meta.event_id]
        return content.key, encode_content(content), _enriched(encode_content(content), content)

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


def objections(found: Score) -> list[str]:
    """What the oracle objects to."""
    return [f"{d.check}: {d.what}; {d.came}" for d in found.disagreements]

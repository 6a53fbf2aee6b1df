"""The publish step: joins decisions and content and writes what partners read, through the exactly-once loop.

Reads `decisions` and `enriched`; writes the edits and pages of each policy, `publish-state`, `quality` and the offsets
in one transaction. What waits is an offset into `enriched`; the record is read again when it goes out.

What was hidden at the source goes from here as well, when `enriched` says so: a tombstone there erases what was
released of the revision under its own key, whatever became of it since, and the page if it shows it. Where only the
parent was hidden, the release stays without what it says of that: a tombstone under its key, and the rest again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.deliver import Emission, Erase, Release, content_came, content_went, decided, unsay
from processors.project import (
    edit_key,
    on_topic,
    release_key,
    release_record,
    retract_key,
    retract_record,
    without_parent,
)
from schemas.deadletter import DeadLetter
from schemas.decision import Decision, decode_decisions, encode_decisions
from schemas.delivery import Delivery, decode_delivery, encode_delivery
from schemas.enriched import DeltaAbsent
from schemas.log import InvalidRecord
from schemas.page import page_key
from schemas.reasons import Bar, SetAside, Step
from streams import metrics
from streams.exactly_once import ExactlyOnce
from streams.kafka import Out, consumer, header, letter_out, origin, read_partition
from streams.published import Published
from streams.quality import Ledger
from streams.settings import Settings
from streams.topics import Topics, limits

PageKey = tuple[str, int]


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Publish until `stop` is set. Raises what `ExactlyOnce.run` raises."""
    topics = Topics(settings)
    handler = Publish(settings)
    loop = ExactlyOnce(
        settings,
        app=topics.group(Step.PUBLISH),
        step=Step.PUBLISH,
        inputs=[topics.enriched, topics.decisions],
        limits=limits(topics.table()),
        handler=handler,
        dead_letters=topics.deadletter,
        partitions=range(settings.partitions) if settings.assign == "all" else None,
    )
    try:
        await loop.run(stop)
    finally:
        await handler.contents.close()
        await handler.published.close()


class Publish:
    """The handler that `ExactlyOnce` calls: the deliveries of each partition that this worker owns."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self._policies = frozenset(self._topics.policies)
        self._pages: dict[int, dict[PageKey, Delivery]] = {}
        self._newest_ms = 0
        self.contents = Contents(settings, self._topics.enriched)
        self.published = Published(settings)
        self.quality = Ledger(settings)

    async def own(self, partition: int) -> None:
        """Rebuild what waits in the partition from what was last committed."""
        states: dict[bytes, bytes | None] = {}
        for record in await read_partition(self._settings, self._topics.publish_state, partition):
            states[record.key] = record.value
        deliveries = [decode_delivery(value) for value in states.values() if value is not None]
        self._pages[partition] = {(d.wiki, d.page_id): d for d in deliveries}
        await self.quality.own(partition)

    def lost(self, partition: int) -> None:
        self._pages.pop(partition, None)
        self.quality.lost(partition)

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        """Releases, retractions and dead letters in order, then each page's state and each row that changed, once."""
        outs: list[Out] = []
        touched: set[PageKey] = set()
        for record in records:
            try:
                key, emissions = self._apply(partition, record)
            except InvalidRecord as exc:
                outs.append(self._letter(record, str(exc)))
                continue
            if key is None:
                continue
            touched.add(key)
            for emission in emissions:
                if isinstance(emission, Erase):
                    outs += await self._erase(partition, key, emission, outs)
                else:
                    outs += await self._emit_or_set_aside(partition, emission)
        for key in sorted(touched):
            delivery = self._pages[partition][key]
            value = encode_delivery(delivery)
            outs.append(Out(topic=self._topics.publish_state, key=page_key(*key), value=value, partition=partition))
        return [*outs, *self.quality.outs(partition)]

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        """Count what was committed."""
        inner = {self._topics.publish_state, self._topics.quality, self._topics.deadletter}
        published = [out for out in outs if out.topic not in inner]
        self.quality.committed(partition)
        metrics.RECORDS.labels(Step.PUBLISH, "in").inc(len(records))
        metrics.RECORDS.labels(Step.PUBLISH, "out").inc(len(published))
        if self._newest_ms > 0:
            metrics.LAST_EVENT.labels(Step.PUBLISH).set(self._newest_ms / 1000)
        metrics.ERASED.labels("release").inc(sum(out.value is None and out.key.endswith(b":release") for out in outs))
        for out in outs:
            if out.topic == self._topics.deadletter:
                metrics.DEAD_LETTERS.labels(Step.PUBLISH, dict(out.headers)["reason"].decode()).inc()

    def _apply(self, partition: int, record: Any) -> tuple[PageKey | None, Sequence[Emission | Erase]]:
        """One input record: the page that it changed, if any. Raises `InvalidRecord` before anything has changed."""
        pages = self._pages[partition]
        if record.topic == self._topics.enriched:
            return self._enriched(pages, record)
        decisions = decode_decisions(record.value or b"")
        if not decisions:
            return None, []
        self.quality.hear(partition, decisions, record.offset)
        self._newest_ms = max(self._newest_ms, *(decision.decided_for_ms for decision in decisions))
        key = (decisions[0].wiki, decisions[0].page_id)
        page = pages.get(key) or Delivery(wiki=key[0], page_id=key[1])
        pages[key], emissions = decided(page, decisions, record.timestamp, self._policies)
        return key, emissions

    def _enriched(
        self, pages: dict[PageKey, Delivery], record: Any
    ) -> tuple[PageKey | None, Sequence[Emission | Erase]]:
        if record.value is None:
            return self._erased(pages, record)
        edit = _edit_of(record.value)
        self.contents.keep(record.partition, record.offset, record.value)
        page = pages.get(edit.page) or Delivery(wiki=edit.page[0], page_id=edit.page[1])
        erasures: list[Erase] = []
        if edit.parent_hidden:
            page, erasures = unsay(page, edit.rev_id, record.timestamp, wholly=False)
        pages[edit.page], emissions = content_came(
            page, edit.event_id, edit.rev_id, record.offset, record.timestamp, self._policies
        )
        return edit.page, [*erasures, *emissions]

    def _erased(self, pages: dict[PageKey, Delivery], record: Any) -> tuple[PageKey | None, Sequence[Emission | Erase]]:
        """An erased record must not go out any more; what went out of it goes."""
        wiki, page_id, rev_id = record.key.decode().split(":")
        key = wiki, int(page_id)
        page = pages.get(key)
        if page is None:
            return None, []
        wholly = header(record, "left") is None
        left, erasures = unsay(content_went(page, int(rev_id)), int(rev_id), record.timestamp, wholly=wholly)
        if left is page:
            return None, []
        pages[key] = left
        return key, erasures

    async def _erase(self, partition: int, page: PageKey, erase: Erase, before: Sequence[Out]) -> list[Out]:
        """before: what goes out with it and nobody can read yet."""
        if erase.policy not in self._policies:
            return []
        edits, pages = self._topics.edits(erase.policy), self._topics.pages(erase.policy)
        key, on_page = edit_key(*page, erase.sent.rev_id, erase.sent.epoch, "release"), page_key(*page)
        outs = [Out(topic=edits, key=key, value=None, partition=partition)]
        if erase.wholly:
            return outs + [Out(topic=pages, key=on_page, value=None, partition=partition)] * erase.on_page
        last = next((out for out in reversed(before) if (out.topic, out.key) == (edits, key)), None)
        said = last.value if last else await self.published.read(edits, partition, key, erase.sent.at_ms)
        if said is None or (left := without_parent(said)) == said:
            return []
        outs.append(Out(topic=edits, key=key, value=left, partition=partition))
        if erase.on_page:
            outs.append(Out(topic=pages, key=on_page, value=on_topic(left, pages), partition=partition))
        return outs

    async def _emit_or_set_aside(self, partition: int, emission: Emission) -> list[Out]:
        """A release whose content is gone from `enriched` cannot be made; its decision is kept as a dead letter."""
        try:
            return await self._emit(partition, emission)
        except (LookupError, InvalidRecord) as exc:
            decision = emission.decision
            letter = DeadLetter(
                step=Step.PUBLISH,
                reason=SetAside.CONTENT_UNAVAILABLE,
                detail=str(exc),
                origin=f"{self._topics.edits(decision.policy)}/{release_key(decision).decode()}",
                payload=encode_decisions([decision]),
            )
            return [letter_out(self._topics.deadletter, letter)]

    async def _emit(self, partition: int, emission: Emission) -> list[Out]:
        decision = emission.decision
        edits, pages = self._topics.edits(decision.policy), self._topics.pages(decision.policy)
        on_page = page_key(decision.wiki, decision.page_id)
        at_ms = emission.decided_at_ms
        if isinstance(emission, Release):
            content = await self.contents.read(partition, emission.offset, decision)
            value = release_record(decision, content, topic=edits, released_at_ms=at_ms)
            outs = [Out(topic=edits, key=release_key(decision), value=value, partition=partition)]
            if emission.is_head:
                value = release_record(decision, content, topic=pages, released_at_ms=at_ms)
                outs.append(Out(topic=pages, key=on_page, value=value, partition=partition))
            return outs
        value = retract_record(decision, topic=edits, released_at_ms=at_ms)
        outs = [Out(topic=edits, key=retract_key(decision), value=value, partition=partition)]
        if decision.reason is Bar.SUPPRESSED:
            # What was hidden goes from the topic itself: a tombstone under its key erases it.
            outs.append(Out(topic=edits, key=release_key(decision), value=None, partition=partition))
        if emission.was_head:
            outs.append(Out(topic=pages, key=on_page, value=None, partition=partition))
        return outs

    def _letter(self, record: Any, detail: str) -> Out:
        letter = DeadLetter(
            step=Step.PUBLISH,
            reason=SetAside.WRONG_RECORD,
            detail=detail,
            origin=origin(record),
            payload=record.value or b"",
        )
        return letter_out(self._topics.deadletter, letter)


class Contents:
    """Enriched records by offset: the recent ones from memory, the others read again from their topic."""

    def __init__(self, settings: Settings, topic: str, *, keep_bytes: int = 64_000_000) -> None:
        self._settings = settings
        self._topic = topic
        self._keep_bytes = keep_bytes
        self._held: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._reader: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    def keep(self, partition: int, offset: int, value: bytes) -> None:
        """Remember a record that will probably go out soon; the oldest are forgotten beyond the bound."""
        if (partition, offset) in self._held:
            return
        self._held[partition, offset] = value
        self._bytes += len(value)
        while self._bytes > self._keep_bytes:
            _, forgotten = self._held.popitem(last=False)
            self._bytes -= len(forgotten)

    async def read(self, partition: int, offset: int, decision: Decision) -> bytes:
        """The record at `offset`. Compaction may have moved on to a later one of the same revision: then that.

        Raises `LookupError` if neither is there any more.
        """
        value = self._held.get((partition, offset))
        if value is not None:
            return value
        async with self._lock:
            if self._reader is None:
                self._reader = consumer(self._settings)
                await self._reader.start()
            tp = TopicPartition(self._topic, partition)
            self._reader.assign([tp])
            self._reader.seek(tp, offset)
            end = (await self._reader.end_offsets([tp]))[tp]
            while await self._reader.position(tp) < end:
                batch = await self._reader.getmany(tp, timeout_ms=1000)
                for record in batch.get(tp, ()):
                    if record.value is not None and _edit_of(record.value).event_id == decision.event_id:
                        return bytes(record.value)
        raise LookupError(
            f"no record of {decision.wiki}:{decision.rev_id} at or after {self._topic}/{partition}/{offset}"
        )

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.stop()


@dataclass(frozen=True, slots=True)
class _Edit:
    """What an enriched record is about."""

    page: PageKey
    rev_id: int
    event_id: str
    parent_hidden: bool


def _edit_of(enriched: bytes) -> _Edit:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(enriched)
        hidden = doc.get("delta_absent") == DeltaAbsent.HIDDEN
        return _Edit(
            (str(doc["wiki"]), int(doc["page_id"])), int(doc["rev_id"]), str(doc["change"]["event_id"]), hidden
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no enriched record: {exc!r}") from exc

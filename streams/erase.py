"""Erasure in the log: what was hidden at the source goes from `sluice.source.v1`, and from what was made of it.

The source hears of a hiding as of anything else, as an event in the log. This looks through the log for such events,
once in `erase_seconds`, and finds the records that repeat what was hidden: of the revision itself, of recent changes,
and of its successor, whose prior state has it again. For each it makes a skeleton under the same key; and for the
hiding a proof, which names what was erased and says nothing of it (`streams.skeletons` makes both). The source's writer
commits all that together with how far we looked, so that a crash costs another look and nothing else.

The skeleton is what the steps behind go by: fetch reads it after the event, however late it is, and erases the texts
(enrich carries that on, and publish erases what went out). Dead letters are searched here, those that came before the
hiding and those that a late step writes after it; one that names what was hidden loses its bytes and keeps its reason
and place. What was hidden is remembered for those, and for events that come after their hiding: streams have no order
among each other. A restart learns it again from the proofs, back to where the slowest step is.

A revision that is shown again afterwards gets its skeleton once more, marked so: the gate decides about it anew under
the event that shows it, and by that mark fetch asks for it anew. One look never takes in both a hiding and what shows
some of its page again, so that what is written for the first lies before what is written for the second. An
undeletion has a text of its own, which fetch may have got by then: the skeletons of earlier events leave it alone.

When the bytes are gone is Kafka's part: a key's older records go when the cleaner passes, at most
`max.compaction.lag.ms` (a day) and some minutes after the skeleton was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from processors.digest import page_partition
from processors.news import News, Place, ToShow, hides_or_shows
from processors.remembered import Remembered, Revisions
from processors.skeleton import Hidden, Shown, concerns, mentions, stays
from schemas.log import KIND_ERASURE, KIND_EVENT, KIND_SKELETON
from streams import metrics
from streams.failpoints import failpoint
from streams.kafka import Out, close_consumer, consumer, header
from streams.settings import Settings
from streams.skeletons import Found, edited, once_more, place_of, skeleton_of, without_bytes
from streams.topics import Topics
from streams.undone import oldest_undone_ms

# The log is stamped by the broker, hidings by the wiki; so much may their clocks differ.
CLOCKS_MS = 600_000
RETRY_SECONDS = 5.0

log = logging.getLogger("sluice.erase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What to write, and how far the log was looked through once it is written: partition → offset."""

    outs: Sequence[Out]
    offsets: Mapping[TopicPartition, int]
    hidings: int


class Eraser:
    """Looks and finds; it writes nothing itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self.group = self._topics.group("erase")
        self._partitions = [TopicPartition(self._topics.source, p) for p in range(settings.partitions)]
        self._letters = TopicPartition(self._topics.deadletter, 0)
        self._remembered: Remembered | None = None

    async def follow(self, write: Callable[[Erasure], Awaitable[None]]) -> None:
        """Look for ever; `write` returns once it is committed. Ends by being cancelled."""
        while True:
            reader = consumer(self._settings, group=self.group, group_instance_id=None)
            try:
                await reader.start()
                reader.assign([*self._partitions, self._letters])
                if self._remembered is None:
                    self._remembered = await self._remember(reader)
                while True:
                    erasure = await self.look(reader)
                    if erasure is not None:
                        failpoint("erase.found")
                        await write(erasure)
                    await asyncio.sleep(self._settings.erase_seconds)
            except KafkaError as exc:
                log.warning("cannot look for what was hidden: %r", exc)
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                await close_consumer(reader)

    async def _remember(self, reader: AIOKafkaConsumer) -> Remembered:
        """What was hidden since what the slowest step does next was written, from the proofs."""
        remembered = Remembered()
        since_ms = await oldest_undone_ms(self._settings) - CLOCKS_MS
        first, end = await reader.beginning_offsets(self._partitions), await reader.end_offsets(self._partitions)
        starts = await self._starts(reader, since_ms, first)
        for tp in self._partitions:
            async for record in _read(reader, tp, starts[tp], end[tp]):
                kind = header(record, "kind")
                if kind == KIND_ERASURE and record.value is not None:
                    remembered.learn(orjson.loads(record.value))
                elif kind == KIND_SKELETON and header(record, "shown") is not None:
                    wiki, page, rev, _ = record.key.decode().split(":", 3)
                    remembered.shown(wiki, int(page), int(rev))
        return remembered

    async def look(self, reader: AIOKafkaConsumer) -> Erasure | None:
        """What is to be written for the hidings that came since the last look; None if nothing came at all."""
        remembered = self._remembered = self._remembered or Remembered()
        everything = [*self._partitions, self._letters]
        first = await reader.beginning_offsets(everything)
        last = await reader.end_offsets(everything)
        end = dict(last)
        news = News()
        late = self._found()
        # Of letters that are written until this is committed the next look knows.
        known = {page: set(revs) for page, revs in remembered.revisions.items()}
        letters_from = max(first[self._letters], await reader.committed(self._letters) or 0)
        moved = letters_from < end[self._letters]
        for tp in self._partitions:
            start = max(first[tp], await reader.committed(tp) or 0)
            moved = moved or start < end[tp]
            async for record in _read(reader, tp, start, end[tp]):
                if header(record, "kind") != KIND_EVENT or record.value is None:
                    continue
                event = hides_or_shows(record.value)
                if isinstance(event, Hidden):
                    news.hide(event)
                    continue
                if event is not None and news.contradicts(event):
                    # What is hidden goes first, and what comes from here on is looked at next time.
                    await self._foresee(reader, tp, record.offset, last[tp], news)
                    end[tp] = record.offset
                    break
                if event is not None:
                    was_hidden = event.rev_id in remembered.revisions.get((event.wiki, event.page_id), ())
                    remembered.shown(event.wiki, event.page_id, event.rev_id)
                    news.show(event, record.offset, erased=was_hidden)
                if revisions := remembered.concerning(record.key, record.value):
                    late.reduce_late(record, revisions)
        if not moved:
            return None
        outs = [*late.by_key.values()]
        outs += await self._show(reader, news.shown, first, last) if news.shown else []
        outs += await self._erase(reader, news, first, end, last) if news.hidings else []
        outs += await self._reduce_letters(reader, known, letters_from, end)
        return Erasure(outs=outs, offsets=end, hidings=len(news.hidings))

    async def _foresee(self, reader: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int, news: News) -> None:
        """What is behind a look: what was undeleted there may have its text before our skeletons are written."""
        async for record in _read(reader, tp, start, end):
            if header(record, "kind") == KIND_EVENT and record.value is not None:
                event = hides_or_shows(record.value)
                if isinstance(event, Shown) and event.own:
                    news.undeleted[event.wiki, event.page_id, event.rev_id] = event.cause

    async def _erase(
        self,
        reader: AIOKafkaConsumer,
        news: News,
        first: Mapping[TopicPartition, int],
        end: Mapping[TopicPartition, int],
        last: Mapping[TopicPartition, int],
    ) -> list[Out]:
        """end: up to where this look goes. last: up to where the log was read."""
        revisions: Revisions = {}
        for hidden in news.hidings:
            revisions.setdefault((hidden.wiki, hidden.page_id), set()).add(hidden.rev_id)
        since_ms = max(0, min(hidden.since_ms for hidden in news.hidings) - CLOCKS_MS)
        starts = await self._starts(reader, since_ms, first)
        found = await self._scan(reader, revisions, starts, end)
        if any(None in revs for revs in revisions.values()):
            # Now we know which revisions the page had: recent changes name no page.
            for wiki, page_id, rev_id in found.revs:
                # Of another page the edit after a hidden one was found, too, which nobody hid.
                if None in revisions[wiki, page_id]:
                    revisions[wiki, page_id].add(rev_id)
            found = await self._scan(reader, revisions, starts, end)
        # To search the log can take minutes.
        for tp, now in (await reader.end_offsets(self._partitions)).items():
            await self._foresee(reader, tp, last[tp], now, news)
        found.mark_what_was_undeleted(news.undeleted)
        if self._remembered is not None:
            self._remembered.add(revisions)
        letters = await self._reduce_letters(reader, revisions, starts[self._letters], end)
        return [*found.by_key.values(), *letters, *(found.proof(hidden) for hidden in news.hidings)]

    async def _show(
        self,
        reader: AIOKafkaConsumer,
        shown: Mapping[Place, ToShow],
        first: Mapping[TopicPartition, int],
        end: Mapping[TopicPartition, int],
    ) -> list[Out]:
        """The skeletons of revisions that were erased and may be asked for again: of each its last edit's."""
        starts = await self._starts(
            reader, max(0, min(each.event.since_ms for each in shown.values()) - CLOCKS_MS), first
        )
        found: dict[Place, tuple[int, Any]] = {}
        for partition in {page_partition(wiki, page, self._settings.partitions) for wiki, page, _ in shown}:
            tp = TopicPartition(self._topics.source, partition)
            async for record in _read(reader, tp, starts[tp], end[tp]):
                place, offset = edited(record), int(place_of(record).split(b":")[0])
                if place is not None and place in shown and offset < shown[place].offset:
                    found[place] = max((offset, record), found.get(place, (-1, None)), key=lambda each: each[0])
        outs = []
        for (wiki, page_id, rev_id), (_, record) in found.items():
            again = shown[wiki, page_id, rev_id]
            if header(record, "kind") == KIND_SKELETON:
                bare = None if stays(record.value) else record.value
            else:
                bare = skeleton_of(record, {rev_id}) if again.erased else None
            if bare is not None:
                outs.append(once_more(record, bare, again.event.cause))
        return outs

    async def _reduce_letters(
        self, reader: AIOKafkaConsumer, revisions: Revisions, start: int, end: Mapping[TopicPartition, int]
    ) -> list[Out]:
        """Each letter from `start` on that names what was hidden, without its bytes."""
        if not revisions:
            return []
        found = _read(reader, self._letters, start, end[self._letters])
        return [without_bytes(record) async for record in found if mentions(record.value or b"", revisions)]

    async def _starts(
        self, reader: AIOKafkaConsumer, since_ms: int, first: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Where in the log the revision can be at the earliest; from the first record on if it is from ahead of it."""
        found = await reader.offsets_for_times(dict.fromkeys(first, since_ms))
        return {tp: first[tp] if found.get(tp) is None else found[tp].offset for tp in first}

    async def _scan(
        self,
        reader: AIOKafkaConsumer,
        revisions: Revisions,
        starts: Mapping[TopicPartition, int],
        end: Mapping[TopicPartition, int],
    ) -> Found:
        found = self._found()
        for tp in self._partitions:
            async for record in _read(reader, tp, starts[tp], end[tp]):
                kind = header(record, "kind")
                written = kind in {KIND_EVENT, KIND_SKELETON} and record.value is not None
                if written and concerns(record.key, record.value, revisions):
                    found.reduce(record, kind, revisions)
        return found

    def _found(self) -> Found:
        return Found(topic=self._topics.source, partitions=self._settings.partitions)


async def _read(reader: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> AsyncIterator[Any]:
    reader.seek(tp, start)
    while await reader.position(tp) < end:
        batch = await reader.getmany(tp, timeout_ms=1000)
        for record in batch.get(tp, ()):
            if record.offset < end:
                yield record


def count(erasure: Erasure) -> None:
    """Say in metrics what was committed."""
    metrics.ERASED.labels("skeleton").inc(sum(_is_erased(out) for out in erasure.outs))
    metrics.ERASED.labels("letter").inc(sum("erased" in dict(out.headers) for out in erasure.outs))
    metrics.ERASED.labels("proof").inc(sum(_kind(out) == KIND_ERASURE for out in erasure.outs))


def _is_erased(out: Out) -> bool:
    return _kind(out) == KIND_SKELETON and not (stays(out.value or b"{}") and "shown" in dict(out.headers))


def _kind(out: Out) -> bytes | None:
    return dict(out.headers).get("kind")
